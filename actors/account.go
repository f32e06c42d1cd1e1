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
	// claimEnds is when the request of claimOf has surely ended, by this
	// process's monotonic clock. claimOf is the attempt of the record's claim.
	claimEnds time.Time
	claimOf   string
	inquiry   *inquiry // what the claim's node is asked for; nil: nothing
	// unsettled: a write may yet take effect behind this actor's back. Until
	// that is ruled out nothing is published and the record is read anew for
	// each message.
	unsettled bool
	job       *job
	waiters   []waiter
	handouts  map[credential.Handout]struct{} // that stand in the history; at most maxHandouts

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
	// wantsAccount: the caller asked for a refresh, not for a token; refused: for
	// the provider did not take the one it had.
	wantsAccount, refused bool
	than                  uint64 // the generation that it wants to be replaced
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
// of the message, and to those who wait for a refresh that it ended, and the
// state is read anew from the store.
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
			a.refuse(m, errPanicked)
		}
		a.view.used.Store(time.Now().Unix())
		a.busy.Store(a.job != nil || len(a.waiters) > 0 || a.rec.Claim != nil || a.unsettled)
		a.pending.Add(-1)
	}()
	a.handle(m)
}

var errPanicked = errors.New("the account's actor failed; see the log")

// refuse ends a message that could not be handled, and the refresh that was in
// hand with it: its claim is found again with the record.
func (a *account) refuse(m message, err error) {
	m.refuse(err)
	a.inquiry = nil
	if j := a.job; j != nil && !j.away {
		j.leave(a.shard.sys, unused, 0)
		j.end(a.shard.sys)
		a.job = nil
		if j.scheduled {
			a.shard.sched.finished(a.ref)
		}
	}
	if a.job == nil {
		a.failWaiters(err)
	}
}

func (a *account) handle(m message) {
	if c, ok := m.(carrier); ok {
		c.carried().away = false
	}
	if err := a.ensure(); err != nil {
		a.refuse(m, err)
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
	case told:
		a.told(m)
	case inquireAgain:
		a.inquireAgain(m)
	case offered:
		a.offered(m)
	case handedOut:
		a.handedOut(m)
	case notRevoked:
		a.notRevoked(m)
	}
}

// ensure loads the record once, and takes care of a claim that it finds.
func (a *account) ensure() error {
	if a.loaded && !a.unsettled {
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
	if c := rec.Claim; c != nil && c.Attempt != a.claimOf {
		a.claimOf, a.claimEnds = c.Attempt, time.Now().Add(c.Lifetime)
	}
	a.publish()
	return nil
}

// suspect reports whether the refresh token in hand may be spent: it was
// claimed, and no job of this actor's knows what came of it.
func (a *account) suspect() bool {
	c := a.rec.Claim
	return c != nil && c.Generation == a.rec.Generation && a.rec.State == credential.StateActive && !a.neverSent()
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
		change.Before = &a.rec
	}
	change.After.HistoryNext = a.rec.HistoryNext + uint64(len(lines))
	rev, err := a.shard.store.Commit(ctx, change)
	if err != nil {
		sys.counters.CommitFailures.Add(1)
		a.loaded = false
		a.view.record.Store(nil) // readers look into the store, until it is read anew
		switch {
		case errors.Is(err, credential.ErrUnknownOutcome):
			a.settleUnknown()
		case errors.Is(err, credential.ErrConflict):
			a.unsettled = false // writes keep their order
		}
		return err
	}
	a.unsettled = false
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
	err := a.shard.store.Barrier(ctx)
	if a.unsettled = err != nil; a.unsettled {
		sys.log.Warn("outcome of a write stays unknown; every later write checks the record's revision", "account", a.ref.String(), "err", err)
	}
}

// publish shows the record to those who read past the mailbox.
func (a *account) publish() {
	if a.unsettled {
		return
	}
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

func (a *account) events(t credential.EventType, after *credential.Account) []credential.Event {
	return []credential.Event{{ID: newID(), Type: t, Ref: a.ref, At: time.Now().UTC(), Reason: after.Reason, Generation: after.Generation, Integration: after.Integration}}
}

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

// answered takes the provider's answer to this actor's job, or to that of an
// actor before it.
func (a *account) answered(m answered) {
	m.job.done, m.job.grant = &m.answer, m.grant
	a.settle(m.job)
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
