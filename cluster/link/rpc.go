package link

import (
	"context"
	"net"
	"sync"
)

// rpcQueue is how many RPC connections wait until they are accepted.
const rpcQueue = 64

// rpcListener gives out RPC connections whose peers are proven.
type rpcListener struct {
	addr   net.Addr
	queue  chan *conn
	once   sync.Once
	closed chan struct{}
}

// RPC returns the listener of RPC connections, the same at every call. [PeerOf]
// tells whose a connection is. Closing it refuses further ones and leaves those
// that were accepted alone.
func (p *Port) RPC() net.Listener { return p.rpc }

// Accept returns the next connection, or net.ErrClosed.
func (l *rpcListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close refuses further connections, and those that nobody has accepted.
func (l *rpcListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.drain()
	return nil
}

func (l *rpcListener) drain() {
	for {
		select {
		case c := <-l.queue:
			_ = c.Close()
		default:
			return
		}
	}
}

// recheck closes what was put into the queue while the listener was closed.
func (l *rpcListener) recheck() error {
	select {
	case <-l.closed:
		l.drain()
		return ErrClosed
	default:
		return nil
	}
}

// Addr returns the port's address.
func (l *rpcListener) Addr() net.Addr { return l.addr }

// DialRPC connects to a node for RPC. The connection is proven on this side; a
// node that does not trust us says so at the first read. It ends with the port.
func (p *Port) DialRPC(ctx context.Context, node string) (net.Conn, error) {
	c, err := p.dial(ctx, node, ProtocolRPC)
	if err != nil {
		return nil, err
	}
	return c, nil
}
