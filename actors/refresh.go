package actors

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/credential"
)

// The refresh protocol: claim, call, outcome, answer.
//
//  1. begin: the actor finds that a refresh is wanted and queues a job in the
//     integration's lane.
//  2. claim: when the lane admits it, the actor commits a claim. No majority,
//     no claim; no claim, no request.
//  3. call: the provider is asked, outside the actor, with a deadline inside
//     the claim's. Its answer, sealed, goes into the node's synced journal in
//     the same breath as its outcome is proposed.
//  4. settle: the actor commits the outcome, with the schedule entry and the
//     events. Only then do the callers that wait get their answer.
//
// What happens when the node dies between any two of them stands in
// docs/refresh.md; uncertain.go decides it.

// job is a refresh that an actor has under way.
type job struct {
	integration Integration
	// claim is set, and started read from the monotonic clock, when the lane
	// has admitted the job.
	claim   *credential.Claim
	started time.Time
	// done is the answer, once it is there and while it is not yet committed.
	done  *answer
	grant *credential.Grant
	from  source
	tries int
	// err is why the outcome could not be committed, of an answer that is kept
	// elsewhere.
	err error
	// scheduled: the scheduler is to be told of the end.
	scheduled bool
	// away: it goes on when a message carries it back to the actor.
	away        bool
	left, ended atomic.Bool
}

// source says where the answer of a job comes from.
type source uint8

const (
	fromCall    source = iota // it has just come in
	fromJournal               // this node's
	fromFate                  // another node's, which was asked for it
	fromOffer                 // a journal, which offered it
)

// leave gives the place in the lane back, once.
func (j *job) leave(sys *System, v verdict, pause time.Duration) {
	if !j.left.Swap(true) {
		sys.lanes.leave(j.integration, v, pause, time.Now())
	}
}

// end takes the job out of the system's count, once. An answer that is not
// stored is left to the journal.
func (j *job) end(sys *System) {
	if j.ended.Swap(true) {
		return
	}
	if j.claim != nil && sys.attempts.leave(j.claim.Attempt) {
		sys.pusher.nudge()
	}
	sys.jobs.done()
}

// begin begins a refresh, or queues it in its lane, unless one is under way. It
// says why not, where the account or its provider does not allow one now.
// urgent: a caller waits, else the scheduler is told of the end. When begin
// returns nil the refresh may be over already, and those who wait answered.
func (a *account) begin(urgent bool) error {
	if a.job != nil {
		a.job.scheduled = a.job.scheduled || !urgent
		return nil
	}
	now := time.Now()
	in, err := a.mayRefresh(now)
	if err != nil {
		return err
	}
	j := &job{integration: in, scheduled: !urgent, away: true}
	sh := a.shard
	if !sh.sys.jobs.add() {
		return &credential.Unavailable{Err: credential.ErrNoQuorum, Reason: "the node is stopping", RetryAfter: time.Second}
	}
	start := func() {
		gone := func() { j.leave(sh.sys, unused, 0); j.end(sh.sys) }
		sh.send(admitted{signal: signal{a.ref, gone}, job: j})
	}
	admitted, why := sh.sys.lanes.enter(in, urgent, now, start)
	if why != nil {
		j.end(sh.sys)
		return why
	}
	a.job = j
	if admitted {
		j.away = false
		a.claim(j)
	}
	return nil
}

// admitted goes on with a job that had to wait for its lane: things may have
// changed meanwhile.
func (a *account) admitted(j *job) {
	now := time.Now()
	in, err := a.mayRefresh(now)
	if err != nil {
		a.release(j, err)
		return
	}
	if why := a.shard.sys.lanes.shut(in, j.integration.Broken, now); why != nil {
		a.release(j, why)
		return
	}
	a.claim(j)
}

// release ends a job that sent nothing.
func (a *account) release(j *job, err error) {
	j.leave(a.shard.sys, unused, 0)
	a.finish(j, err)
}

// mayRefresh says whether the account may be refreshed now: I4 and the
// back-off live here.
func (a *account) mayRefresh(now time.Time) (Integration, error) {
	rec := &a.rec
	switch {
	case rec.State == credential.StateNeedsReauth:
		return Integration{}, &credential.Unavailable{Err: credential.ErrNeedsReauth, Reason: rec.Reason}
	case rec.State == credential.StateDisconnected:
		return Integration{}, credential.ErrDisconnected
	case !rec.Kind.Refreshes():
		return Integration{}, &credential.Unavailable{Err: credential.ErrInvalid, Reason: "an account of type " + string(rec.Kind) + " is never refreshed"}
	}
	in, ok := a.shard.sys.integrations.Lookup(rec.Integration)
	if !ok {
		return Integration{}, &credential.Unavailable{Err: credential.ErrMisconfigured, Reason: "integration " + rec.Integration + " does not exist", RetryAfter: a.policy().BrokenProbe}
	}
	notBefore := a.claimRetry(in)
	if rec.Failures > 0 && rec.NextRefreshAt.After(notBefore) {
		notBefore = rec.NextRefreshAt
	}
	if wait := notBefore.Sub(now); wait > 0 && !notBefore.IsZero() {
		return Integration{}, &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "waiting after a refresh that failed or was interrupted", RetryAfter: wait}
	}
	return in, nil
}

