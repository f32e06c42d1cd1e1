package actors

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/grantd/grantd/credential"
)

// disconnect destroys the tokens at once and then revokes the grant at the
// provider; the caller is answered when that is done or given up.
func (a *account) disconnect(m disconnect) {
	switch {
	case !a.exists:
		m.reply <- result{err: credential.ErrNotFound}
		return
	case a.rec.State == credential.StateDisconnected:
		m.reply <- result{account: a.rec}
		return
	}
	old := a.rec.Clone()
	err := a.destroyTokens()
	if m.tries++; errors.Is(err, credential.ErrConflict) && m.tries < commitTries {
		if err = a.ensure(); err == nil {
			a.disconnect(m) // anew, on the record that won
			return
		}
	}
	if err != nil {
		m.reply <- result{err: err}
		return
	}
	a.answerWaiters(nil)
	rec, sh := a.rec, a.shard
	if !old.Kind.Refreshes() {
		m.reply <- result{account: rec}
		return
	}
	sh.sys.calls.Go(func() {
		sh.revoke(old)
		m.reply <- result{account: rec}
	})
}

func (a *account) destroyTokens() error {
	after := a.rec.Clone()
	after.State, after.Reason = credential.StateDisconnected, ""
	after.AccessToken, after.RefreshToken, after.Claim = nil, nil, nil
	after.ExpiresAt, after.NextRefreshAt, after.RefreshExpiresAt = time.Time{}, time.Time{}, time.Time{}
	after.UpdatedAt = time.Now().UTC()
	return a.commit(after, a.lines(credential.WhatDisconnected, "", ""), a.events(credential.EventDisconnected, &after))
}

// revokeTries is how often a revocation is tried before it is given up. Each
// try ends within Policy.CallTimeout.
const revokeTries = 3

// revoke ends the old record's grant at the provider. The tokens are already
// destroyed here; what cannot be revoked runs out by itself, and the history
// says so.
func (sh *shard) revoke(old credential.Account) {
	refresh, access, err := sh.openBoth(sh.sys.ctx, old)
	if err == nil {
		err = sh.revokeTokens(requestFor(&old, refresh, access))
	}
	if err == nil {
		return
	}
	sh.sys.counters.RevocationsFailed.Add(1)
	sh.sys.log.Warn("grant could not be revoked at the provider", "account", old.Ref.String(), "integration", old.Integration, "err", err)
	sh.noteRevocation(old.Ref)
}

// revokeLate revokes what a refresh brought after its account was disconnected.
func (a *account) revokeLate(j *job) {
	if j.grant == nil || a.rec.State != credential.StateDisconnected {
		return
	}
	sh, req := a.shard, requestFor(&a.rec, j.grant.RefreshToken, j.grant.AccessToken)
	sh.sys.calls.Go(func() {
		if err := sh.revokeTokens(req); err != nil {
			sh.sys.counters.RevocationsFailed.Add(1)
			sh.sys.log.Warn("grant could not be revoked at the provider", "account", a.ref.String(), "integration", req.Integration, "err", err)
			sh.noteRevocation(a.ref)
		}
	})
}

// revokeTokens asks the provider, a few times.
func (sh *shard) revokeTokens(r credential.TokenRequest) (err error) {
	sys := sh.sys
	for try := 1; try <= revokeTries; try++ {
		ctx, cancel := context.WithTimeout(sys.ctx, sys.policy.CallTimeout)
		err = sys.provider.Revoke(ctx, r)
		cancel()
		if err == nil || try == revokeTries || !worthRepeating(err) || !sys.sleep(sys.policy.backoff(try, rand.Float64())) {
			return err
		}
	}
	return err
}

// worthRepeating reports whether a revocation that failed may succeed a moment
// later: a refusal will not.
func worthRepeating(err error) bool {
	f, ok := errors.AsType[*credential.Failure](err)
	return !ok || f.Class == credential.Transient || f.Class == credential.Ambiguous
}

// noteRevocation has the failure written into the account's history, and waits
// for it. Call it outside of the actors.
func (sh *shard) noteRevocation(ref credential.Ref) {
	ctx, cancel := context.WithTimeout(sh.sys.ctx, sh.sys.policy.CommitTimeout)
	defer cancel()
	r := sh.sys.ask(ctx, sh, func(req request) message { return notRevoked{req} }, ref)
	if r.err != nil {
		sh.sys.log.Warn("failed revocation could not be noted", "account", ref.String(), "err", r.err)
	}
}

// notRevoked writes into the history that the grant may live on.
func (a *account) notRevoked(m notRevoked) {
	if a.rec.State != credential.StateDisconnected { // its name is in use again
		m.reply <- result{}
		return
	}
	lines := a.lines(credential.WhatRevocationFailed, "", "the provider did not take the revocation; the grant may live on there")
	m.reply <- result{err: a.commit(a.rec.Clone(), lines, nil)}
}

// openBoth opens the tokens of a record.
func (sh *shard) openBoth(ctx context.Context, rec credential.Account) (refresh, access credential.Secret, err error) {
	ctx, cancel := context.WithTimeout(ctx, sh.sys.policy.CommitTimeout)
	defer cancel()
	var rErr, aErr error
	if len(rec.RefreshToken) > 0 {
		refresh, rErr = sh.sys.sealer.Open(ctx, rec.RefreshLabel(), rec.RefreshToken)
	}
	if len(rec.AccessToken) > 0 {
		access, aErr = sh.sys.sealer.Open(ctx, rec.AccessLabel(), rec.AccessToken)
	}
	return refresh, access, errors.Join(rErr, aErr)
}
