package oauth

import (
	"context"
	"errors"
	"time"
)

// A process may be stopped, or its machine be frozen, while a request is on its
// way. When it goes on the deadline has passed, and the answer may lie in the
// socket. Were the request ended then as any other, the end would race the
// reader, and an answer that is thrown away takes the new refresh token with it.
// So a deadline that is noticed late leaves time to read what has come.
//
// Reading late harms nobody: what may be written is bounded by the deadline
// itself (see [flight.pass]), and an outcome is stored only if the claim that it
// belongs to is still the account's.
const (
	// punctual is how late the timer of a deadline may be served on a busy
	// machine.
	punctual = 20 * time.Millisecond
	// lateness is how long the answer may take to be read when it was later.
	lateness = 500 * time.Millisecond
)

// follow returns a context that ends when the given one is given up, and at its
// deadline, or, where that is noticed late, lateness after that.
func (f *flight) follow() context.Context {
	own, cancel := context.WithCancelCause(context.WithoutCancel(f.given))
	f.cancel = cancel
	unfollow := context.AfterFunc(f.given, func() {
		if f.deadline.IsZero() || !errors.Is(f.given.Err(), context.DeadlineExceeded) {
			cancel(context.Cause(f.given))
		}
	})
	expiry := func() bool { return true }
	if !f.deadline.IsZero() {
		expiry = time.AfterFunc(time.Until(f.deadline), func() { f.expire(own) }).Stop
	}
	f.end = func() {
		unfollow()
		expiry()
		cancel(nil)
	}
	return own
}

// expire ends the flight, whose deadline has passed.
func (f *flight) expire(own context.Context) {
	if time.Since(f.deadline) > punctual {
		last := time.NewTimer(lateness)
		defer last.Stop()
		select {
		case <-last.C:
		case <-own.Done(): // the answer was read
		}
	}
	f.cancel(context.DeadlineExceeded)
}
