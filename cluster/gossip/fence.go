package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// maxStreams is how many connections of others are served at once.
	maxStreams = 64
	// maxStreamBytes is how much is read from a connection: what memberlist knows
	// of a member takes some 300 bytes. memberlist would take 20 MB from anybody
	// before it asks for a key.
	maxStreamBytes = 4 << 20
)

var (
	errFenced  = errors.New("gossip has ended")
	errTooMany = fmt.Errorf("%d are open", maxStreams)
	errTooLong = errors.New("more than a peer has to say")
)

// fence stands between memberlist and the network. memberlist does not wait for
// its own goroutines when it shuts down; once the fence is closed, none of them
// gets anything out or in. It also bounds what others can make memberlist do.
type fence struct {
	memberlist.Transport
	// dial connects; it ends with the context.
	dial    func(ctx context.Context, addr string, timeout time.Duration) (net.Conn, error)
	say     func(level slog.Level, text string)
	streams chan net.Conn
	ctx     context.Context // of dials; over when the fence is closed
	cancel  context.CancelFunc
	once    sync.Once
	down    chan struct{} // the transport below has ended
	ended   chan struct{}

	mu     sync.Mutex
	open   map[*stream]struct{}
	served int // of open, those that others have opened
	closed bool
}

var _ memberlist.NodeAwareTransport = (*fence)(nil)

// newFence puts a fence in front of a transport, which it owns from now on.
func newFence(t memberlist.Transport, dial func(context.Context, string, time.Duration) (net.Conn, error), say func(slog.Level, string)) *fence {
	f := &fence{
		Transport: t, dial: dial, say: say,
		streams: make(chan net.Conn),
		down:    make(chan struct{}),
		ended:   make(chan struct{}),
		open:    map[*stream]struct{}{},
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	go f.serve()
	return f
}

// overGiven returns a fence in front of a transport that was handed in.
func overGiven(t memberlist.Transport, say func(slog.Level, string)) *fence {
	return newFence(t, func(_ context.Context, addr string, timeout time.Duration) (net.Conn, error) {
		return t.DialTimeout(addr, timeout)
	}, say)
}

// overNetwork listens with UDP and TCP, with a fence in front.
func overNetwork(bind netip.AddrPort, logger *log.Logger, say func(slog.Level, string)) (*fence, error) {
	var t *memberlist.NetTransport
	var err error
	// A free port of TCP may be taken for UDP.
	for range 10 {
		t, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{bind.Addr().String()},
			BindPort:  int(bind.Port()),
			Logger:    logger,
		})
		if err == nil || bind.Port() != 0 {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	return newFence(t, func(ctx context.Context, addr string, timeout time.Duration) (net.Conn, error) {
		d := net.Dialer{Timeout: timeout}
		if !bind.Addr().IsUnspecified() { // as packets do: a firewall sees one address of the node
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(bind.Addr(), 0))
		}
		return d.DialContext(ctx, "tcp", addr)
	}, say), nil
}

// serve hands on connections of others.
func (f *fence) serve() {
	defer close(f.ended)
	for {
		select {
		case c := <-f.Transport.StreamCh():
			s, err := f.track(c, true)
			if err != nil {
				c.Close()
				if !errors.Is(err, errFenced) {
					f.say(slog.LevelWarn, "a connection was refused: "+err.Error())
				}
				continue
			}
			select {
			case f.streams <- s:
			case <-f.ctx.Done():
				s.Close()
			}
		case <-f.down:
			return
		}
	}
}

// track counts a connection among those that are closed with the fence.
func (f *fence) track(c net.Conn, served bool) (*stream, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, errFenced
	case served && f.served == maxStreams:
		return nil, errTooMany
	}
	s := &stream{Conn: c, f: f, served: served, left: maxStreamBytes}
	f.open[s] = struct{}{}
	if served {
		f.served++
	}
	return s, nil
}

// StreamCh returns connections that others have opened.
func (f *fence) StreamCh() <-chan net.Conn { return f.streams }

// DialTimeout connects to a node.
func (f *fence) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if err := f.passes(addr); err != nil {
		return nil, err
	}
	c, err := f.dial(f.ctx, addr, timeout)
	if err != nil {
		return nil, err
	}
	s, err := f.track(c, false)
	if err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

// DialAddressTimeout connects to a node.
func (f *fence) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return f.DialTimeout(a.Addr, timeout)
}

// WriteTo sends a packet.
func (f *fence) WriteTo(b []byte, addr string) (time.Time, error) {
	if err := f.passes(addr); err != nil {
		return time.Time{}, err
	}
	return f.Transport.WriteTo(b, addr)
}

// WriteToAddress sends a packet.
func (f *fence) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return f.WriteTo(b, a.Addr)
}

// passes says whether something may go to an address. Addresses come from
// packets; what is no IP address would be looked up as a name.
func (f *fence) passes(addr string) error {
	if f.ctx.Err() != nil {
		return errFenced
	}
	_, err := netip.ParseAddrPort(addr)
	return err
}

// Shutdown closes the fence, all connections, and the transport. It can be
// called again.
func (f *fence) Shutdown() error {
	var err error
	f.once.Do(func() {
		f.cancel()
		f.mu.Lock()
		f.closed = true
		open := f.open
		f.open = nil
		f.mu.Unlock()
		for s := range open {
			s.Conn.Close()
		}
		// It may wait until what it has received is taken from it: connections by
		// serve, packets here, for memberlist may not have begun to.
		go f.spill()
		err = f.Transport.Shutdown()
		close(f.down)
		<-f.ended
	})
	return err
}

// spill throws packets away until the transport has ended.
func (f *fence) spill() {
	for {
		select {
		case <-f.Transport.PacketCh():
		case <-f.down:
			return
		}
	}
}

// stream is a connection that gives only so much.
type stream struct {
	net.Conn
	f      *fence
	served bool
	left   int // bytes that may still be read; of the one goroutine that reads
}

// Read reads as long as the peer has not sent too much.
func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 && len(p) > 0 {
		return 0, errTooLong
	}
	n, err := s.Conn.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

// Close closes the connection. It can be called again.
func (s *stream) Close() error {
	s.f.mu.Lock()
	if _, ok := s.f.open[s]; ok {
		delete(s.f.open, s)
		if s.served {
			s.f.served--
		}
	}
	s.f.mu.Unlock()
	return s.Conn.Close()
}
