package nodetest

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/grantd/grantd/cluster/gossip/gossiptest"
)

// listener is an end of connections on the network that gossip has.
type listener struct {
	*gossiptest.Transport
	addr address
	once sync.Once
	done chan struct{}
}

func listen(n *gossiptest.Network, addr string) *listener {
	return &listener{Transport: n.Listen(addr), addr: address(addr), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.StreamCh():
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: the node's connections end with it.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Shutdown()
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// dialLimit bounds a dial whose context has no deadline.
const dialLimit = time.Minute

// dial connects to another node.
func (l *listener) dial(ctx context.Context, addr string) (net.Conn, error) {
	type dialled struct {
		net.Conn
		error
	}
	limit := dialLimit
	if end, ok := ctx.Deadline(); ok {
		limit = time.Until(end)
	}
	done := make(chan dialled, 1)
	go func() {
		c, err := l.DialTimeout(addr, limit)
		done <- dialled{c, err}
	}()
	select {
	case d := <-done:
		return d.Conn, d.error
	case <-ctx.Done():
		go func() {
			if d := <-done; d.error == nil {
				_ = d.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// address is a net.Addr.
type address string

// Network implements net.Addr.
func (address) Network() string { return "nodetest" }

// String implements net.Addr.
func (a address) String() string { return string(a) }
