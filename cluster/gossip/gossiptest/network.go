// Package gossiptest is a network in memory for nodes that gossip: a
// memberlist.Transport for each, with cuts, in both or in one direction, and
// pauses. It uses package time only, so that it runs in a testing/synctest
// bubble, in which case it must be made there. It is for tests only.
package gossiptest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Latency is how long everything takes from one node to another.
const Latency = time.Millisecond

// Network carries packets and connections between its transports.
type Network struct {
	passes func(from, to string) bool

	mu   sync.Mutex
	ends map[string]*Transport
}

// NewNetwork returns a network that asks passes about each packet and each
// write to a connection whether it gets from one address to another; what does
// not is lost. A connection that has lost something in a direction delivers
// nothing more in it, its end included, so that its reader has to give up by
// itself. A node is cut off if nothing passes to and from it. passes is called
// by many goroutines and must not block; nil: all passes.
func NewNetwork(passes func(from, to string) bool) *Network {
	if passes == nil {
		passes = func(string, string) bool { return true }
	}
	return &Network{passes: passes, ends: map[string]*Transport{}}
}

// Listen returns a transport for a node at an IP address and a port, such as
// "10.0.0.1:7946". The address is free again after the transport's Shutdown;
// Listen panics if it is not.
func (n *Network) Listen(addr string) *Transport {
	t := &Transport{
		net: n, addr: netip.MustParseAddrPort(addr),
		packets: make(chan *memberlist.Packet, 256),
		streams: make(chan net.Conn),
		down:    make(chan struct{}),
		conns:   map[*conn]struct{}{},
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ends[addr] != nil {
		panic("gossiptest: " + addr + " is in use")
	}
	n.ends[addr] = t
	return t
}

// at returns who listens at an address, nil if nobody does.
func (n *Network) at(addr string) *Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ends[addr]
}

// address is a net.Addr of this network.
type address string

func (a address) Network() string { return "gossiptest" }
func (a address) String() string  { return string(a) }

// Transport is a node's part of the network.
type Transport struct {
	net     *Network
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	down    chan struct{}

	mu    sync.Mutex
	conns map[*conn]struct{} // open ones; nil after Shutdown
}

var _ memberlist.Transport = (*Transport)(nil)

// FinalAdvertiseAddr returns the transport's address, whatever is asked for.
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.addr.Addr().AsSlice(), int(t.addr.Port()), nil
}

// WriteTo sends a packet. It gets lost if nobody listens or takes it.
func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	if !t.net.passes(t.addr.String(), addr) {
		return now, nil
	}
	b = append([]byte(nil), b...)
	time.AfterFunc(Latency, func() {
		to := t.net.at(addr)
		if to == nil {
			return
		}
		select {
		case to.packets <- &memberlist.Packet{Buf: b, From: address(t.addr.String()), Timestamp: time.Now()}:
		default:
		}
	})
	return now, nil
}

// PacketCh returns the packets that have arrived.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh returns the connections that others have opened.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout connects to a node. Where nothing passes it takes all of the
// time, unless the transport is shut down.
func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	failed := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: address(addr), Err: err}
	}
	self := t.addr.String()
	if !t.net.passes(self, addr) || !t.net.passes(addr, self) {
		select {
		case <-timer.C:
			return failed(os.ErrDeadlineExceeded)
		case <-t.down:
			return failed(net.ErrClosed)
		}
	}
	to := t.net.at(addr)
	if to == nil {
		return failed(fmt.Errorf("connection refused"))
	}
	there, back := newPipe(), newPipe()
	near := &conn{t: t, local: self, remote: addr, in: back, out: there}
	far := &conn{t: to, local: addr, remote: self, in: there, out: back}
	if !t.keep(near) {
		return failed(net.ErrClosed)
	}
	if !to.keep(far) {
		near.Close()
		return failed(fmt.Errorf("connection refused"))
	}
	select {
	case to.streams <- far:
		return near, nil
	case <-to.down:
	case <-t.down:
	case <-timer.C:
	}
	near.Close()
	far.Close()
	return failed(os.ErrDeadlineExceeded)
}

// keep holds an open connection, and says whether there is a transport yet.
func (t *Transport) keep(c *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns == nil {
		return false
	}
	t.conns[c] = struct{}{}
	return true
}

// Shutdown frees the address and closes all connections. It can be called
// again.
func (t *Transport) Shutdown() error {
	t.net.mu.Lock()
	if t.net.ends[t.addr.String()] == t {
		delete(t.net.ends, t.addr.String())
	}
	t.net.mu.Unlock()
	t.mu.Lock()
	conns := t.conns
	t.conns = nil
	t.mu.Unlock()
	if conns != nil {
		close(t.down)
	}
	for c := range conns {
		c.Close()
	}
	return nil
}
