package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/grantd/grantd/cluster/gossip/gossiptest"
)

// Network is what lies between the machines of a cluster: connections like
// those of TCP, and what carries gossip. Ways may be cut, each direction by
// itself, and hosts may be held, when nothing gets in or out. Like TCP a
// connection waits and goes on when the way is open again: what was sent
// arrives then, however late. Packets and connections of gossip are lost.
//
// What it does not simulate: a writer never waits for its reader, and nothing
// is ever reordered or lost within a connection.
type Network struct {
	gossip *gossiptest.Network
	// latency is how long it takes from one host to another; it is called for
	// each write.
	latency func(from, to string) time.Duration

	mu       sync.Mutex
	changed  chan struct{} // closed when anything below changes
	cut      map[[2]string]bool
	held     map[string]time.Time
	stations map[string]*station // by host; the newest
	dark     map[string]bool     // without power: not even a refusal comes
	orphans  map[string][]*pipe  // whose writers a silent crash has ended
	troubles []Span
	since    time.Time // when the first of the cuts was made
}

// newNetwork returns a network on which everything passes.
func newNetwork(latency func(from, to string) time.Duration) *Network {
	n := &Network{
		latency: latency, changed: make(chan struct{}), cut: make(map[[2]string]bool), held: make(map[string]time.Time),
		stations: make(map[string]*station), dark: make(map[string]bool), orphans: make(map[string][]*pipe),
	}
	n.gossip = gossiptest.NewNetwork(func(from, to string) bool { return n.passes(hostOf(from), hostOf(to)) })
	return n
}

func hostOf(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	return host
}

// passes reports whether something gets from one host to another now.
func (n *Network) passes(from, to string) bool {
	open, _ := n.way(from, to)
	return open
}

// way reports whether the way from one host to another is open, and has a
// channel that is closed when that may have changed. Where hosts are held only,
// it opens by itself.
func (n *Network) way(from, to string) (open bool, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	return !n.cut[[2]string{from, to}] && !n.held[from].After(now) && !n.held[to].After(now), n.changed
}

// change applies fn and wakes all who wait for a way.
func (n *Network) change(fn func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn()
	close(n.changed)
	n.changed = make(chan struct{})
}

// Cut cuts the way from one host to another.
func (n *Network) Cut(from, to string) {
	n.change(func() {
		if len(n.cut) == 0 {
			n.since = time.Now()
		}
		n.cut[[2]string{from, to}] = true
	})
}

// Mend opens all ways.
func (n *Network) Mend() {
	n.change(func() {
		if len(n.cut) > 0 {
			n.troubles = append(n.troubles, Span{n.since, time.Now()})
		}
		clear(n.cut)
	})
}

// Troubles are when some way was cut, or some host held.
func (n *Network) Troubles() []Span {
	n.Mend()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.troubles
}

// Hold lets nothing in or out of a host until then.
func (n *Network) Hold(host string, until time.Time) {
	n.change(func() {
		n.held[host] = until
		n.troubles = append(n.troubles, Span{time.Now(), until})
	})
	time.AfterFunc(time.Until(until), func() { n.change(func() {}) })
}

// station is the network as one process has it: it ends with the process. It is
// the process's listener.
type station struct {
	net   *Network
	host  string
	addr  string
	calls chan *conn
	down  chan struct{}
	gone  context.Context
	end   context.CancelFunc

	mu    sync.Mutex
	conns map[*conn]bool // open ones; nil: it has ended
}

// station connects a process to the network, in place of the one before. Who
// is still connected to that one learns that it is gone.
func (n *Network) station(host string) *station {
	s := &station{net: n, host: host, addr: net.JoinHostPort(host, "7947"), calls: make(chan *conn, 64), down: make(chan struct{}), conns: make(map[*conn]bool)}
	s.gone, s.end = context.WithCancel(context.Background())
	var orphans []*pipe
	n.change(func() {
		n.stations[host] = s
		delete(n.dark, host)
		orphans = n.orphans[host]
		delete(n.orphans, host)
	})
	for _, p := range orphans {
		p.send(nil, errReset, 0)
	}
	return s
}

var (
	errReset   = errors.New("connection reset by peer")
	errRefused = errors.New("connection refused")
)

// Accept implements net.Listener.
func (s *station) Accept() (net.Conn, error) {
	select {
	case c := <-s.calls:
		return c, nil
	case <-s.down:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (s *station) Addr() net.Addr { return netAddr(s.addr) }

// Close ends the listening; connections go on.
func (s *station) Close() error {
	s.net.change(func() {
		if s.net.stations[s.host] == s {
			delete(s.net.stations, s.host)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.down:
	default:
		close(s.down)
	}
	return nil
}

// crash ends all at once. silent: as by a power cut, so that nobody is told
// before the host is back. It does not wait.
func (s *station) crash(silent bool) {
	_ = s.Close()
	s.end()
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	var orphans []*pipe
	for c := range maps.Keys(conns) {
		c.in.close()
		c.out.cutOff()
		if silent {
			orphans = append(orphans, c.out)
		} else {
			c.out.send(nil, errReset, s.net.latency(c.host, c.peer))
		}
	}
	if silent {
		s.net.change(func() {
			if s.net.stations[s.host] == nil {
				s.net.dark[s.host] = true
			}
			s.net.orphans[s.host] = append(s.net.orphans[s.host], orphans...)
		})
	}
}

// Dial connects to a station. Where the way is not open it waits, as TCP does.
func (s *station) Dial(ctx context.Context, addr string) (net.Conn, error) {
	failed := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "sim", Addr: netAddr(addr), Err: err}
	}
	peer := hostOf(addr)
	if !wait(ctx, s.gone, s.net.latency(s.host, peer)+s.net.latency(peer, s.host)) {
		return failed(errors.Join(ctx.Err(), s.gone.Err()))
	}
	for {
		there, changed := s.net.way(s.host, peer)
		back := s.net.passes(peer, s.host)
		s.net.mu.Lock()
		to, dark := s.net.stations[peer], s.net.dark[peer]
		s.net.mu.Unlock()
		if there && back && !dark {
			if c := s.connect(to, addr); c != nil {
				return c, nil
			}
			return failed(errRefused)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return failed(ctx.Err())
		case <-s.gone.Done():
			return failed(net.ErrClosed)
		}
	}
}

// connect makes a connection; nil: it is refused.
func (s *station) connect(to *station, addr string) net.Conn {
	if to == nil || to.addr != addr {
		return nil
	}
	near := &conn{station: s, host: s.host, peer: to.host}
	far := &conn{station: to, host: to.host, peer: s.host}
	there, back := newPipe(s.net, s.host, to.host), newPipe(s.net, to.host, s.host)
	near.in, near.out, far.in, far.out = back, there, there, back
	if !s.keep(near) {
		return nil
	}
	if to.keep(far) {
		select {
		case to.calls <- far:
			return near
		default:
		}
	}
	_, _ = near.Close(), far.Close()
	return nil
}

func (s *station) keep(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[c] = true
	return true
}

// wait sleeps; false: one of the contexts ended first.
func wait(a, b context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.Done():
	case <-b.Done():
	}
	return false
}

// netAddr is a net.Addr of the network.
type netAddr string

func (a netAddr) Network() string { return "sim" }
func (a netAddr) String() string  { return string(a) }

// hostName is the address of the ith machine, counted from 1.
func hostName(i int) string { return fmt.Sprintf("10.0.0.%d", i) }
