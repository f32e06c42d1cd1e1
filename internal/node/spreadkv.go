package node

import (
	"context"
	"sync"
	"time"

	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry"
)

// spreadKV is the meta group for the registry: a write returns when all nodes
// that are alive show it, so that a key or an integration can be used at any
// node as soon as whoever made it has the answer. A node that does not answer
// is waited for no longer than spreadWait.
type spreadKV struct {
	registry.KV
	cl *cluster
}

const (
	spreadWait = time.Second
	spreadTick = 10 * time.Millisecond
)

// Put implements registry.KV.
func (s spreadKV) Put(ctx context.Context, key string, expect uint64, value []byte) (rev uint64, err error) {
	rev, err = s.KV.Put(ctx, key, expect, value)
	if err == nil {
		s.cl.spread(ctx)
	}
	return rev, err
}

// PutAndTell implements registry.KV.
func (s spreadKV) PutAndTell(ctx context.Context, key string, expect uint64, value []byte, events []credential.Event) (rev uint64, err error) {
	rev, err = s.KV.PutAndTell(ctx, key, expect, value, events)
	if err == nil {
		s.cl.spread(ctx)
	}
	return rev, err
}

// Delete implements registry.KV.
func (s spreadKV) Delete(ctx context.Context, key string, expect uint64) error {
	err := s.KV.Delete(ctx, key, expect)
	if err == nil {
		s.cl.spread(ctx)
	}
	return err
}

// spread waits until the other nodes have applied what this one has. The leader
// has: it was the first to.
func (cl *cluster) spread(ctx context.Context) {
	g := cl.core.host.Group(consensus.MetaGroup)
	if g == nil {
		return
	}
	applied, _ := g.Progress()
	leader, _ := g.Leader()
	ctx, cancel := context.WithTimeout(ctx, spreadWait)
	defer cancel()
	var all sync.WaitGroup
	for _, m := range cl.gossip.Members() {
		if m.Name != cl.core.name && m.Name != leader && m.State == gossip.Alive && m.Meta.Cluster != "" {
			all.Go(func() { cl.awaitApplied(ctx, m.Name, applied) })
		}
	}
	all.Wait()
}

// awaitApplied waits until a node has applied an entry of the meta group. One
// that says 0 is on its way in or out, and gets no requests.
func (cl *cluster) awaitApplied(ctx context.Context, node string, index uint64) {
	t := time.NewTicker(spreadTick)
	defer t.Stop()
	for {
		told, err := cl.peers.Status(ctx, node, consensus.MetaGroup)
		if err == nil && (len(told) == 0 || told[0].Applied >= index || told[0].Applied == 0) {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
