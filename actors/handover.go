package actors

import (
	"math/rand/v2"
	"time"

	"github.com/grantd/grantd/credential"
)

// A claim without an outcome that no job of this actor holds was left by a node
// that crashed, or lost the shard. Its answer may lie in this node's journal;
// else the node that made the claim is asked what became of it, beside the
// actor, again and again, until it says something final or the refresh token is
// presented once more. Meanwhile the claim is in the way of a refresh, as
// uncertain.go says.

// inquiry is what the actor does to learn what became of a claim.
type inquiry struct {
	attempt string
	waits   int // how often the node asked for patience
	misses  int // how often in a row it did not say
	// open: a word is expected soon, and callers whom the token in hand does not
	// serve wait for it.
	open bool
	// until is when the request has ended, as the node that sent it told.
	until time.Time
}

// untoldTries is how often the claim's node is asked in vain before the claim
// is taken for uncertain. It is asked on after that.
const untoldTries = 3

// openWait and missedWait bound the pause after a try in vain: while the claim
// is open, so that the node is heard before its refresh token may be presented
// once more, and after that.
const (
	openWait   = 2 * time.Second
	missedWait = 30 * time.Second
)

// recover decides what to do about a claim that was found.
func (a *account) recover() {
	c, sys := a.rec.Claim, a.shard.sys
	if q := a.inquiry; q != nil && q.attempt == c.Attempt {
		if !q.open {
			a.doubt("") // it could not be marked before
		}
		return
	}
	if a.salvage() {
		return
	}
	a.inquiry = nil
	switch elsewhere := c.Node != sys.node; {
	case elsewhere && sys.peers != nil, c.Boot == sys.boot && !c.Uncertain:
		a.inquiry = &inquiry{attempt: c.Attempt, open: true}
		a.inquire(a.inquiry)
	case elsewhere:
		a.doubt("nobody can ask that node")
	default:
		a.doubt("the process that made it is gone")
	}
}

// salvage settles the claim with the answer of this node's journal, if it holds one.
func (a *account) salvage() bool {
	sys := a.shard.sys
	b, err := sys.journal.Get(a.rec.Claim.Attempt)
	if err != nil || b == nil {
		return false
	}
	ans, err := parseAnswer(b)
	if err != nil || !ans.answers(a.query()) || !sys.jobs.add() {
		return false
	}
	in, _ := sys.integrations.Lookup(a.rec.Integration)
	j := &job{integration: in, done: &ans, from: fromJournal}
	a.job = j
	a.settle(j)
	return true
}

func (a *account) query() credential.FateQuery {
	c := a.rec.Claim
	return credential.FateQuery{Ref: a.ref, Attempt: c.Attempt, Boot: c.Boot, Generation: c.Generation}
}

// inquire asks for the claim's fate: another node beside the actor, the process
// itself at once.
func (a *account) inquire(q *inquiry) {
	sh, node, query := a.shard, a.rec.Claim.Node, a.query()
	if query.Boot == sh.sys.boot {
		a.learn(told{inquiry: q, fate: sh.sys.Fate(query)})
		return
	}
	sh.sys.calls.Go(func() {
		f, late, err := sh.inform(node, query)
		sh.send(told{signal: signal{ref: a.ref}, inquiry: q, fate: f, late: late, err: err})
	})
}

// inquireLater asks again after a while, if the claim still stands then.
func (a *account) inquireLater(q *inquiry, wait time.Duration) {
	sh, ref := a.shard, a.ref
	sh.sys.after(wait, func() { sh.send(inquireAgain{signal{ref: ref}, q}) })
}

func (a *account) inquireAgain(m inquireAgain) {
	if a.current(m.inquiry) {
		a.inquire(m.inquiry)
	}
}

func (a *account) told(m told) {
	if a.current(m.inquiry) {
		a.learn(m)
	}
}

// current reports whether the inquiry is still about the record's claim. The
// last one to hear that it is not tells those who waited for it.
func (a *account) current(q *inquiry) bool {
	c := a.rec.Claim
	switch {
	case a.inquiry != q:
		return false
	case c != nil && c.Attempt == q.attempt && a.job == nil:
		return true
	}
	a.inquiry = nil
	a.serveWaiters()
	return false
}

// expectsFate reports whether a word about the claim is expected soon.
func (a *account) expectsFate() bool {
	q, c := a.inquiry, a.rec.Claim
	return q != nil && q.open && a.job == nil && c != nil && c.Attempt == q.attempt
}

// inFlightUntil is when the claim's request has ended, as its node told; zero:
// it did not.
func (a *account) inFlightUntil() (t time.Time) {
	if q, c := a.inquiry, a.rec.Claim; q != nil && c != nil && c.Attempt == q.attempt {
		return q.until
	}
	return t
}

