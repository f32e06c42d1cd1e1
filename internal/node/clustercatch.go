package node

import (
	"context"
	"errors"
	"time"

	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/registry"
)

const (
	// catchUpWait bounds how long a caller waits for this node's copy of the meta
	// group.
	catchUpWait = time.Second
	catchUpTick = 20 * time.Millisecond
)

// catchUp returns when this node's copy of the meta group holds all that was
// committed when it was called. What the copy does not hold before proves
// nothing: the node may have just joined, or have been started anew while it is
// cut off, and know nothing of what its own log holds.
func (cl *cluster) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	t := time.NewTicker(catchUpTick)
	defer t.Stop()
	index, told := uint64(0), false
	for {
		if !told {
			index, told = cl.committed(ctx)
		}
		if g := cl.core.host.Group(consensus.MetaGroup); told && g != nil {
			if applied, _ := g.Progress(); applied >= index {
				return nil
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return &credential.Unavailable{Err: credential.ErrNoQuorum, Reason: "this node's copy of the registry is behind", RetryAfter: time.Second}
		}
	}
}

// committed is how far the meta group has come, in the words of its leader,
// which proves that it is that.
func (cl *cluster) committed(ctx context.Context) (index uint64, ok bool) {
	leader, _ := cl.metaLeader()
	p := cl.placement.Load()
	if leader == "" || p == nil {
		return 0, false
	}
	if leader == cl.core.name {
		for _, g := range p.Report(ctx, []uint16{consensus.MetaGroup}) {
			return g.Applied, true
		}
		return 0, false
	}
	groups, err := cl.peers.Status(ctx, leader, consensus.MetaGroup)
	if err != nil {
		return 0, false
	}
	for _, g := range groups {
		if g.Group == consensus.MetaGroup && g.Leader == leader && g.Applied > 0 {
			return g.Applied, true
		}
	}
	return 0, false
}

// arrive tries until the node's copy has caught up for the first time.
func (cl *cluster) arrive() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-cl.done:
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil && cl.catchUp(ctx) != nil {
	}
	cl.arrived.Store(ctx.Err() == nil)
}

// keysets are the tenants' keysets, of which a copy that lags knows only some.
type keysets struct {
	registry.Keysets
	cl *cluster // nil: the node is alone
}

// Load implements envelope.Keysets.
func (k keysets) Load(ctx context.Context, tenant string) ([]byte, error) {
	wrapped, err := k.Keysets.Load(ctx, tenant)
	if k.cl == nil || !errors.Is(err, envelope.ErrNoKeyset) {
		return wrapped, err
	}
	if err := k.cl.catchUp(ctx); err != nil {
		return nil, err
	}
	return k.Keysets.Load(ctx, tenant)
}