// claim commits the right to send one request, and sends it.
func (a *account) claim(j *job) {
	for try := 1; ; try++ {
		err := a.tryClaim(j)
		if err == nil {
			break
		}
		if errors.Is(err, credential.ErrConflict) && try < commitTries {
			if err = a.load(); err == nil {
				_, err = a.mayRefresh(time.Now())
			}
		}
		if err != nil {
			a.release(j, err)
			return
		}
	}
	sys := a.shard.sys
	sys.failpoint(PointClaimed)
	deadline := a.claimEnds
	if d := time.Now().Add(a.policy().CallTimeout); d.Before(deadline) {
		deadline = d
	}
	rec := a.rec // here: the call runs beside the actor, which may take an import meanwhile
	j.away = true
	sys.call(func() { a.shard.call(rec, j, deadline) })
}

// tryClaim commits the claim to the record in hand.
func (a *account) tryClaim(j *job) error {
	sys := a.shard.sys
	j.started = time.Now()
	j.claim = &credential.Claim{
		Attempt: newID(), Generation: a.rec.Generation,
		Node: sys.node, Boot: sys.boot, Term: a.term,
		At: j.started.UTC(), Lifetime: a.policy().ClaimLifetime,
		Uncertain: a.suspect(),
	}
	before, after := a.rec.Claim, a.rec
	after.Claim = j.claim
	after.NextRefreshAt = j.started.UTC().Add(j.claim.Lifetime) // whoever owns the shard then looks what became of it
	var lines []credential.Line
	if j.claim.Uncertain {
		lines = a.lines(credential.WhatRetriedUncertain, "", "the refresh token of an interrupted refresh is presented once more")
	}
	sys.failpoint(PointBeforeClaim)
	ends := j.started.Add(j.claim.Lifetime)
	sys.attempts.begin(j.claim.Attempt, a.ref, ends)
	if err := a.commit(after, lines, nil); err != nil {
		sys.attempts.forget(j.claim.Attempt) // should it be committed yet, it was never sent
		return err
	}
	if j.claim.Uncertain {
		sys.counters.UncertainRetries.Add(1)
	}
	a.claimOf, a.claimEnds = j.claim.Attempt, ends
	if before != nil {
		sys.attempts.forget(before.Attempt) // nothing holds it any more
	}
	return nil
}

// call asks the provider and sends the answer back to the account. It runs
// outside the actor and touches none of its state.
func (sh *shard) call(rec credential.Account, j *job, deadline time.Time) {
	sys := sh.sys
	ctx, cancel := context.WithDeadline(sys.ctx, deadline)
	defer cancel()
	ans := answer{Attempt: j.claim.Attempt, Ref: rec.Ref, Generation: rec.Generation + 1}
	var grant *credential.Grant
	old, failure := sh.openRefresh(ctx, rec)
	says := unused // of the provider
	if failure == nil {
		grant, failure = sh.ask(ctx, rec, old, ans.Attempt)
		says = judge(failure)
	}
	ans.At, ans.Failure = time.Now().UTC(), failure
	sys.counters.count(failure)
	j.leave(sys, says, retryAfter(failure))
	if failure == nil {
		if err := sh.seal(rec, j, grant, &ans); err != nil {
			// The old token is spent and the new one cannot be kept: the answer is lost.
			sys.log.Error("answer of the provider could not be sealed", "account", rec.Ref.String(), "err", err)
			ans.Failure = &credential.Failure{Class: credential.Ambiguous, Code: "not_sealed", Detail: "the answer could not be sealed", Sent: true}
		}
	}
	sys.failpoint(PointAnswered)
	durable := func() {}
	if ans.conclusive() {
		durable = sh.journal(ans)
	}
	lost := func() {
		if ans.harmless() { // else whoever finds the claim must know that it was sent
			sys.attempts.forget(ans.Attempt)
		}
		j.end(sys)
	}
	sh.send(answered{signal: signal{rec.Ref, lost}, job: j, answer: ans, grant: grant})
	durable() // in the same breath: the outcome is on its way meanwhile
}

