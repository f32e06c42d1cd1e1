package actors

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/grantd/grantd/credential"
)

// account is the actor of one account. Its fields are touched by its own
// mailbox only, but for the atomics that the gate reads.
type account struct {
	shard *shard
	ref   credential.Ref
	term  uint64 // in which the gate spawned it

	loaded bool
	exists bool
	rec    credential.Account
	rev    uint64
	// claimEnds is when the request of the record's claim has surely ended, by
	// this process's monotonic clock.
	claimEnds time.Time
	job       *job
	waiters   []waiter

	view view
	// busy and pending keep the gate from passivating: work of the actor's own,
	// and messages that the gate has sent and that are not handled yet.
	busy    atomic.Bool
	pending atomic.Int64
}

// waiter is a caller who waits for a refresh to end.
type waiter struct {
	reply  chan<- result
	minTTL time.Duration
	// wantsAccount: the caller asked for a refresh, not for a token.
	wantsAccount bool
}

func newAccount(s *shard, ref credential.Ref, term uint64) *account {
	a := &account{shard: s, ref: ref, term: term}
	a.view.used.Store(time.Now().Unix())
	return a
}

// idleSince reports whether the actor had nothing to do since then. The gate
// calls it.
func (a *account) idleSince(t time.Time) bool {
	return a.pending.Load() == 0 && !a.busy.Load() && a.view.used.Load() < t.Unix()
}

func (a *account) policy() *Policy { return &a.shard.sys.policy }

// Receive is the actor's loop. A panic is answered as an error to the caller
// of the message, and the state is read anew from the store.
func (a *account) Receive(ctx actor.Context) {
	switch ctx.Message().(type) {
	case *actor.Started, *actor.Stopping, *actor.Restarting:
		return
	case *actor.Stopped:
		a.shard.sys.snapshots.withdraw(a.ref)
		a.failWaiters(credential.ErrNotOwner)
		return
	}
	m, ok := ctx.Message().(message)
	if !ok {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			a.shard.sys.log.Error("account actor panicked", "account", a.ref.String(), "stack", string(debug.Stack()))
			a.shard.sys.counters.Panics.Add(1)
			a.loaded = false
			m.refuse(errPanicked)
		}
		a.view.used.Store(time.Now().Unix())
		a.busy.Store(a.job != nil || len(a.waiters) > 0 || a.rec.Claim != nil)
		a.pending.Add(-1)
	}()
	a.handle(m)
}

var errPanicked = errors.New("the account's actor failed; see the log")

func (a *account) handle(m message) {
	if err := a.ensure(); err != nil {
		m.refuse(err)
		return
	}
	switch m := m.(type) {
	case getToken:
		a.getToken(m)
	case refreshNow:
		a.refreshNow(m)
	case importCredentials:
		a.importCredentials(m)
	case disconnect:
		a.disconnect(m)
	case wake:
	case due:
		a.due()
	case admitted:
		if a.job != m.job { // of an actor before this one
			m.gone()
			return
		}
		a.admitted(m.job)
	case answered:
		a.answered(m)
	case settleAgain:
		a.settle(m.job)
	}
}

// ensure loads the record once, and takes care of a claim that it finds.
func (a *account) ensure() error {
	if a.loaded {
		return nil
	}
	if err := a.load(); err != nil {
		return err
	}
	if a.rec.Claim != nil && a.job == nil {
		a.recover()
		if !a.loaded {
			return a.load()
		}
	}
	return nil
}

// load reads the record anew.
func (a *account) load() error {
	rec, rev, err := a.shard.store.Load(a.ref)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		a.exists, a.rec, a.rev, a.loaded = false, credential.Account{Ref: a.ref}, 0, true
		return nil
	case err != nil:
		a.loaded = false
		return err
	}
	a.exists, a.rec, a.rev, a.loaded = true, rec, rev, true
	a.publish()
	return nil
}

