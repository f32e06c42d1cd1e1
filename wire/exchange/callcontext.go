package exchange

import (
	"context"
	"sync"
	"time"
)

// callContext is the context of one request at the server. Its timer is started
// only when somebody waits for its end, which requests that are answered from
// memory never do. It is safe for concurrent use.
type callContext struct {
	context.Context // of the session
	deadline        time.Time

	mu     sync.Mutex
	timed  context.Context // nil until somebody waits
	cancel context.CancelFunc
	over   bool
}

func newCallContext(parent context.Context, deadline time.Time) *callContext {
	return &callContext{Context: parent, deadline: deadline}
}

// arm starts the timer, once, and returns the context that has it.
func (c *callContext) arm() context.Context {
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

// end cancels the request, or releases its timer when it is done.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}

// Done is closed when the request's time is up, or it is cancelled.
func (c *callContext) Done() <-chan struct{} { return c.arm().Done() }

// Err says why Done is closed.
func (c *callContext) Err() error { return c.arm().Err() }

// Deadline is when the request's time is up.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Value asks the context with the timer, where there is one: by that the
// contexts derived from this one find their parent, and need no goroutine to
// watch it.
func (c *callContext) Value(key any) any {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.Context.Value(key)
}
