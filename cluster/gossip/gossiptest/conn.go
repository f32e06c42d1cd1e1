package gossiptest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// chunk is what one write has sent.
type chunk struct {
	b  []byte
	at time.Time // when it arrives
}

// pipe is one direction of a connection. It has one reader and any number of
// writers, and never makes a writer wait.
type pipe struct {
	news chan struct{} // rings when anything below has changed; room for one

	mu       sync.Mutex
	chunks   []chunk
	lost     bool // something was: nothing arrives any more
	ended    bool // the writer has closed
	closed   bool // the reader has
	deadline time.Time
}

func newPipe() *pipe { return &pipe{news: make(chan struct{}, 1)} }

// change applies f and tells the reader.
func (p *pipe) change(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// read reads what has arrived, or says when to look again; zero: when news
// rings.
func (p *pipe) read(b []byte) (n int, again time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch {
	case p.closed:
		return 0, again, net.ErrClosed
	case !p.deadline.IsZero() && !now.Before(p.deadline):
		return 0, again, os.ErrDeadlineExceeded
	case len(p.chunks) == 0:
		if p.ended && !p.lost {
			return 0, again, io.EOF
		}
		return 0, p.deadline, nil
	case now.Before(p.chunks[0].at):
		again = p.chunks[0].at
		if !p.deadline.IsZero() && p.deadline.Before(again) {
			again = p.deadline
		}
		return 0, again, nil
	}
	n = copy(b, p.chunks[0].b)
	if p.chunks[0].b = p.chunks[0].b[n:]; len(p.chunks[0].b) == 0 {
		p.chunks = p.chunks[1:]
	}
	return n, again, nil
}

// conn is one end of a connection.
type conn struct {
	t             *Transport
	local, remote string
	in, out       *pipe
	once          sync.Once
}

// Read reads what has arrived, and waits for it.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, again, err := c.in.read(b)
		if n > 0 || err != nil {
			return n, err
		}
		var timer *time.Timer
		var due <-chan time.Time
		if !again.IsZero() {
			timer = time.NewTimer(time.Until(again))
			due = timer.C
		}
		select {
		case <-c.in.news:
		case <-due:
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// Write sends at once.
func (c *conn) Write(b []byte) (int, error) {
	passes := c.t.net.passes(c.local, c.remote)
	var err error
	c.out.change(func() {
		switch {
		case c.out.ended:
			err = net.ErrClosed
		case !passes:
			c.out.lost = true
		case c.out.closed:
			err = io.ErrClosedPipe
		case !c.out.lost && len(b) > 0:
			c.out.chunks = append(c.out.chunks, chunk{append([]byte(nil), b...), time.Now().Add(Latency)})
		}
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close ends both directions. The other end learns of it if it passes.
func (c *conn) Close() error {
	c.once.Do(func() {
		passes := c.t.net.passes(c.local, c.remote)
		c.out.change(func() { c.out.ended, c.out.lost = true, c.out.lost || !passes })
		c.in.change(func() { c.in.closed = true })
		c.t.mu.Lock()
		delete(c.t.conns, c)
		c.t.mu.Unlock()
	})
	return nil
}

// LocalAddr returns this end's address.
func (c *conn) LocalAddr() net.Addr { return address(c.local) }

// RemoteAddr returns the other end's address.
func (c *conn) RemoteAddr() net.Addr { return address(c.remote) }

// SetDeadline bounds reads. Writes do not wait.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline bounds reads, also one that waits already.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.deadline = t })
	return nil
}

// SetWriteDeadline does nothing: writes do not wait.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