// recover decides what to do about a claim without an outcome that no job of
// this actor holds: its claimant crashed, or lost the shard.
func (a *account) recover() {
	c, sys := a.rec.Claim, a.shard.sys
	a.claimEnds = time.Now().Add(c.Lifetime)
	if b, err := sys.journal.Get(c.Attempt); err == nil && b != nil {
		if ans, err := parseAnswer(b); err == nil && sys.jobs.add() {
			in, _ := sys.integrations.Lookup(a.rec.Integration)
			j := &job{integration: in, done: &ans, salvaged: true}
			a.job = j
			a.settle(j)
			return
		}
	}
	after := a.rec.Clone()
	claim := *c
	after.Claim = &claim
	if _, mine := sys.attempts.Load(c.Attempt); c.Boot == sys.boot && !mine && !c.Uncertain {
		// This process claimed it and never came to send anything.
		after.Claim = nil
		in, _ := sys.integrations.Lookup(a.rec.Integration)
		after.NextRefreshAt = nextRefresh(&after, circumstances{policy: *a.policy(), integration: in, now: time.Now().UTC()})
		a.commitLogged(after, nil)
		return
	}
	if c.Uncertain {
		return
	}
	sys.counters.Interrupted.Add(1)
	claim.Uncertain = true
	lines := a.lines(credential.WhatInterrupted, "", "a claim of node "+c.Node+" has no outcome; its request may have been sent")
	in, _ := sys.integrations.Lookup(a.rec.Integration)
	after.NextRefreshAt = a.policy().retryUncertainAt(&after, in, a.claimEnds).UTC()
	a.commitLogged(after, lines)
}

func (a *account) commitLogged(after credential.Account, lines []credential.Line) {
	if err := a.commit(after, lines, nil); err != nil {
		a.shard.sys.log.Warn("interrupted refresh could not be marked", "account", a.ref.String(), "err", err)
	}
}

// commit makes the record the account's next one. When it returns nil the
// record is durable and published. On any other outcome the record is read
// anew before it is used again.
func (a *account) commit(after credential.Account, lines []credential.Line, events []credential.Event) error {
	sys := a.shard.sys
	ctx, cancel := context.WithTimeout(sys.ctx, sys.policy.CommitTimeout)
	defer cancel()
	change := credential.Change{Ref: a.ref, Expect: a.rev, After: after, Lines: lines, Events: events}
	if a.exists {
		before := a.rec
		change.Before = &before
	}
	change.After.HistoryNext = a.rec.HistoryNext + uint64(len(lines))
	rev, err := a.shard.store.Commit(ctx, change)
	if err != nil {
		sys.counters.CommitFailures.Add(1)
		a.loaded = false
		if errors.Is(err, credential.ErrUnknownOutcome) {
			a.settleUnknown()
		}
		return err
	}
	a.exists, a.rec, a.rev, a.loaded = true, change.After, rev, true
	a.publish()
	a.shard.sched.nudge(change.After.NextRefreshAt)
	return nil
}

// settleUnknown waits, a while longer, until it can be read whether a write
// took effect: once a later entry is applied, it either has or never will.
func (a *account) settleUnknown() {
	sys := a.shard.sys
	ctx, cancel := context.WithTimeout(sys.ctx, sys.policy.CommitTimeout)
	defer cancel()
	if err := a.shard.store.Barrier(ctx); err != nil {
		sys.log.Warn("outcome of a write stays unknown; every later write checks the record's revision", "account", a.ref.String(), "err", err)
	}
}

func (a *account) publish() {
	rec := a.rec
	if first := a.view.record.Swap(&rec) == nil; first {
		a.shard.sys.snapshots.add(a.ref, &a.view)
	}
}

// lines makes one line of history for the record as it stands.
func (a *account) lines(what credential.What, reason, detail string) []credential.Line {
	l := credential.Line{At: time.Now().UTC(), What: what, Reason: reason, Detail: detail, Generation: a.rec.Generation, Node: a.shard.sys.node}
	if a.rec.Claim != nil {
		l.Attempt = a.rec.Claim.Attempt
	}
	return []credential.Line{l}
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
	a.wait(waiter{reply: m.reply, wantsAccount: true})
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
	lines := a.lines(credential.WhatLifetimeCorrected, "", "a caller was refused after "+lived.Round(time.Second).String())
	if err := a.commit(after, lines, nil); err != nil {
		_ = a.ensure()
	}
}

// wait joins the refresh under way, or begins one.
func (a *account) wait(w waiter) {
	if len(a.rec.RefreshToken) == 0 && a.rec.Kind == credential.KindOAuth2 && a.rec.State == credential.StateActive {
		a.withoutRefreshToken(w)
		return
	}
	a.waiters = append(a.waiters, w)
	if err := a.begin(true); err != nil {
		a.waiters = a.waiters[:len(a.waiters)-1]
		w.reply <- result{err: err}
	}
}