// learn acts on what was said about the claim.
func (a *account) learn(m told) {
	q, c, now := m.inquiry, a.rec.Claim, time.Now()
	// As long as a node says that it has the request, or its answer, in hand, it
	// knows best; but not for ever.
	over := a.claimEnds.Add(a.policy().UncertainHold)
	switch {
	case m.err == nil && m.fate.State == credential.FateNeverSent:
		a.neverWas(q)
	case m.err == nil && m.fate.State == credential.FateInFlight && now.Before(over):
		wait := min(max(m.fate.Remaining, fateAgain<<min(q.waits, 5)), c.Lifetime)
		q.waits++
		q.misses, q.until = 0, earliest(now.Add(wait+fateTimeout), over)
		a.inquireLater(q, wait)
	case m.err == nil && m.fate.State == credential.FateAnswered && m.late != nil:
		if err := a.settleLate(m.late, fromFate); err != nil {
			a.missed(q, now, "its answer could not be taken yet")
		}
	case m.err == nil && m.fate.State == credential.FateUnknown:
		a.giveUp(q, "that node does not know its answer")
	default:
		a.missed(q, now, "that node does not say")
	}
}

// neverWas ends a claim whose request was not sent and never will be.
func (a *account) neverWas(q *inquiry) {
	if secondTry(a.rec.Claim) { // the token was in doubt before it
		a.giveUp(q, "")
		return
	}
	a.inquiry = nil
	in, _ := a.shard.sys.integrations.Lookup(a.rec.Integration)
	node, after := a.rec.Claim.Node, a.rec.Clone()
	after.Claim = nil
	after.NextRefreshAt = nextRefresh(&after, circumstances{policy: *a.policy(), integration: in, now: time.Now().UTC(), draw: rand.Float64()})
	a.commitLogged(after, a.lines(credential.WhatNeverSent, "", "node "+node+" claimed a refresh and sent no request that spent the refresh token"))
	a.serveWaiters()
}

// missed: the claim's node did not say. It is asked again.
func (a *account) missed(q *inquiry, now time.Time, why string) {
	q.misses++
	if !q.open || q.misses >= untoldTries || !now.Before(a.claimEnds) {
		q.open = false
		a.doubt(why)
		a.serveWaiters()
	}
	most := missedWait
	if now.Before(a.claimEnds) {
		most = openWait
	}
	a.inquireLater(q, min(a.policy().backoff(q.misses, rand.Float64()), most))
}

// giveUp: nothing more is to be learnt about the claim.
func (a *account) giveUp(q *inquiry, why string) {
	q.open, q.until = false, time.Time{}
	a.doubt(why)
	a.serveWaiters()
}

// doubt marks the claim as uncertain, unless it is.
func (a *account) doubt(why string) {
	sys, now := a.shard.sys, time.Now()
	if a.rec.Claim.Uncertain {
		return
	}
	in, _ := sys.integrations.Lookup(a.rec.Integration)
	after := a.rec.Clone()
	after.Claim.Uncertain, after.Claim.Interrupted = true, true
	if a.suspect() {
		after.NextRefreshAt = onWallClock(a.claimRetry(in), now)
	} else {
		after.NextRefreshAt = nextRefresh(&after, circumstances{policy: *a.policy(), integration: in, now: now.UTC(), draw: rand.Float64()})
	}
	detail := "a claim of node " + after.Claim.Node + " has no outcome; its request may have been sent"
	if why != "" {
		detail += ": " + why
	}
	if a.commitLogged(after, a.lines(credential.WhatInterrupted, "", detail)) {
		sys.counters.Interrupted.Add(1)
	}
}

// serveWaiters answers those who waited for a word about the claim, or begins
// the refresh that they want.
func (a *account) serveWaiters() {
	if a.job != nil || len(a.waiters) == 0 {
		return
	}
	if !a.loaded {
		a.failWaiters(&credential.Unavailable{Err: credential.ErrNoQuorum, Reason: "the end of an interrupted refresh could not be stored", RetryAfter: time.Second})
		return
	}
	_, err := a.mayRefresh(time.Now())
	a.answerWaiters(err)
}

func (a *account) commitLogged(after credential.Account, lines []credential.Line) bool {
	err := a.commit(after, lines, nil)
	if err != nil {
		a.shard.sys.log.Warn("interrupted refresh could not be marked", "account", a.ref.String(), "err", err)
	}
	return err == nil
}

// neverSent reports whether the record's claim is one that this process
// committed without knowing that it did, and so never acted on.
func (a *account) neverSent() bool {
	c, sys := a.rec.Claim, a.shard.sys
	return c != nil && !c.Uncertain && c.Boot == sys.boot && sys.attempts.unsent(c.Attempt)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
