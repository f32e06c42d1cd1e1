package node

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// visitors are the connections of the API. The server of net/http drops a
// request without an answer whose header it has read after its Shutdown has
// begun, and closes idle connections while their clients may be sending. So
// Shutdown comes only when no answer is owed, and idle connections were given
// the time to be told, with one more answer, that they end. Methods may be
// called concurrently.
type visitors struct {
	mu    sync.Mutex
	conns map[net.Conn]visitor
}

// visitor is one connection.
type visitor struct {
	state http.ConnState // new, active or idle
	since time.Time
}

const (
	// freshFor is how long a new connection may take to send its request. Some
	// clients keep one in reserve, on which nothing comes.
	freshFor = time.Second
	// visitorsTick is how often it is looked whether all have gone.
	visitorsTick = 5 * time.Millisecond
)

func newVisitors() *visitors { return &visitors{conns: make(map[net.Conn]visitor)} }

// note is an http.Server's ConnState.
func (v *visitors) note(c net.Conn, s http.ConnState) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch s {
	case http.StateNew, http.StateActive, http.StateIdle:
		v.conns[c] = visitor{s, time.Now()}
	default:
		delete(v.conns, c)
	}
}

// gone reports whether no answer is owed and, where idle connections count, too,
// no connection is left.
func (v *visitors) gone(idle bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.conns {
		if c.state == http.StateActive || c.state == http.StateIdle && idle || c.state == http.StateNew && time.Since(c.since) < freshFor {
			return false
		}
	}
	return true
}

// wait returns when no answer is owed and all idle connections have ended, for
// which it waits no longer than linger; or when ctx ends.
func (v *visitors) wait(ctx context.Context, linger time.Duration) {
	end := time.Now().Add(linger)
	t := time.NewTicker(visitorsTick)
	defer t.Stop()
	for !v.gone(time.Now().Before(end)) {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
