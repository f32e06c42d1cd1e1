package actors

import (
	"context"
	"sync"
)

// tracker counts jobs, and lets a stopping system wait for the last one. The
// zero value is ready.
type tracker struct {
	mu     sync.Mutex
	n      int
	closed bool
	empty  chan struct{} // made by drain
}

// add counts one more job; false once drain was called.
func (t *tracker) add() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.n++
	return true
}

func (t *tracker) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.n == 0 && t.empty != nil {
		close(t.empty)
		t.empty = nil
	}
}

func (t *tracker) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// drain refuses new jobs and waits until none is left or ctx ends.
func (t *tracker) drain(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	if t.n == 0 {
		t.mu.Unlock()
		return nil
	}
	t.empty = make(chan struct{})
	empty := t.empty
	t.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
