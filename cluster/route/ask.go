package route

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire/exchange"
)

// repeat says what may be done about a request whose answer was lost: the
// stream broke, or its owner does not know what became of its write.
//
// A token or a read changes nothing, and an offer may be made twice, as a handout may be noted twice. A refresh
// with a stale generation comes to the same however often it is asked for: once
// a newer generation is there, that is the answer, and while a refresh is under
// way the second joins it, at the new owner by the claim that it finds.
//
// A refresh without one would bring a second new token, which nobody asked for,
// and end the first where the provider says so. An import that was carried out
// may have been followed by a refresh: a second one would put the refresh token
// that this has spent back, and the provider would take that for theft. A
// disconnect may have been followed by an import, which a second one would
// destroy. So these three are left to the caller, who is told that nobody knows.
//
// All of them are sent again where they were surely not begun. Not being the
// owner counts as that: an import and a disconnect have then written nothing.
// A refresh may have been under way when its owner lost the shard; then it is
// the new owner's to settle before it begins another.
type repeat bool

const (
	once  repeat = false
	twice repeat = true
)

const (
	backoffMin = 20 * time.Millisecond
	backoffMax = 250 * time.Millisecond
	// maxFailed bounds how often an owner that could not commit is asked again.
	maxFailed = 2
	// maxDetours bounds how often in a row another node is asked at once.
	maxDetours = 4
)

// backoff is how long to wait before the nth try after the first, for a draw r
// of [0,1): it doubles, and the upper half of each step is drawn.
func backoff(n int, r float64) time.Duration {
	d := backoffMin
	for i := 1; i < n && d < backoffMax; i++ {
		d *= 2
	}
	d = min(d, backoffMax)
	return d/2 + time.Duration(r*float64(d/2))
}

// what to do about an error.
type step uint8

const (
	final   step = iota // it is the answer
	again               // ask again, it was surely not begun
	failed              // ask again, a few times
	unknown             // it may have been carried out
)

// judge says what an error means for a request.
func judge(err error, rep repeat) step {
	switch {
	case errors.Is(err, exchange.ErrTooLarge):
		return final
	case errors.Is(err, credential.ErrNotOwner), errors.Is(err, exchange.ErrNotSent), errors.Is(err, errNoOwner), errors.Is(err, errMoved):
		return again
	case errors.Is(err, exchange.ErrLost):
		if rep == twice {
			return again
		}
		return unknown
	case rep == twice && (errors.Is(err, credential.ErrNoQuorum) || errors.Is(err, credential.ErrUnknownOutcome)):
		return failed
	}
	return final
}

var (
	errNoOwner = errors.New("the shard has no owner that this node knows of")
	// errReach is the cause of a context that ends because a replica is to be asked.
	errReach = errors.New("the owner did not answer in time")
)

// unreached wraps why the owner could not be asked: the request was not
// carried out, as far as that matters.
type unreached struct{ cause error }

// Error describes the condition in one line.
func (u *unreached) Error() string { return "owner not reached: " + u.cause.Error() }

// Unwrap returns the cause.
func (u *unreached) Unwrap() error { return u.cause }

// request is one request on its way to the owner.
type request[T any] struct {
	shard  int
	repeat repeat
	// impatient: return as soon as the owner turns out not to be within reach.
	impatient bool
	local     func(ctx context.Context) (T, error)
	remote    func(ctx context.Context, node string) (T, error)
}

// ask brings a request to the owner, and again where that is right, until there
// is an answer or ctx ends. An error *unreached says that there was none.
func ask[T any](ctx context.Context, r *Router, q *request[T]) (v T, err error) {
	s := search{r: r, shard: q.shard}
	failures, detours, tries := 0, 0, 0
	for {
		at := s.next()
		if s.anew { // a new owner is not made to wait for the one before
			tries, detours = 0, 0
		}
		if at.node != "" {
			tries++
		}
		v, err = try(ctx, &s, q, at)
		if err == nil {
			return v, nil
		}
		if context.Cause(ctx) == errReach {
			return v, &unreached{errReach} // whatever the owner says to being given up
		}
		next := judge(err, q.repeat)
		if next == failed {
			failures++
		}
		switch {
		case next == unknown:
			r.counters.Unknown.Add(1)
			return v, &unreached{&credential.Unavailable{Err: credential.ErrUnknownOutcome, Reason: "the connection to the owner broke, or its answer took too long", RetryAfter: time.Second}}
		case next == final, failures > maxFailed:
			return v, err
		case ctx.Err() != nil:
			return v, &unreached{err}
		}
		better := false
		if n, ok := errors.AsType[*rpc.NotOwner](err); ok {
			better = s.told(at, n)
		} else if next == again && at.node != "" {
			better = s.failed(at)
		}
		wait := backoff(tries, rand.Float64())
		if at.node == "" {
			wait = ownerLook/2 + rand.N(ownerLook/2)
		}
		switch {
		case better && detours < maxDetours:
			detours++
		case q.impatient && next == again:
			return v, &unreached{err}
		case !sleep(ctx, wait):
			return v, &unreached{err}
		}
		r.counters.Retried.Add(1)
	}
}

// try asks one node, once.
func try[T any](ctx context.Context, s *search, q *request[T], at target) (v T, err error) {
	switch at.node {
	case "":
		return v, errNoOwner
	case s.r.cfg.Self:
		return q.local(ctx)
	}
	s.r.counters.Forwarded.Add(1)
	if q.repeat == once {
		return q.remote(ctx, at.node)
	}
	asking, cancel := s.whileOwner(ctx, at)
	defer cancel()
	if v, err = q.remote(asking, at.node); err != nil && context.Cause(asking) == errMoved {
		err = errMoved
	}
	return v, err
}

// sleep waits; false: ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// within is ctx, ended with errReach after the time in which the owner is to
// answer. It has the deadline of ctx: that is what the owner is told.
func (r *Router) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(r.cfg.Reach, func() { cancel(errReach) })
	return ctx, func() {
		t.Stop()
		cancel(nil)
	}
}

// bounded is ctx with a deadline.
func (r *Router) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, r.cfg.Wait)
}

// told is the error as callers are told it: without addresses and names of
// nodes, for it may leave the cluster.
func (r *Router) told(err error) error {
	u, ok := errors.AsType[*unreached](err)
	if !ok {
		return err
	}
	r.counters.Unreached.Add(1)
	if errors.Is(u.cause, credential.ErrUnknownOutcome) {
		return u.cause
	}
	return &credential.Unavailable{Err: credential.ErrNoQuorum, Reason: "the owner was not reached in time", RetryAfter: time.Second}
}

func isUnreached(err error) bool {
	_, ok := errors.AsType[*unreached](err)
	return ok
}
