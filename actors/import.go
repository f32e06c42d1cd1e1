package actors

import (
	"context"
	"errors"
	"fmt"
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
	var err error
	for range commitTries {
		created = !a.exists
		err = a.tryImport(m.what)
		if !errors.Is(err, credential.ErrConflict) {
			break
		}
		if loadErr := a.ensure(); loadErr != nil {
			err = loadErr
			break
		}
	}
	if err != nil {
		m.reply <- result{err: err}
		return
	}
	m.reply <- result{account: a.rec, created: created}
	a.answerServed()
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
	}
	line := a.lines(word, "", "")
	line[0].Generation = after.Generation
	return a.commit(after, line, events)
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
	after.Username, after.TokenType = what.Username, ""
	if what.Kind.Refreshes() {
		after.TokenType = "Bearer"
	}
	after.Scopes = slices.Clone(what.Scopes)
	after.ExpiresAt, after.ExpiryAssumed = what.ExpiresAt, false
	after.LastRefreshAt, after.RefreshExpiresAt, after.LearnedLifetime = time.Time{}, time.Time{}, 0
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
	canRefresh := len(after.RefreshToken) > 0 || after.Kind == credential.KindClientCredentials
	if canRefresh && len(after.AccessToken) > 0 && after.ExpiresAt.IsZero() {
		after.ExpiresAt, after.ExpiryAssumed = sys.policy.expiry(0, 0, in.AccessLifetime, now)
	}
	after.NextRefreshAt = nextRefresh(&after, circumstances{policy: sys.policy, integration: in, now: now, draw: rand.Float64()})
	return after, nil
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
