package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// ErrClosed says that the node does not gossip any more.
var ErrClosed = errors.New("gossip: closed")

// Gossip is a node that gossips. It must be closed.
type Gossip struct {
	conf    Config
	list    *memberlist.Memberlist
	ring    *memberlist.Keyring // nil: plaintext
	news    *memberlist.TransmitLimitedQueue
	book    *book
	herald  *herald
	meta    atomic.Pointer[[]byte] // this node's, encoded
	changed chan struct{}          // to the caller
	heard   chan struct{}          // to watch: the book has changed
	retell  chan struct{}          // to watch: this node's metadata has
	reloads chan chan<- error

	ctx    context.Context // over when Close or Leave begins
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines that end with ctx
	quiet  chan struct{}  // closed when nothing more happens, for watch
	ended  chan struct{}  // closed when everything has

	mu      sync.Mutex
	told    Meta // this node's
	closing bool
	leaving chan struct{} // not nil: Leave was called; closed when it is done
	left    error         // how it was done
}

// Start makes the node listen, and looks for the others of Config.Join in the
// background until it has found one; it then keeps looking for those that are
// missing. It returns as soon as the node listens.
func Start(conf Config) (*Gossip, error) {
	conf, err := conf.withDefaults()
	if err != nil {
		return nil, err
	}
	g := &Gossip{
		conf:    conf,
		book:    newBook(conf.Name),
		herald:  newHerald(conf.Logger),
		changed: make(chan struct{}, 1),
		heard:   make(chan struct{}, 1),
		retell:  make(chan struct{}, 1),
		reloads: make(chan chan<- error),
		quiet:   make(chan struct{}),
		ended:   make(chan struct{}),
		told:    conf.Meta,
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.news = &memberlist.TransmitLimitedQueue{
		NumNodes:       func() int { return g.book.count(Alive) + 1 },
		RetransmitMult: 4,
	}
	meta, err := conf.Meta.encode()
	if err != nil {
		return nil, err
	}
	g.meta.Store(&meta)
	if conf.Keyring != nil {
		keys, err := readKeys(conf.Keyring)
		if err != nil {
			return nil, err
		}
		if g.ring, err = memberlist.NewKeyring(keys, keys[0]); err != nil {
			return nil, fmt.Errorf("gossip: %w", err)
		}
	}
	if err := g.listen(); err != nil {
		return nil, err
	}
	g.work.Go(func() { g.join(g.ctx) })
	if g.ring != nil {
		g.work.Go(func() { g.turnKeys(g.ctx) })
	}
	go g.watch()
	return g, nil
}

// listen starts memberlist.
func (g *Gossip) listen() error {
	t, logger := g.conf.Timing, log.New(g.herald, "", 0)
	c := memberlist.DefaultLANConfig()
	c.Name, c.Logger, c.Keyring = g.conf.Name, logger, g.ring
	c.Alive, c.Events, c.Conflict, c.Merge, c.Delegate = ear{g}, ear{g}, ear{g}, ear{g}, ear{g}
	c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult = t.Probe, t.ProbeTimeout, t.SuspicionMult
	// A suspicion that nobody else confirms lasts this much longer. In small
	// clusters nobody may be left who could.
	c.SuspicionMaxTimeoutMult = 3
	c.GossipInterval, c.PushPullInterval, c.TCPTimeout = t.Gossip, t.Sync, t.Stream
	// Packets are small; unpacking what strangers have packed is a risk for
	// nothing, but cannot be switched off.
	c.EnableCompression = false
	// A dead node may come back at another address as soon as it is known dead.
	c.DeadNodeReclaimTime = time.Nanosecond
	c.AdvertiseAddr, c.AdvertisePort = "", 0
	if g.conf.Advertise != "" {
		at, err := lookUp(g.ctx, g.conf.Advertise)
		if err != nil {
			return fmt.Errorf("gossip: the address to advertise: %w", err)
		}
		if at[0].Addr().IsUnspecified() || at[0].Port() == 0 {
			return fmt.Errorf("gossip: nobody can reach this node at %s; write an address of this machine", at[0])
		}
		c.AdvertiseAddr, c.AdvertisePort = at[0].Addr().String(), int(at[0].Port())
	}
	var f *fence
	if g.conf.Transport != nil {
		f = overGiven(g.conf.Transport, g.herald.say)
	} else {
		bind, err := lookUp(g.ctx, g.conf.Bind)
		if err != nil {
			return fmt.Errorf("gossip: the address to bind: %w", err)
		}
		if bind[0].Addr() == netip.IPv6Unspecified() && c.AdvertiseAddr == "" {
			return errors.New("gossip: bound to all addresses; say which one to advertise")
		}
		if f, err = overNetwork(bind[0], logger, g.herald.say); err != nil {
			return err
		}
	}
	c.Transport = f
	list, err := memberlist.Create(c)
	if err != nil {
		_ = f.Shutdown() // memberlist does not always
		return fmt.Errorf("gossip: %w", err)
	}
	g.list = list
	return nil
}

// Members returns all members that are known, this node included, by name.
// Those that are not listed are as good as dead for longer than Timing.Forget.
func (g *Gossip) Members() []Member { return g.book.list() }

// Changed returns a channel that gets something when Members returns something
// else than when it was last received from. It is for one reader.
func (g *Gossip) Changed() <-chan struct{} { return g.changed }

// SetMeta changes what others learn of this node, within about a second. It
// fails if the metadata is too long or of another Boot.
func (g *Gossip) SetMeta(m Meta) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.Boot != g.told.Boot {
		return errors.New("gossip: a process has one Boot")
	}
	g.told = m
	g.meta.Store(&b)
	if g.book.change(g.conf.Name, time.Now(), func(p *page) { p.Meta = m }) {
		g.knock()
	}
	ring(g.retell)
	return nil
}

// knock has watch look at the book.
func (g *Gossip) knock() { ring(g.heard) }

// ring puts something into a channel with room for one, if nothing is in it.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch tells the caller and the log what has changed, forgets who is gone for
// long, and has memberlist tell others of new metadata.
func (g *Gossip) watch() {
	defer close(g.ended)
	known := map[string]Member{}
	sweep := time.NewTicker(max(g.conf.Timing.Forget/8, time.Millisecond))
	defer sweep.Stop()
	for {
		select {
		case l := <-g.herald.lines:
			g.herald.log(l)
		case <-g.heard:
			g.book.forget(time.Now(), g.conf.Timing.Forget, maxGone)
			known = g.report(known)
			ring(g.changed)
		case <-sweep.C:
			if g.book.forget(time.Now(), g.conf.Timing.Forget, maxGone) {
				g.knock()
			}
		case <-g.retell:
			if g.ctx.Err() == nil { // memberlist panics some time after leaving
				// Its error is that the news is not sent yet, only queued.
				_ = g.list.UpdateNode(time.Nanosecond)
			}
		case <-g.quiet:
			g.herald.drain()
			return
		}
	}
}

// report logs who has come and gone since the last call.
func (g *Gossip) report(known map[string]Member) map[string]Member {
	now := map[string]Member{}
	for _, m := range g.book.list() {
		now[m.Name] = m
		was := known[m.Name]
		if m.Name == g.conf.Name || m.State == was.State && m.Meta.Boot == was.Meta.Boot {
			continue
		}
		level := slog.LevelInfo
		if m.State == Dead {
			level = slog.LevelWarn
		}
		g.conf.Logger.Log(context.Background(), level, "gossip: node is "+m.State.String(), "node", m.Name, "addr", m.Addr)
	}
	return now
}
