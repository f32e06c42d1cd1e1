package actors

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/grantd/grantd/credential"
)

// lanes holds a lane for each integration: what its token requests pass
// through before they may be claimed. A lane bounds how many are in flight and
// how many start in a second, and closes when the provider is down (circuit
// breaker), asks for a pause (Retry-After) or refuses the client itself.
//
// Methods may be called concurrently. No callback runs under a lock.
type lanes struct {
	policy Policy
	mu     sync.Mutex
	byID   map[string]*lane // bounded by the number of integrations
	closed bool
}

// lane is the state of one integration's requests; guarded by lanes.mu.
type lane struct {
	concurrency int
	limiter     *rate.Limiter // nil: no rate known
	limit       rate.Limit
	inFlight    int
	// urgent (a caller waits) goes before patient (the timer came).
	urgent, patient []*entry
	timer           *time.Timer // wakes the lane when its rate allows more

	failures  int       // of the provider, in a row
	openUntil time.Time // circuit open, or paused on the provider's word
	opened    int       // how often in a row the circuit opened
	probing   bool      // one request tries whether the provider is back
	nextProbe time.Time // of a misconfigured integration
}

// entry is a place in a lane's queue. start is called once, when the request
// may be claimed; it must not block.
type entry struct{ start func() }

func newLanes(p Policy) *lanes { return &lanes{policy: p, byID: make(map[string]*lane)} }

// lane returns the integration's lane, with the bounds that hold now. Call
// with the lock held.
func (l *lanes) lane(in Integration) *lane {
	ln := l.byID[in.ID]
	if ln == nil {
		ln = &lane{}
		l.byID[in.ID] = ln
	}
	ln.concurrency = l.policy.Concurrency
	if in.Concurrency > 0 {
		ln.concurrency = in.Concurrency
	}
	if limit := rate.Limit(in.RatePerSecond); limit != ln.limit {
		ln.limit, ln.limiter = limit, nil
		if limit > 0 {
			ln.limiter = rate.NewLimiter(limit, max(in.Burst, 1))
		}
	}
	return ln
}

// crowdedFor is how many seconds' worth of requests may wait in a lane whose
// rate is bounded before the schedule passes it over.
const crowdedFor = 2

// takes says whether the schedule may wake one more account of the integration:
// nil, or why not and when to ask again. Its lane may be closed, or crowded: who
// waits there holds a place in its shard's schedule that accounts of other
// integrations need.
func (l *lanes) takes(in Integration, now time.Time) *credential.Unavailable {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.lane(in)
	if why := ln.check(in, now); why != nil {
		return why
	}
	if ln.limiter != nil && float64(len(ln.patient)) >= max(1, crowdedFor*float64(ln.limit)) {
		return &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "others wait already", RetryAfter: time.Second}
	}
	return nil
}

// shut says why a request whose turn has come is not to be sent after all: what
// closed the lane came while it queued. probe: it is to try out a broken
// integration.
func (l *lanes) shut(in Integration, probe bool, now time.Time) *credential.Unavailable {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch ln := l.lane(in); {
	case in.Broken && !probe:
		return misconfigured(in, ln.nextProbe.Sub(now))
	case now.Before(ln.openUntil):
		return paused(ln.openUntil.Sub(now))
	}
	return nil
}

func misconfigured(in Integration, wait time.Duration) *credential.Unavailable {
	return &credential.Unavailable{Err: credential.ErrMisconfigured, Reason: in.Reason, RetryAfter: max(wait, 0)}
}

func paused(wait time.Duration) *credential.Unavailable {
	return &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "provider paused after failures", RetryAfter: wait}
}

// check says whether a request may queue now.
func (ln *lane) check(in Integration, now time.Time) *credential.Unavailable {
	if in.Broken && now.Before(ln.nextProbe) {
		return misconfigured(in, ln.nextProbe.Sub(now))
	}
	if now.Before(ln.openUntil) {
		return paused(ln.openUntil.Sub(now))
	}
	if ln.probing {
		return &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "provider is being probed after failures", RetryAfter: time.Second}
	}
	return nil
}

