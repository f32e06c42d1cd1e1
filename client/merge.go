package client

import (
	"context"
	"sync"
	"sync/atomic"
)

// merger lets concurrent callers share one call. The first caller makes it, in
// its own goroutine and with its own context; the others wait. If the first
// one's context ends, a waiting one takes over.
type merger[T any] struct {
	mu sync.Mutex
	// current is changed under mu. It is an atomic pointer because fmt never
	// looks behind one: a flight can hold a token.
	current atomic.Pointer[flight[T]]
}

type flight[T any] struct {
	done chan struct{} // closed when the fields below are set
	val  T
	err  error
	// abandoned: the caller went away; its result says nothing to the others.
	abandoned bool
}

func (m *merger[T]) do(ctx context.Context, fn func(context.Context) (T, error)) (T, error) {
	for {
		m.mu.Lock()
		f := m.current.Load()
		if f == nil {
			f = &flight[T]{done: make(chan struct{}), abandoned: true}
			m.current.Store(f)
			m.mu.Unlock()
			return m.lead(ctx, f, fn)
		}
		m.mu.Unlock()
		select {
		case <-f.done:
			if !f.abandoned {
				return f.val, f.err
			}
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}

// lead makes the call. Should fn panic, the others find the flight abandoned.
func (m *merger[T]) lead(ctx context.Context, f *flight[T], fn func(context.Context) (T, error)) (T, error) {
	defer func() {
		m.mu.Lock()
		m.current.Store(nil)
		m.mu.Unlock()
		close(f.done)
	}()
	f.val, f.err = fn(ctx)
	f.abandoned = f.err != nil && ctx.Err() != nil
	return f.val, f.err
}
