package consensus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/grantd/grantd/storage"
)

// Host runs all groups of one node. All methods are safe for concurrent use.
type Host struct {
	cfg    Config
	spool  *spool
	boot   uint64
	feed   *feed
	stop   chan struct{}
	done   sync.WaitGroup // the goroutines that stop ends
	mu     sync.Mutex
	groups map[uint16]*Group // complete when Open returns

	closing  sync.Once
	closeErr error
}

// openParallel bounds how many groups start at once: each waits for a few
// syncs, which the store merges where they come together.
const openParallel = 16

// Open starts the meta group, then all shards, and returns when each is
// running; who leads is told by [Host.Leadership]. A lone node leads all of
// them within a few syncs of the disk.
func Open(cfg Config) (*Host, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	spool, err := openSpool(cfg.FS, cfg.SpoolDir)
	if err != nil {
		return nil, fmt.Errorf("consensus: %w", err)
	}
	h := &Host{
		cfg: cfg, spool: spool, boot: newBoot(), feed: newFeed(),
		stop: make(chan struct{}), groups: make(map[uint16]*Group),
	}
	h.done.Go(func() { h.feed.run(h.stop) })
	if err := h.startAll(); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), openCleanup)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("consensus: %w", err), h.Close(ctx))
	}
	return h, nil
}

// openCleanup bounds how long a failed Open waits for the groups that it had started.
const openCleanup = 10 * time.Second

// newBoot returns a number that tells this start's entries from all others.
func newBoot() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

func (h *Host) startAll() error {
	if err := h.start(MetaGroup); err != nil {
		return err
	}
	var all errgroup.Group
	all.SetLimit(openParallel)
	for shard := range h.cfg.Shards {
		all.Go(func() error { return h.start(uint16(shard)) })
	}
	return all.Wait()
}

// start runs one group.
func (h *Host) start(id uint16) error {
	state := h.cfg.DB.Group(id)
	log, err := state.Log()
	if err != nil {
		return err
	}
	if err := h.prepare(state, log); err != nil {
		return fmt.Errorf("group %d: %w", id, err)
	}
	g := &Group{
		id: id, node: h.cfg.Node, state: state, ledger: newLedger(h.boot),
		queue: make(chan *proposal, queueLen), notify: make(chan bool), feed: h.feed,
	}
	g.machine = &machine{state: state, db: h.cfg.DB, ledger: g.ledger}
	// Raft waits for the watcher as soon as it leads.
	h.done.Go(func() { g.watch(h.stop) })
	if err := h.startRaft(g, log); err != nil {
		return fmt.Errorf("group %d: %w", id, err)
	}
	h.done.Go(func() { g.submit(h.stop) })
	h.mu.Lock()
	h.groups[id] = g
	h.mu.Unlock()
	return nil
}

func (h *Host) startRaft(g *Group, log *storage.Log) error {
	trans, err := h.transport(g.id)
	if err != nil {
		return err
	}
	logs := &logStore{log: log, db: h.cfg.DB, gate: &g.store}
	stable := &stableStore{stable: g.state.Stable(), db: h.cfg.DB, gate: &g.store}
	snaps := &snapshots{state: g.state, spool: h.spool, gate: &g.store}
	cfg := h.cfg.raftConfig(g.id, h.cfg.Transport == nil, g.notify)
	heartbeat := cfg.HeartbeatTimeout
	cfg.HeartbeatTimeout += time.Millisecond // room for campaign to shorten it
	cfg.ElectionTimeout = max(cfg.ElectionTimeout, cfg.HeartbeatTimeout)
	if g.raft, err = raft.NewRaft(cfg, g.machine, logs, stable, snaps, trans); err != nil {
		return errors.Join(err, closeTransport(trans))
	}
	if h.alone(g.raft) {
		if err := g.campaign(heartbeat); err != nil {
			return errors.Join(err, g.raft.Shutdown().Error())
		}
	}
	return nil
}

// closeTransport closes what raft, which did not start, will not close.
func closeTransport(t raft.Transport) error {
	if c, ok := t.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}

// transport returns the group's transport.
func (h *Host) transport(group uint16) (raft.Transport, error) {
	if h.cfg.Transport != nil {
		return h.cfg.Transport(group)
	}
	_, t := raft.NewInmemTransport(raft.ServerAddress(h.cfg.Node))
	return t, nil
}

// alone reports whether this node is a group's only member.
func (h *Host) alone(r *raft.Raft) bool {
	f := r.GetConfiguration()
	if f.Error() != nil { // it answers from memory, at once
		return false
	}
	servers := f.Configuration().Servers
	return len(servers) == 1 && servers[0].ID == raft.ServerID(h.cfg.Node) && servers[0].Suffrage == raft.Voter
}

// Group returns a group, or nil where this node runs none of that number.
func (h *Host) Group(id uint16) *Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.groups[id]
}

// Shards returns the number of groups that hold accounts: 0 to Shards()-1.
func (h *Host) Shards() int { return h.cfg.Shards }

// Leadership returns the channel of this node's gains and losses, for one
// reader. Leading means that the group's state on this node is complete. If
// the reader is slow, of several changes of one group only the newest is kept,
// so that Leading can follow Leading with a higher term: the lower one is over.
// Losses are known to [Group.IsLeader] before they are sent. Close closes the
// channel.
func (h *Host) Leadership() <-chan LeaderChange { return h.feed.out }