// openRefresh opens the refresh token, if there is one.
func (sh *shard) openRefresh(ctx context.Context, rec credential.Account) (old credential.Secret, f *credential.Failure) {
	if len(rec.RefreshToken) == 0 {
		return old, nil
	}
	old, err := sh.sys.sealer.Open(ctx, rec.RefreshLabel(), rec.RefreshToken)
	if err != nil {
		return old, &credential.Failure{Class: credential.Transient, Code: "not_opened", Detail: "the sealed refresh token does not open"}
	}
	return old, nil
}

// codeNotSent is the failure of a request that came too late, or that another
// node was told will not be sent.
const codeNotSent = "not_sent"

// leastShare: a request is not begun with less than this part of its usual time.
// After a slow commit, or where the process stood still, little of the claim may
// be left; an answer that is cut off then is a grant that may be lost, and the
// next request would follow on its heels.
const leastShare = 2

// ask makes the one request of the attempt.
func (sh *shard) ask(ctx context.Context, rec credential.Account, old credential.Secret, attempt string) (*credential.Grant, *credential.Failure) {
	sh.sys.failpoint(PointSending)
	if deadline, _ := ctx.Deadline(); !sh.sys.attempts.send(attempt, deadline, sh.sys.policy.CallTimeout/leastShare) {
		return nil, &credential.Failure{Class: credential.Transient, Code: codeNotSent, Detail: "the claim was over, or nearly, before the request was sent"}
	}
	grant, err := sh.sys.provider.Refresh(ctx, requestFor(&rec, old, credential.Secret{}))
	if err == nil {
		return &grant, nil
	}
	if f, ok := errors.AsType[*credential.Failure](err); ok {
		return nil, f
	}
	return nil, &credential.Failure{Class: credential.Ambiguous, Code: "internal", Detail: "the request failed in an unknown way", Sent: true}
}

// requestFor is what the provider is asked about an account.
func requestFor(rec *credential.Account, refresh, access credential.Secret) credential.TokenRequest {
	scopes := rec.Scopes
	if rec.RequestedScopes != nil {
		scopes = rec.RequestedScopes
	}
	return credential.TokenRequest{
		Integration: rec.Integration, Kind: rec.Kind, RefreshToken: refresh, AccessToken: access,
		Scopes: scopes, Variables: rec.Variables, Facts: rec.Facts,
	}
}

// seal turns the provider's answer into what may be stored.
func (sh *shard) seal(rec credential.Account, j *job, grant *credential.Grant, ans *answer) error {
	// Sealing must succeed although the request's own time may be over.
	ctx, cancel := context.WithTimeout(sh.sys.ctx, sh.sys.policy.CommitTimeout)
	defer cancel()
	next := rec
	next.Generation, next.RefreshGeneration = ans.Generation, ans.Generation
	var err error
	if ans.AccessToken, err = sh.sys.sealer.Seal(ctx, next.AccessLabel(), grant.AccessToken); err != nil {
		return err
	}
	if !grant.RefreshToken.IsZero() {
		if ans.RefreshToken, err = sh.sys.sealer.Seal(ctx, next.RefreshLabel(), grant.RefreshToken); err != nil {
			return err
		}
		if life := max(grant.RefreshExpiresIn, 0); life > 0 {
			ans.RefreshExpiresAt = ans.At.Add(life)
		} else if life := j.integration.RefreshLifetime; life > 0 {
			ans.RefreshExpiresAt = ans.At.Add(life)
		}
	}
	ans.TokenType, ans.Scopes, ans.Facts = grant.TokenType, grant.Scopes, grant.Facts
	expire := func(told time.Duration) {
		ans.ExpiresAt, ans.ExpiryAssumed = sh.sys.policy.expiry(told, rec.LearnedLifetime, j.integration.AccessLifetime, ans.At)
	}
	expire(grant.ExpiresIn)
	if grant.ExpiresIn == 0 {
		sh.journal(*ans)() // asking takes time in which the answer must be safe, and complete
		expire(sh.sys.provider.Lifetime(ctx, requestFor(&rec, credential.Secret{}, grant.AccessToken)))
	}
	return nil
}

// journal begins to keep an answer on this node until its outcome is
// committed, and returns what waits until it is durable. The store syncs it
// together with the proposal of the outcome, where that comes soon enough.
func (sh *shard) journal(ans answer) (durable func()) {
	complain := func(err error) {
		sh.sys.log.Error("answer of the provider could not be journalled", "account", ans.Ref.String(), "attempt", ans.Attempt, "err", err)
	}
	b, err := json.Marshal(ans)
	if err != nil {
		complain(err)
		return func() {}
	}
	wait, err := sh.sys.journal.Begin(ans.Attempt, b)
	if err != nil {
		complain(err)
		return func() {}
	}
	return func() {
		if err := wait(); err != nil {
			complain(err)
		}
	}
}

