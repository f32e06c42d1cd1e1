package actors

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/grantd/grantd/credential"
)

// commitTries bounds how often a change is computed anew because the record
// changed meanwhile.
const commitTries = 3

// importCredentials makes the account, or brings new credentials to it: from
// needs_reauth and disconnected back to active, or in place of those it has.
func (a *account) importCredentials(m importCredentials) {
	var created bool
	err := a.anew(func() error {
		created = !a.exists
		return a.tryImport(m.what)
	})
	if err != nil {
		m.reply <- result{err: err}
		return
	}
	m.reply <- result{account: a.rec, created: created}
	a.answerServed()
}

// anew makes a change that is computed from the record in hand, and computes it
// anew a few times where the record turns out to have changed meanwhile.
func (a *account) anew(change func() error) error {
	for try := 1; ; try++ {
		err := change()
		if !errors.Is(err, credential.ErrConflict) || try == commitTries {
			return err
		}
		if err := a.ensure(); err != nil {
			return err
		}
	}
}

func (a *account) tryImport(what credential.Import) error {
	sys := a.shard.sys
	in, ok := sys.integrations.Lookup(what.Integration)
	if !ok {
		return &credential.Unavailable{Err: credential.ErrInvalid, Reason: fmt.Sprintf("integration %q does not exist; create it first", what.Integration)}
	}
	if a.exists && (a.rec.Integration != what.Integration || a.rec.Kind != what.Kind) {
		return &credential.Unavailable{Err: credential.ErrExists, Reason: fmt.Sprintf("it is of type %s and integration %s, which an import does not change", a.rec.Kind, a.rec.Integration)}
	}
	if err := a.mayImport(what, in); err != nil {
		return err
	}
	after, err := a.imported(what, in)
	if err != nil {
		return err
	}
	word, events := credential.WhatImported, []credential.Event(nil)
	switch {
	case !a.exists:
		word, events = credential.WhatCreated, a.events(credential.EventCreated, &after)
	case a.rec.State != credential.StateActive:
		word, events = credential.WhatReactivated, a.events(credential.EventReactivated, &after)
	case what.Reauthorise:
		word = credential.WhatReauthorised
	}
	line := a.lines(word, "", "")
	line[0].Generation = after.Generation
	return a.commit(after, line, events)
}

// mayImport refuses variables that cannot be, and another person than the one
// whose grant the account held.
func (a *account) mayImport(what credential.Import, in Integration) error {
	if a.otherIdentity(what) && !what.AllowOtherIdentity {
		return &credential.Unavailable{Err: credential.ErrOtherIdentity, Reason: "the provider names another user than the one who connected the account"}
	}
	if err := credential.CheckFacts(what.Facts); err != nil {
		return err
	}
	variables := what.Variables
	if variables == nil {
		variables = a.rec.Variables
	}
	if in.CheckVariables != nil {
		return in.CheckVariables(what.Kind, variables)
	}
	if len(variables) > 0 {
		return &credential.Unavailable{Err: credential.ErrInvalid, Reason: "variables: this integration's provider has none"}
	}
	return nil
}

// otherIdentity reports whether the provider names another user than before.
func (a *account) otherIdentity(what credential.Import) bool {
	return len(a.rec.Subject) > 0 && len(what.Subject) > 0 && !bytes.Equal(a.rec.Subject, what.Subject)
}

// imported is the account's record with the new credentials, sealed. A claim
// of the old credential stays: its request may still be under way.
func (a *account) imported(what credential.Import, in Integration) (credential.Account, error) {
	sys, now := a.shard.sys, time.Now().UTC()
	after := a.rec.Clone()
	if !a.exists {
		after = credential.Account{Ref: a.ref, Kind: what.Kind, Integration: what.Integration, CreatedAt: now}
	}
	after.Provider = in.Provider
	after.State, after.Reason = credential.StateActive, ""
	after.Generation++
	after.Username, after.TokenType = what.Username, what.TokenType
	if what.Kind.Refreshes() {
		after.TokenType = cmp.Or(what.TokenType, "Bearer")
	}
	after.Scopes = slices.Clone(what.Scopes)
	a.describe(&after, what)
	after.ExpiresAt, after.ExpiryAssumed = what.ExpiresAt, false
	after.LastRefreshAt, after.RefreshExpiresAt, after.LearnedLifetime = time.Time{}, what.RefreshExpiresAt, 0
	after.Failures, after.Refusals = 0, 0
	after.UpdatedAt = now

	ctx, cancel := context.WithTimeout(sys.ctx, sys.policy.CommitTimeout)
	defer cancel()
	var err error
	after.AccessToken, after.RefreshToken, after.RefreshGeneration = nil, nil, 0
	if !what.Secret.IsZero() {
		if after.AccessToken, err = sys.sealer.Seal(ctx, after.AccessLabel(), what.Secret); err != nil {
			return after, err
		}
	}
	if !what.RefreshToken.IsZero() {
		after.RefreshGeneration = after.Generation
		if after.RefreshToken, err = sys.sealer.Seal(ctx, after.RefreshLabel(), what.RefreshToken); err != nil {
			return after, err
		}
	}
	canRefresh := len(after.RefreshToken) > 0 || after.Kind.FetchesAnew()
	if canRefresh && len(after.AccessToken) > 0 && after.ExpiresAt.IsZero() {
		after.ExpiresAt, after.ExpiryAssumed = sys.policy.expiry(0, 0, in.AccessLifetime, now)
	}
	after.NextRefreshAt = nextRefresh(&after, circumstances{policy: sys.policy, integration: in, now: now, draw: rand.Float64()})
	return after, nil
}

// describe puts into the record what the import tells of the account besides
// credentials. What it does not tell stays; the facts of another person go.
func (a *account) describe(after *credential.Account, what credential.Import) {
	if a.otherIdentity(what) {
		after.Facts = nil
	}
	after.Facts = credential.MergeFacts(after.Facts, what.Facts)
	if what.RequestedScopes != nil {
		after.RequestedScopes = slices.Clone(what.RequestedScopes)
	}
	if what.Variables != nil {
		after.Variables = maps.Clone(what.Variables)
	}
	if len(what.Subject) > 0 {
		after.Subject = slices.Clone(what.Subject)
	}
}

// answerServed answers those who wait and whom the new credential serves; the
// others wait on.
func (a *account) answerServed() {
	waiters := a.waiters
	a.waiters = nil
	for _, w := range waiters {
		if w.wantsAccount {
			w.reply <- result{account: a.rec}
		} else if !a.answer(w) {
			a.wait(w)
		}
	}
}
