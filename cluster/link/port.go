package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Port is the node's end of all connections between nodes. All methods are safe
// for concurrent use.
type Port struct {
	cfg Config
	id  *Identity

	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	done      sync.WaitGroup
	strangers *quiet // what is logged of those who are not proven
	peers     *quiet // and of those who are

	opened   time.Time
	slots    chan struct{} // one for each handshake
	large    chan struct{} // one for each large raft message in memory
	accepted atomic.Int64  // accepted connections
	conns    crowd         // but those of transports
	rpc      *rpcListener

	mu         sync.Mutex
	transports map[uint16]*transport
	closed     bool
}

// largeAtOnce bounds the raft messages of more than largeMessage bytes that are
// in memory at once, whoever sends them.
const largeAtOnce = 4

// Open starts to accept connections. A raft stream is closed until
// [Port.Transport] opens its group, an RPC connection waits for a moment until
// somebody accepts it from [Port.RPC].
func Open(cfg Config) (*Port, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	p := &Port{
		cfg: cfg, id: cfg.Identity, opened: time.Now(),
		strangers: newQuiet(cfg.Logger), peers: newQuiet(cfg.Logger),
		slots: make(chan struct{}, cfg.Limits.Handshakes), large: make(chan struct{}, largeAtOnce),
		rpc:        &rpcListener{addr: cfg.Listener.Addr(), queue: make(chan *conn, rpcQueue), closed: make(chan struct{})},
		transports: map[uint16]*transport{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.done.Go(p.accept)
	p.done.Go(p.reload)
	return p, nil
}

// Name returns the node's name.
func (p *Port) Name() string { return p.id.Name() }

// Close ends everything that goes through the port, of others and of our own:
// connections, transports, the listener. It waits until all is gone, but not
// longer than ctx.
func (p *Port) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	open := make([]*transport, 0, len(p.transports))
	for _, t := range p.transports {
		open = append(open, t)
	}
	p.mu.Unlock()

	p.cancel()
	err := p.cfg.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	_ = p.rpc.Close()
	gone := make(chan struct{})
	go func() {
		for _, t := range open {
			_ = t.Close()
		}
		p.conns.closeAll()
		p.done.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return err
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("link: connections are still closing: %w", ctx.Err()))
	}
}

// awaitBeat waits until the port's heartbeats go out, all at one moment; false:
// ctx ended first. Each group has a timer for each other node, and a process
// that wakes for each of them spends more on waking than on all they send.
func (p *Port) awaitBeat(ctx context.Context) bool {
	t := time.NewTimer(p.cfg.Timing.Beat - time.Since(p.opened)%p.cfg.Timing.Beat)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reload lets the identity follow its source.
func (p *Port) reload() {
	tick := time.NewTicker(p.cfg.Timing.Reload)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.id.refresh()
		case <-p.ctx.Done():
			return
		}
	}
}