// settle commits what the answer means, and tells those who wait.
func (a *account) settle(j *job) {
	sys := a.shard.sys
	for {
		c := circumstances{
			policy: sys.policy, integration: j.integration, now: time.Now().UTC(), draw: rand.Float64(),
			eventID: newID(), node: sys.node, salvaged: j.from != fromCall, idle: a.idle(), claimEnds: a.claimEnds,
			told: sys.tells != nil && sys.tells(a.ref, a.rec.Integration),
		}
		s, ok := settle(a.rec, *j.done, c)
		late := a.late(j)
		if !ok && late == nil {
			a.settled(j, nil)
			return
		}
		if !ok {
			s.after = a.rec.Clone()
		}
		sys.failpoint(PointSettling)
		rev := a.rev
		err := a.write(credential.Change{After: s.after, Lines: s.lines, Events: s.events, Revoke: late})
		if err == nil {
			sys.failpoint(PointSettled)
			a.report(j, s)
			a.settled(j, j.done.Failure)
			return
		}
		if loadErr := a.load(); errors.Is(err, credential.ErrConflict) && loadErr == nil && a.rev != rev {
			continue // decide anew on the record that won
		}
		// The outcome may or may not be stored.
		if j.from == fromFate || j.from == fromOffer {
			j.err = err // whose journal it is in comes again
			a.finish(j, retryable(err))
			return
		}
		// The answer is safe in the journal; try again until the record tells, or
		// the shard is lost and the journal offers it to the new owner.
		a.failWaiters(retryable(err))
		j.tries++
		j.away = true
		sys.after(a.policy().backoff(j.tries, rand.Float64()), func() {
			a.shard.send(settleAgain{signal: signal{a.ref, func() { j.end(sys) }}, job: j})
		})
		return
	}
}

// retryable is what callers are told whose refresh has an answer that is not
// known to be stored: asking again, here or at the new owner, gets it.
func retryable(err error) error {
	if errors.Is(err, credential.ErrUnknownOutcome) {
		return &credential.Unavailable{Err: credential.ErrNoQuorum, Reason: "the new token is not known to be stored yet", RetryAfter: time.Second}
	}
	return err
}

// settled ends a job whose outcome is stored, or no longer wanted.
func (a *account) settled(j *job, f *credential.Failure) {
	sys := a.shard.sys
	if j.done.conclusive() {
		if err := sys.journal.Delete(j.done.Attempt); err != nil {
			sys.log.Error("journal entry could not be deleted", "attempt", j.done.Attempt, "err", err)
		}
	}
	if c := a.rec.Claim; c == nil || c.Attempt != j.done.Attempt { // else whoever finds it must know that it was sent
		sys.attempts.forget(j.done.Attempt)
	}
	var err error
	if f != nil {
		err = &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: f.Class.String() + ": " + f.Code, RetryAfter: max(time.Until(a.rec.NextRefreshAt), 0)}
		if f.Class == credential.Misconfigured {
			err = &credential.Unavailable{Err: credential.ErrMisconfigured, Reason: f.Code, RetryAfter: sys.policy.BrokenProbe}
		}
	}
	a.finish(j, err)
}

// report tells the counters and the integration what a committed outcome means.
func (a *account) report(j *job, s settlement) {
	sys := a.shard.sys
	for _, l := range s.lines {
		switch l.What {
		case credential.WhatSalvaged:
			sys.counters.salvaged(j.from)
		case credential.WhatOutcomeLost:
			sys.counters.OutcomesLost.Add(1)
		case credential.WhatNeedsReauth:
			sys.counters.NeedsReauth.Add(1)
		case credential.WhatAnswerDiscarded:
			sys.counters.Discarded.Add(1)
		}
	}
	f, in := j.done.Failure, j.integration
	switch {
	case f != nil && f.Class == credential.Misconfigured && !in.Broken:
		sys.tell(func(ctx context.Context) error { return sys.integrations.MarkBroken(ctx, in.ID, in.Version, f.Code) })
	case f == nil && in.Broken:
		sys.tell(func(ctx context.Context) error { return sys.integrations.MarkRecovered(ctx, in.ID, in.Version) })
	}
}

// judge is what a failure says about the provider rather than the grant.
func judge(f *credential.Failure) verdict {
	switch {
	case f != nil && f.Code == codeNotSent:
		return unused
	case f == nil || f.Class == credential.Terminal:
		return healthy
	case f.Class == credential.Misconfigured:
		return refused
	case f.RetryAfter > 0:
		return limited
	default:
		return failing
	}
}

func retryAfter(f *credential.Failure) time.Duration {
	if f == nil {
		return 0
	}
	return f.RetryAfter
}
