package link

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a connection whose other end is proven.
type conn struct {
	*tls.Conn
	raw      net.Conn
	peer     Peer
	accepted bool
	last     atomic.Int64 // when a raft message came last, in Unix nanoseconds

	home    atomic.Pointer[crowd]
	closed  atomic.Bool
	release func() // called once, when it is closed
}

// Peer tells who is at the other end.
func (c *conn) Peer() Peer { return c.peer }

// Close ends the connection at once. It does not say goodbye in TLS, which could
// block for as long as the other end does not read; every protocol here knows
// by itself where its messages end.
func (c *conn) Close() error {
	err := c.raw.Close()
	if c.closed.CompareAndSwap(false, true) {
		if h := c.home.Load(); h != nil {
			h.leave(c)
		}
		if c.release != nil {
			c.release()
		}
	}
	return err
}

func (c *conn) touch() { c.last.Store(time.Now().UnixNano()) }

// crowd is the open connections of one owner, so that he can close all of them.
// It is safe for concurrent use.
type crowd struct {
	mu     sync.Mutex
	closed bool
	in     map[*conn]struct{}
}

// enter takes a connection in, from another crowd if it is in one, unless this
// one is closed.
func (w *crowd) enter(c *conn) bool {
	if old := c.home.Swap(w); old != nil {
		old.leave(c)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	if w.in == nil {
		w.in = map[*conn]struct{}{}
	}
	w.in[c] = struct{}{}
	return true
}

func (w *crowd) leave(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.in, c)
}

// of returns the accepted connections of a peer.
func (w *crowd) of(p Peer) []*conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*conn
	for c := range w.in {
		if c.accepted && c.peer == p {
			all = append(all, c)
		}
	}
	return all
}

// closeAll closes all connections, and the crowd to further ones.
func (w *crowd) closeAll() {
	w.mu.Lock()
	all := w.in
	w.in, w.closed = nil, true
	w.mu.Unlock()
	for c := range all {
		_ = c.Close()
	}
}