// enter lets a request go on at once (admitted), or queues it and calls start
// when it may go on, or refuses it. Every entry that was admitted or started is
// given back by leave.
func (l *lanes) enter(in Integration, urgent bool, now time.Time, start func()) (admitted bool, why *credential.Unavailable) {
	l.mu.Lock()
	ln := l.lane(in)
	if why := ln.check(in, now); why != nil {
		l.mu.Unlock()
		return false, why
	}
	if in.Broken {
		ln.nextProbe = now.Add(l.policy.BrokenProbe)
	}
	if ln.opened > 0 {
		ln.probing = true
	}
	e := &entry{start: start}
	if urgent {
		ln.urgent = append(ln.urgent, e)
	} else {
		ln.patient = append(ln.patient, e)
	}
	ready := l.ready(in.ID, ln, now)
	l.mu.Unlock()
	if i := slices.Index(ready, e); i >= 0 {
		ready, admitted = slices.Delete(ready, i, i+1), true
	}
	run(ready)
	return admitted, nil
}

// ready takes the entries off the queue that may start now. Call with the lock held.
func (l *lanes) ready(id string, ln *lane, now time.Time) (out []*entry) {
	for !l.closed && ln.inFlight < ln.concurrency && len(ln.urgent)+len(ln.patient) > 0 {
		if ln.limiter != nil && !ln.limiter.AllowN(now, 1) {
			l.wakeLater(id, ln, now)
			break
		}
		queue := &ln.urgent
		if len(*queue) == 0 {
			queue = &ln.patient
		}
		out = append(out, (*queue)[0])
		(*queue)[0] = nil
		*queue = (*queue)[1:]
		ln.inFlight++
	}
	return out
}

// wakeLater arms the lane's timer for when its rate allows one more.
func (l *lanes) wakeLater(id string, ln *lane, now time.Time) {
	if ln.timer != nil {
		return
	}
	r := ln.limiter.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	r.CancelAt(now)
	ln.timer = time.AfterFunc(wait, func() {
		l.mu.Lock()
		ln.timer = nil
		ready := l.ready(id, ln, time.Now())
		l.mu.Unlock()
		run(ready)
	})
}

func run(entries []*entry) {
	for _, e := range entries {
		e.start()
	}
}

// verdict is what a finished request says about its provider.
type verdict uint8

const (
	unused  verdict = iota // no request was sent after all
	healthy                // it answered sensibly, be it with a refusal of this grant
	failing                // it failed, or did not answer
	limited                // it asked for a pause
	refused                // it refused the client itself
)

// leave gives a place back and learns from the request. pause is what the
// provider asked for, with limited.
func (l *lanes) leave(in Integration, v verdict, pause time.Duration, now time.Time) {
	l.mu.Lock()
	ln := l.byID[in.ID] // its bounds may be newer than the job's
	ln.inFlight--
	ln.learn(v, pause, now, l.policy)
	ready := l.ready(in.ID, ln, now)
	l.mu.Unlock()
	run(ready)
}

func (ln *lane) learn(v verdict, pause time.Duration, now time.Time, p Policy) {
	switch v {
	case unused:
		ln.probing = false
	case healthy:
		ln.failures, ln.opened, ln.probing = 0, 0, false
	case refused: // until the integration is marked broken everywhere
		ln.failures, ln.opened, ln.probing = 0, 0, false
		ln.openUntil, ln.nextProbe = now.Add(p.BreakerMin), now.Add(p.BrokenProbe)
	case limited:
		ln.probing = false
		if until := now.Add(min(pause, p.MaxRetryAfter)); until.After(ln.openUntil) {
			ln.openUntil = until
		}
	case failing:
		ln.failures++
		if ln.probing || ln.failures >= p.BreakerFailures && !now.Before(ln.openUntil) {
			ln.probing = false
			wait := min(p.BreakerMin<<min(ln.opened, 16), p.BreakerMax)
			ln.opened++
			ln.openUntil = now.Add(wait)
		}
	}
}

// reset forgets what was held against an integration, after it was mended.
func (l *lanes) reset(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln := l.byID[id]; ln != nil {
		ln.failures, ln.opened, ln.probing = 0, 0, false
		ln.openUntil, ln.nextProbe = time.Time{}, time.Time{}
	}
}

// open counts the circuits that are open, for the metrics.
func (l *lanes) open(now time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ln := range l.byID {
		if now.Before(ln.openUntil) {
			n++
		}
	}
	return n
}

// close stops the timers and drops what still waits; its owners are told by
// their own shutdown.
func (l *lanes) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, ln := range l.byID {
		if ln.timer != nil {
			ln.timer.Stop()
		}
		ln.urgent, ln.patient = nil, nil
	}
}
