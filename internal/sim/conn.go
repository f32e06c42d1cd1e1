package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// chunk is what one write has sent, or the end of what is sent.
type chunk struct {
	b   []byte
	end error // not nil: nothing follows
	at  time.Time
}

// pipe is one direction of a connection. It has one reader at a time and any
// number of writers.
type pipe struct {
	net      *Network
	from, to string
	news     chan struct{} // rings when anything below has changed; room for one

	mu       sync.Mutex
	chunks   []chunk
	last     time.Time // when the last of them arrives
	ended    bool      // the writer has closed, or is gone
	closed   bool      // the reader has closed
	deadline time.Time // of the reader
}

func newPipe(n *Network, from, to string) *pipe {
	return &pipe{net: n, from: from, to: to, news: make(chan struct{}, 1)}
}

func (p *pipe) ring() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// send puts something on the way, in the order of sending.
func (p *pipe) send(b []byte, end error, latency time.Duration) {
	p.mu.Lock()
	at := time.Now().Add(latency)
	if at.Before(p.last) {
		at = p.last
	}
	p.last = at
	p.chunks = append(p.chunks, chunk{append([]byte(nil), b...), end, at})
	p.mu.Unlock()
	p.ring()
}

// cutOff takes back what has not left the sender's host, whose writes fail from
// now on.
func (p *pipe) cutOff() {
	open := p.net.passes(p.from, p.to)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if !open {
		p.chunks = nil
	}
}

// write sends what a writer has.
func (p *pipe) write(b []byte) error {
	p.mu.Lock()
	ended, closed := p.ended, p.closed
	p.mu.Unlock()
	switch {
	case ended:
		return net.ErrClosed
	case closed && p.net.passes(p.from, p.to):
		return errReset
	}
	p.send(b, nil, p.net.latency(p.from, p.to))
	return nil
}

// finish closes the writer's side: the reader gets the end after all the rest.
func (p *pipe) finish() {
	p.mu.Lock()
	was := p.ended
	p.ended = true
	p.mu.Unlock()
	if !was {
		p.send(nil, io.EOF, p.net.latency(p.from, p.to))
	}
}

// close closes the reader's side.
func (p *pipe) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.ring()
}

func (p *pipe) setDeadline(t time.Time) {
	p.mu.Lock()
	p.deadline = t
	p.mu.Unlock()
	p.ring()
}

// take reads what has arrived, or says when to look again; zero: when something
// has changed.
func (p *pipe) take(b []byte, open bool) (n int, again time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch {
	case p.closed:
		return 0, again, net.ErrClosed
	case !p.deadline.IsZero() && !now.Before(p.deadline):
		return 0, again, os.ErrDeadlineExceeded
	case len(p.chunks) == 0 || !open:
		return 0, p.deadline, nil
	case now.Before(p.chunks[0].at):
		again = p.chunks[0].at
		if !p.deadline.IsZero() && p.deadline.Before(again) {
			again = p.deadline
		}
		return 0, again, nil
	}
	c := &p.chunks[0]
	if c.end != nil {
		return 0, again, c.end
	}
	n = copy(b, c.b)
	if c.b = c.b[n:]; len(c.b) == 0 {
		p.chunks[0] = chunk{}
		p.chunks = p.chunks[1:]
	}
	return n, again, nil
}

// conn is one end of a connection.
type conn struct {
	station    *station
	host, peer string
	in, out    *pipe
}

var _ net.Conn = (*conn)(nil)

// Read reads what has arrived, and waits for it.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		open, changed := c.in.net.way(c.peer, c.host)
		n, again, err := c.in.take(b, open)
		if n > 0 || err != nil {
			return n, err
		}
		if open {
			changed = nil
		}
		if again.IsZero() {
			select {
			case <-c.in.news:
			case <-changed:
			}
			continue
		}
		t := time.NewTimer(time.Until(again))
		select {
		case <-c.in.news:
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// Write sends at once.
func (c *conn) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := c.out.write(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close ends both directions.
func (c *conn) Close() error {
	c.in.close()
	c.out.finish()
	c.station.mu.Lock()
	defer c.station.mu.Unlock()
	delete(c.station.conns, c)
	return nil
}

// LocalAddr returns the address of this end's host.
func (c *conn) LocalAddr() net.Addr { return netAddr(net.JoinHostPort(c.host, "7947")) }

// RemoteAddr returns the address of the other end's host.
func (c *conn) RemoteAddr() net.Addr { return netAddr(net.JoinHostPort(c.peer, "7947")) }

// SetDeadline bounds reads. Writes do not wait.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline bounds reads, also one that waits already.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(t)
	return nil
}

// SetWriteDeadline does nothing: writes do not wait.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
