package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a Placement is made of.
type Config struct {
	// Self is this node's record as it should be; its State and JoinedAt are not
	// used.
	Self    Node
	Cluster string // the cluster's id
	Shards  int
	// Proof shows which key-encryption key this node has.
	Proof []byte
	// CheckProof says whether a proof was made by the cluster's key-encryption
	// key; see envelope.KEK.Check.
	CheckProof func(proof []byte) error

	KV     KV
	Groups Groups
	Gossip Gossip
	Peers  Peers
	Local  Local
	Logger *slog.Logger
	Options
}

// Placement keeps this node's part of the cluster as the records say. Methods
// may be called concurrently.
type Placement struct {
	cfg    Config
	log    *slog.Logger
	follow *follower
	alive  atomic.Pointer[alive]

	// leaving: the node is shutting down, takes nothing new and hands over.
	leaving atomic.Bool

	local, owner, lead *loop
	ctx                context.Context // ends with Close
	cancel             context.CancelFunc
	done               sync.WaitGroup
}

// Times of the loops. Each round of a loop begins when something has changed,
// else after the tick that the round before asked for, spread by a quarter.
const (
	slowTick = 5 * time.Second        // nothing to be done
	tick     = time.Second            // something waits for others
	fastTick = 250 * time.Millisecond // something is under way
	minGap   = 20 * time.Millisecond  // between rounds, so that changes gather
	// After errors rounds are at least retryMin apart, doubled up to retryMax.
	retryMin = 250 * time.Millisecond
	retryMax = 8 * time.Second
	// liveTick is how often liveness is looked at without a word of gossip.
	liveTick = time.Second

	statusTimeout = time.Second      // to ask a node for its status
	changeTimeout = 10 * time.Second // to change a membership or a record
	closeTimeout  = 30 * time.Second // to end a group
)

// Open begins to follow the records and to act on them. Groups that have state
// on this node are opened by it, whatever the records say, because a shard must
// come back also while the meta group has no leader. The meta group must be
// open. Close it before the groups.
func Open(c Config) (*Placement, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Place == nil || c.CheckProof == nil {
		return nil, errors.New("placement: no function to place shards or to check keys given")
	}
	c.Options = c.Options.withDefaults()
	p := &Placement{cfg: c, log: c.Logger}
	var err error
	if p.follow, err = newFollower(c.KV, c.Logger); err != nil {
		return nil, fmt.Errorf("placement: %w", err)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.look()
	p.local, p.owner, p.lead = newLoop(), newLoop(), newLoop()
	p.done.Go(p.watch)
	p.done.Go(func() { p.local.run(p.ctx, p.localRound) })
	p.done.Go(func() { p.owner.run(p.ctx, p.ownerRound) })
	p.done.Go(func() { p.lead.run(p.ctx, p.leadRound) })
	return p, nil
}

// Close ends the loops and waits for them; what they had begun is bounded by
// their own deadlines. Groups stay open.
func (p *Placement) Close() {
	p.cancel()
	p.done.Wait()
}

// View returns the records as this node knows them now.
func (p *Placement) View() *View { return p.follow.view.Load() }

// Changed returns a channel that is closed when the View changes next.
func (p *Placement) Changed() <-chan struct{} { return p.follow.changed() }

// Poke says that leadership of some group has changed.
func (p *Placement) Poke() {
	for _, l := range []*loop{p.local, p.owner, p.lead} {
		poke(l.wake)
	}
}

// watch keeps View and liveness up to date, and wakes the loops.
func (p *Placement) watch() {
	tick := time.NewTicker(liveTick)
	defer tick.Stop()
	for {
		changed := true
		select {
		case <-p.ctx.Done():
			return
		case <-p.follow.signal:
			if err := p.follow.catchUp(); err != nil {
				p.log.Error("placement records could not be read", "err", err)
			}
		case <-p.cfg.Gossip.Changed():
		case <-tick.C:
			if err := p.follow.catchUp(); err != nil { // what failed before
				p.log.Error("placement records could not be read", "err", err)
			}
			changed = false
		}
		p.look()
		if changed {
			p.Poke()
		}
	}
}

// look brings liveness up to date. Only watch calls it, and Open before.
func (p *Placement) look() {
	var before alive
	if a := p.alive.Load(); a != nil {
		before = *a
	}
	now := look(p.cfg.Self.Name, p.View(), p.cfg.Gossip.Members(), before, time.Now())
	p.alive.Store(&now)
}

func (p *Placement) liveness() alive { return *p.alive.Load() }

func (p *Placement) leadsMeta() bool {
	g, ok := p.cfg.Groups.Group(MetaGroup)
	if !ok {
		return false
	}
	_, leads := g.IsLeader()
	return leads
}

// metaLeader returns the node that leads the meta group, as far as known.
func (p *Placement) metaLeader() string {
	g, ok := p.cfg.Groups.Group(MetaGroup)
	if !ok {
		return ""
	}
	node, _ := g.Leader()
	return node
}

// loop runs rounds, one at a time.
type loop struct{ wake chan struct{} }

func newLoop() *loop { return &loop{make(chan struct{}, 1)} }

// run calls round until ctx ends. round returns when it wants to be called
// again at the latest; after an error it is called again no sooner than after a
// wait that grows.
func (l *loop) run(ctx context.Context, round func(context.Context) (time.Duration, error)) {
	retry := retryMin
	for {
		next, err := round(ctx)
		pause := minGap
		if err != nil {
			pause, next = retry, retry
			retry = min(2*retry, retryMax)
		} else {
			retry = retryMin
		}
		if !sleep(ctx, pause+mathrand.N(pause/4)) {
			return
		}
		t := time.NewTimer(next - pause + mathrand.N(next/4))
		select {
		case <-l.wake:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}
