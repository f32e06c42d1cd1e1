package consensus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grantd/grantd/credential"
)

// Host runs the groups of one node. All methods are safe for concurrent use.
type Host struct {
	cfg         Config
	spool       *spool
	boot        uint64
	feed        *feed
	stop        chan struct{}
	done        sync.WaitGroup                      // the goroutines that stop ends
	metaChanged atomic.Pointer[func(keys [][]byte)] // see KV.OnChange
	ops         gate                                // openings and closings of single groups
	grown       []bell                              // see Outbox.Grown

	// shards has the groups that hold accounts once more, by number, for those who
	// ask many times a second. Written under mu.
	shards []atomic.Pointer[Group]

	mu     sync.RWMutex
	groups map[uint16]*Group // open
	ending map[uint16]*Group // being closed, or not closed in time
	busy   map[uint16]bool   // being opened or closed

	closing  sync.Once
	closeErr error
}

// openParallel bounds how many groups start at once: each waits for a few
// syncs, which the store merges where they come together.
const openParallel = 16

// Open returns a Host. On a node alone it starts the meta group, then all
// shards, and each is running when Open returns; who leads is told by
// [Host.Leadership], and the node leads all of them within a few syncs of the
// disk. In a cluster no group is open yet: which ones the node holds is for
// others to know, who call [Host.OpenGroup].
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
		cfg: cfg, spool: spool, boot: newBoot(), feed: newFeed(), stop: make(chan struct{}), grown: make([]bell, cfg.Shards+1),
		groups: make(map[uint16]*Group), ending: make(map[uint16]*Group), busy: make(map[uint16]bool),
		shards: make([]atomic.Pointer[Group], cfg.Shards),
	}
	h.done.Go(func() { h.feed.run(h.stop) })
	if cfg.Transport != nil {
		return h, nil
	}
	if err := h.openAll(Start{Voters: []string{cfg.Node}}); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), openCleanup)
		defer cancel()
		return nil, errors.Join(err, h.Close(ctx))
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

// openAll opens the meta group, then all shards.
func (h *Host) openAll(s Start) error {
	if _, err := h.OpenGroup(MetaGroup, s); err != nil {
		return err
	}
	var all errgroup.Group
	all.SetLimit(openParallel)
	for shard := range h.cfg.Shards {
		all.Go(func() error {
			_, err := h.OpenGroup(uint16(shard), s)
			return err
		})
	}
	return all.Wait()
}

// Group returns a group, or nil where it is not open on this node.
func (h *Host) Group(id uint16) *Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.groups[id]
}

// open returns a group, or credential.ErrNotOwner where it is not open.
func (h *Host) open(id uint16) (*Group, error) {
	g := h.Group(id)
	if g == nil {
		return nil, fmt.Errorf("%w: group %d is not open on this node", credential.ErrNotOwner, id)
	}
	return g, nil
}

// Groups returns the groups that are open, in the order of their numbers.
func (h *Host) Groups() []*Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := slices.Collect(maps.Values(h.groups))
	slices.SortFunc(all, func(a, b *Group) int { return int(a.id) - int(b.id) })
	return all
}

// Resident returns the groups of which the store holds a log or a state, open or
// not, in the order of their numbers. A replica that waits to be added has
// neither.
func (h *Host) Resident() ([]uint16, error) {
	ids, err := h.cfg.DB.Groups()
	if err != nil {
		return nil, fmt.Errorf("consensus: %w", err)
	}
	return ids, nil
}

// Known reports whether this node has run a group before: it holds state of it,
// or what a destroyed replica has promised.
func (h *Host) Known(id uint16) (bool, error) { return h.cfg.DB.Group(id).Known() }

// Shards returns the number of groups that hold accounts: 0 to Shards()-1.
func (h *Host) Shards() int { return h.cfg.Shards }

// Leadership returns the channel of this node's gains and losses, for one
// reader. Leading means that the group's state on this node is complete. If
// the reader is slow, of several changes of one group only the newest is kept,
// so that Leading can follow Leading with a higher term: the lower one is over.
// Losses are known to [Group.IsLeader] before they are sent. Close closes the
// channel.
func (h *Host) Leadership() <-chan LeaderChange { return h.feed.out }
