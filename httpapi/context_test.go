package httpapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func newRequestContext(parent context.Context, d time.Duration) *requestContext {
	return &requestContext{Context: parent, id: "r1", deadline: time.Now().Add(d)}
}

func TestRequestContextEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newRequestContext(t.Context(), time.Minute)
		defer c.end()
		start := time.Now()
		if c.Err() != nil {
			t.Fatal(c.Err())
		}
		<-c.Done()
		if took := time.Since(start); took != time.Minute || !errors.Is(c.Err(), context.DeadlineExceeded) {
			t.Errorf("ended after %s with %v", took, c.Err())
		}
	})
}

func TestRequestContextEndsWithItsRequestAndItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newRequestContext(t.Context(), time.Minute)
		c.end()
		if <-c.Done(); !errors.Is(c.Err(), context.Canceled) {
			t.Errorf("after the request: %v", c.Err())
		}
		parent, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c = newRequestContext(parent, time.Minute)
		defer c.end()
		if d, _ := c.Deadline(); time.Until(d) != time.Second {
			t.Errorf("deadline in %s, the connection's is in 1s", time.Until(d))
		}
		if <-c.Done(); !errors.Is(c.Err(), context.DeadlineExceeded) {
			t.Errorf("after the connection: %v", c.Err())
		}
	})
}

// TestDerivedContextsFindTheirParent would hang the bubble, or leave a
// goroutine behind for goleak, if derived contexts had to watch from outside.
func TestDerivedContextsFindTheirParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newRequestContext(t.Context(), time.Minute)
		child, cancel := context.WithCancel(c)
		defer cancel()
		if RequestID(child) != "r1" {
			t.Errorf("id %q", RequestID(child))
		}
		c.end()
		if <-child.Done(); !errors.Is(child.Err(), context.Canceled) {
			t.Error(child.Err())
		}
	})
}
