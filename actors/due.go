package actors

import (
	"errors"
	"time"

	"github.com/grantd/grantd/credential"
)

// When an account's actor has something to do by itself, and what.

// due is called when the schedule's time has come.
func (a *account) due() {
	now, rec := time.Now(), &a.rec
	in, _ := a.shard.sys.integrations.Lookup(rec.Integration)
	scheduled := func(err error) {
		a.shard.sched.finished(a.ref)
		if err != nil && !errors.Is(err, credential.ErrProviderUnavailable) && !errors.Is(err, credential.ErrMisconfigured) {
			a.shard.sys.log.Warn("scheduled refresh could not begin", "account", a.ref.String(), "err", err)
		}
	}
	switch {
	case !a.exists || rec.State != credential.StateActive || rec.NextRefreshAt.IsZero() || rec.NextRefreshAt.After(now):
		scheduled(nil) // done meanwhile
	case a.suspect() && a.job == nil && !rec.Claim.Uncertain:
		a.recover() // it could not be marked before
		scheduled(nil)
	case a.job == nil && a.claimRetry(in).After(now):
		scheduled(a.reschedule(onWallClock(a.claimRetry(in), now)))
	case rec.Kind == credential.KindOAuth2 && len(rec.RefreshToken) == 0 && serves(rec, 0, now):
		scheduled(a.reschedule(rec.ExpiresAt))
	case rec.Kind == credential.KindOAuth2 && len(rec.RefreshToken) == 0:
		scheduled(a.endWithoutRefreshToken())
	default:
		if err := a.begin(false); err != nil {
			scheduled(err)
		}
	}
}

func (a *account) reschedule(at time.Time) error {
	after := a.rec.Clone()
	after.NextRefreshAt = at
	return a.commit(after, nil, nil)
}

// onWallClock is a time of the monotonic clock as the schedule holds it. The
// two clocks drift apart when one is set, so it is told from now.
func onWallClock(t, now time.Time) time.Time { return now.Add(t.Sub(now)).UTC() }

// claimRetry is when a claim without an outcome no longer stands in the way of
// a refresh; zero: there is none in the way.
func (a *account) claimRetry(in Integration) time.Time {
	switch {
	case a.rec.Claim == nil || a.neverSent():
		return time.Time{}
	case a.suspect():
		return latest(a.policy().retryUncertainAt(&a.rec, in, a.claimEnds), a.inFlightUntil())
	default: // of a credential that was replaced
		return a.claimEnds
	}
}

// learnLifetime takes a caller's word that the token stopped working, where
// its lifetime was only assumed.
func (a *account) learnLifetime() {
	rec := &a.rec
	now := time.Now().UTC()
	if rec.State != credential.StateActive || !rec.ExpiryAssumed || rec.LastRefreshAt.IsZero() || !now.Before(rec.ExpiresAt) {
		return
	}
	lived := now.Sub(rec.LastRefreshAt)
	if lived < time.Minute { // a token that never worked says nothing about lifetimes
		return
	}
	after := rec.Clone()
	after.LearnedLifetime, after.ExpiresAt = lived, now
	if after.Failures == 0 { // else the back-off holds
		after.NextRefreshAt = now
	}
	lines := a.lines(credential.WhatLifetimeCorrected, "", "a caller was refused after "+lived.Round(time.Second).String())
	if err := a.commit(after, lines, nil); err != nil {
		_ = a.ensure()
	}
}
