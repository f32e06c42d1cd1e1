package httpapi

import (
	"context"
	"sync"
	"time"
)

// requestContext is the context of one request: it carries the request's id
// and ends with the request or at its deadline. The deadline's timer is started
// only when somebody waits for the end, which the many requests that are
// answered at once never do. Safe for concurrent use.
type requestContext struct {
	context.Context // of the connection
	id              string
	deadline        time.Time

	mu     sync.Mutex
	timed  context.Context // nil until somebody waits
	cancel context.CancelFunc
	over   bool // the request is done
}

type requestIDKey struct{}

// arm starts the timer, once, and returns the context that has it.
func (c *requestContext) arm() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.over {
			c.cancel()
		}
	}
	return c.timed
}

// end releases the timer; the request is done.
func (c *requestContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}

// Done is closed when the request is done, its client has gone, or its time is up.
func (c *requestContext) Done() <-chan struct{} { return c.arm().Done() }

// Err says why Done is closed.
func (c *requestContext) Err() error { return c.arm().Err() }

// Deadline is when the request's time is up, or its connection's, if that is sooner.
func (c *requestContext) Deadline() (time.Time, bool) {
	if d, ok := c.Context.Deadline(); ok && d.Before(c.deadline) {
		return d, true
	}
	return c.deadline, true
}

// Value answers the key of the request's id. For the rest it asks the context
// with the timer, where there is one: by that the contexts that are derived
// from this one find their parent and need no goroutine to watch it.
func (c *requestContext) Value(key any) any {
	if _, ok := key.(requestIDKey); ok {
		return c.id
	}
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.Context.Value(key)
}