// withoutRefreshToken: there is nothing to refresh with. When the token's time
// is over, or a caller says so, a person has to authorise again.
func (a *account) withoutRefreshToken(w waiter) {
	if serves(&a.rec, 0, time.Now()) && !w.wantsAccount {
		w.reply <- result{err: &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "the token has less time left than min_ttl asks for, and there is no refresh token", RetryAfter: time.Until(a.rec.ExpiresAt)}}
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
	a.shard.sys.counters.NeedsReauth.Add(1)
	return a.commit(after, lines, a.events(credential.EventAuthError, &after))
}

func (a *account) events(t credential.EventType, after *credential.Account) []credential.Event {
	return []credential.Event{{ID: newID(), Type: t, Ref: a.ref, At: time.Now().UTC(), Reason: after.Reason, Generation: after.Generation, Integration: after.Integration}}
}

// due is called when the schedule's time has come.
func (a *account) due() {
	now, rec := time.Now(), &a.rec
	scheduled := func(err error) {
		a.shard.sched.finished(a.ref)
		if err != nil && !errors.Is(err, credential.ErrProviderUnavailable) && !errors.Is(err, credential.ErrMisconfigured) {
			a.shard.sys.log.Warn("scheduled refresh could not begin", "account", a.ref.String(), "err", err)
		}
	}
	switch {
	case !a.exists || rec.State != credential.StateActive || rec.NextRefreshAt.IsZero() || rec.NextRefreshAt.After(now):
		scheduled(nil) // done meanwhile
	case rec.Claim != nil && a.job == nil && a.claimRetry().After(now):
		after := rec.Clone()
		after.NextRefreshAt = a.claimRetry().UTC()
		scheduled(a.commit(after, nil, nil))
	case rec.Kind == credential.KindOAuth2 && len(rec.RefreshToken) == 0:
		scheduled(a.endWithoutRefreshToken())
	default:
		if err := a.begin(false); err != nil {
			scheduled(err)
		}
	}
}

// claimRetry is when a claim without an outcome no longer stands in the way.
func (a *account) claimRetry() time.Time {
	if !a.rec.Claim.Uncertain || a.rec.Claim.Generation != a.rec.Generation {
		return a.claimEnds
	}
	in, _ := a.shard.sys.integrations.Lookup(a.rec.Integration)
	return a.policy().retryUncertainAt(&a.rec, in, a.claimEnds)
}

// answered takes the provider's answer to this actor's job, or to that of an
// actor before it.
func (a *account) answered(m answered) {
	j := a.job
	if j == nil || j.claim == nil || j.claim.Attempt != m.answer.Attempt {
		in, _ := a.shard.sys.integrations.Lookup(a.rec.Integration)
		j = &job{integration: in}
	}
	j.done, j.grant = &m.answer, m.grant
	a.settle(j)
}

// finish ends a job: its waiters are answered from the record as it now
// stands, or with err where that does not serve them.
func (a *account) finish(j *job, err error) {
	sys := a.shard.sys
	sys.jobs.done()
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

func (a *account) answerWaiters(err error) {
	waiters := a.waiters
	a.waiters = nil
	var tok credential.Token
	var tokErr error
	opened := false
	for _, w := range waiters {
		switch {
		case w.wantsAccount && err == nil && a.rec.State == credential.StateActive:
			w.reply <- result{account: a.rec}
		case !w.wantsAccount && err == nil && a.rec.State == credential.StateActive && serves(&a.rec, 0, time.Now()):
			if !opened { // once for all of them
				tok, tokErr = a.shard.sys.openToken(a.shard.sys.ctx, &a.rec)
				opened = true
			}
			w.reply <- result{token: tok, account: a.rec, err: tokErr}
		case (!w.wantsAccount || a.rec.State != credential.StateActive) && a.answer(w):
		case err != nil:
			w.reply <- result{err: err}
		default:
			w.reply <- result{err: &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "the new token is over already", RetryAfter: time.Second}}
		}
	}
}

func (a *account) failWaiters(err error) {
	waiters := a.waiters
	a.waiters = nil
	for _, w := range waiters {
		w.reply <- result{err: err}
	}
}
