package actors

import (
	"context"
	"time"

	"github.com/grantd/grantd/credential"
)

// Those who ask an account's actor for a token or a refresh, and wait for it.

// waiter is a caller who waits for a refresh to end.
type waiter struct {
	reply  chan<- result
	minTTL time.Duration
	// wantsAccount: the caller asked for a refresh, not for a token; refused: for
	// the provider did not take the one it had.
	wantsAccount, refused bool
	than                  uint64 // the generation that it wants to be replaced
}

// getToken answers at once from the record in hand, or waits for a refresh.
func (a *account) getToken(m getToken) {
	w := waiter{reply: m.reply, minTTL: m.minTTL}
	if a.answer(w) {
		return
	}
	a.wait(w)
}

// answer tells a waiter what the record says, if it says anything final.
func (a *account) answer(w waiter) bool {
	rec := &a.rec
	var err error
	switch {
	case !a.exists:
		err = credential.ErrNotFound
	case rec.State == credential.StateNeedsReauth:
		err = &credential.Unavailable{Err: credential.ErrNeedsReauth, Reason: rec.Reason}
	case rec.State == credential.StateDisconnected:
		err = credential.ErrDisconnected
	case !serves(rec, w.minTTL, time.Now()):
		return false
	}
	if err != nil {
		w.reply <- result{err: err}
		return true
	}
	tok, err := a.shard.sys.openToken(a.shard.sys.ctx, rec)
	w.reply <- result{token: tok, account: *rec, err: err}
	return true
}

// refreshNow refreshes unless the caller's generation is no longer the newest.
func (a *account) refreshNow(m refreshNow) {
	if m.stale != nil && a.exists && *m.stale > a.rec.Generation {
		if err := a.confirm(); err != nil {
			m.reply <- result{err: err}
			return
		}
	}
	switch {
	case !a.exists:
		m.reply <- result{err: credential.ErrNotFound}
		return
	case m.stale != nil && *m.stale > a.rec.Generation:
		m.reply <- result{err: &credential.Unavailable{Err: credential.ErrInvalid, Reason: "stale_generation is newer than the account's generation"}}
		return
	case m.stale != nil && *m.stale < a.rec.Generation && a.rec.State == credential.StateActive:
		m.reply <- result{account: a.rec}
		return
	}
	if m.stale != nil && a.job == nil {
		a.learnLifetime()
	}
	a.wait(waiter{reply: m.reply, wantsAccount: true, refused: m.stale != nil})
}

// confirm reads the record anew once it is sure that this node still owns the
// shard. A caller who knows of a newer generation than the record has may be
// right: a node that stood still does not know at once that it was replaced.
func (a *account) confirm() error {
	ctx, cancel := context.WithTimeout(a.shard.sys.ctx, a.policy().CommitTimeout)
	defer cancel()
	if err := a.shard.store.Barrier(ctx); err != nil {
		return err
	}
	return a.load()
}

// wait joins the refresh under way, or begins one.
func (a *account) wait(w waiter) {
	if len(a.rec.RefreshToken) == 0 && a.rec.Kind == credential.KindOAuth2 && a.rec.State == credential.StateActive {
		a.withoutRefreshToken(w)
		return
	}
	w.than = a.rec.Generation
	a.waiters = append(a.waiters, w)
	if a.expectsFate() {
		return
	}
	if err := a.begin(true); err != nil {
		a.waiters = a.waiters[:len(a.waiters)-1]
		w.reply <- result{err: err}
	}
}

// withoutRefreshToken: there is nothing to refresh with. When the token's time
// is over, or a caller says so, a person has to authorise again.
func (a *account) withoutRefreshToken(w waiter) {
	switch serving := serves(&a.rec, 0, time.Now()); {
	case serving && !w.wantsAccount:
		w.reply <- result{err: &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "the token has less time left than min_ttl asks for, and there is no refresh token", RetryAfter: time.Until(a.rec.ExpiresAt)}}
		return
	case serving && !w.refused:
		w.reply <- result{err: &credential.Unavailable{Err: credential.ErrInvalid, Reason: "there is no refresh token, and the access token still serves"}}
		return
	}
	if err := a.endWithoutRefreshToken(); err != nil {
		w.reply <- result{err: err}
		return
	}
	w.reply <- result{err: &credential.Unavailable{Err: credential.ErrNeedsReauth, Reason: credential.ReasonNoRefreshToken}}
}

func (a *account) endWithoutRefreshToken() error {
	after := a.rec.Clone()
	after.State, after.Reason = credential.StateNeedsReauth, credential.ReasonNoRefreshToken
	after.NextRefreshAt, after.UpdatedAt = time.Time{}, time.Now().UTC()
	lines := a.lines(credential.WhatNeedsReauth, after.Reason, "the access token is over and there is no refresh token")
	err := a.commit(after, lines, a.events(credential.EventAuthError, &after))
	if err == nil {
		a.shard.sys.counters.NeedsReauth.Add(1)
	}
	return err
}

// finish ends a job: its waiters are answered from the record as it now
// stands, or with err where that does not serve them.
func (a *account) finish(j *job, err error) {
	j.end(a.shard.sys)
	if a.job == j {
		a.job = nil
	}
	if j.scheduled {
		a.shard.sched.finished(a.ref)
	}
	if a.job != nil {
		return // those who wait, wait for that one
	}
	if loadErr := a.ensure(); loadErr != nil {
		a.failWaiters(loadErr)
		return
	}
	a.answerWaiters(err)
}

// answerWaiters answers those who wait from the record as it now stands, or
// with err where that does not serve them. Who waits for a refresh of a
// credential that was replaced meanwhile waits on, for one of the new.
func (a *account) answerWaiters(err error) {
	var again []waiter
	var opened *result       // once for all of them
	for len(a.waiters) > 0 { // one by one: who is not answered when this panics is answered after it
		w, active, newer := a.waiters[0], a.rec.State == credential.StateActive, a.rec.Generation > a.waiters[0].than
		switch {
		case w.wantsAccount && active && newer:
			w.reply <- result{account: a.rec}
		case !w.wantsAccount && err == nil && active && newer && serves(&a.rec, 0, time.Now()):
			if opened == nil {
				tok, err := a.shard.sys.openToken(a.shard.sys.ctx, &a.rec)
				opened = &result{token: tok, account: a.rec, err: err}
			}
			w.reply <- *opened
		case (!w.wantsAccount || !active) && a.answer(w):
		case err != nil:
			w.reply <- result{err: err}
		case newer:
			w.reply <- result{err: &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "the new token is over already", RetryAfter: time.Second}}
		default:
			again = append(again, w)
		}
		a.waiters = a.waiters[1:]
	}
	for _, w := range again {
		a.wait(w)
	}
}

func (a *account) failWaiters(err error) {
	waiters := a.waiters
	a.waiters = nil
	for _, w := range waiters {
		w.reply <- result{err: err}
	}
}
