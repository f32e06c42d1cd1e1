package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/cluster/placement"
	"github.com/grantd/grantd/cluster/route"
	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/wire"
)

// serve begins to answer requests of accounts, by whatever node they come.
func (cl *cluster) serve(keys rpc.Keys) {
	core := cl.core
	router := route.New(route.Config{
		Self: core.name, Shards: core.host.Shards(), ShardOf: core.shardOf, Local: core.Actors, Peers: cl.peers,
		Leader: cl.leader, Replicas: cl.replicas, LocalReplica: cl.replica,
		Reach: cl.cfg.ReplicaAfter,
	})
	cl.router.Store(router)
	cl.provide(rpc.Services{
		Owned: core.Actors, Fates: core.Actors, Outboxes: rpcOutboxes{core}, Webhooks: rpcDeliveries{core}, Routed: router, Keys: keys,
		HasIntegration: func(id string) bool { _, ok := core.Registry.Integration(id); return ok },
		Leader:         func(ref credential.Ref) (string, uint64) { return cl.leader(core.shardOf(ref)) },
	})
}

// leader is who leads a shard, as the replica here knows it. Where there is none
// here, or one that is on its way out and hears nothing any more, it is who
// should, of term 0.
func (cl *cluster) leader(shard int) (node string, term uint64) {
	g := cl.core.host.Group(uint16(shard))
	if g != nil {
		if node, term = g.Leader(); node != "" {
			return node, term
		}
	}
	s, known := cl.placement.Load().View().Shard(uint16(shard))
	if !known || g != nil && slices.Contains(s.Replicas, cl.core.name) {
		return "", term // there is an election, or there will be
	}
	return s.Owner, 0
}

// replica reports whether this node has a replica of a shard that counts: one
// that was told to vote has all that was committed before.
func (cl *cluster) replica(shard int) bool {
	g := cl.core.host.Group(uint16(shard))
	if g == nil {
		return false
	}
	m, err := g.Members()
	return err == nil && slices.Contains(m.Voters, cl.core.name)
}

func (cl *cluster) replicas(shard int) []string {
	return cl.placement.Load().View().Replicas(uint16(shard))
}

// resolve returns where a node's RPC is reached: as gossip has it, else as it
// was recorded.
func (cl *cluster) resolve(node string) (addr string, ok bool) {
	if cl.gossip != nil {
		for _, m := range cl.gossip.Members() {
			if m.Name == node && m.Meta.RPC != "" && m.State == gossip.Alive {
				return m.Meta.RPC, true
			}
		}
	}
	if p := cl.placement.Load(); p != nil {
		if n, known := p.View().Record(node); known && n.RPC != "" {
			return n.RPC, true
		}
	}
	return "", false
}

// describe tells of all nodes and shards.
func (cl *cluster) describe(ctx context.Context) wire.Cluster {
	st := cl.placement.Load().Status(ctx)
	c := wire.Cluster{Nodes: make([]wire.Node, len(st.Nodes)), Shards: make([]wire.Shard, len(st.Shards))}
	for i, n := range st.Nodes {
		c.Nodes[i] = wire.Node{ID: n.Name, Addr: n.HTTP, State: n.State, ShardsOwned: n.Owned, Version: n.Version}
	}
	for i, s := range st.Shards {
		c.Shards[i] = wire.Shard{ID: int(s.ID), Owner: s.Owner, Term: s.Term, Replicas: s.Replicas}
	}
	return c
}

// remove takes a node out for good and tells how far that is.
func (cl *cluster) remove(ctx context.Context, id string) (wire.NodeRemoval, error) {
	p := cl.placement.Load()
	standing, err := p.Dismiss(ctx, id)
	if errors.Is(err, placement.ErrLastNode) {
		err = fmt.Errorf("node %s: %w", id, httpapi.ErrLastNode)
	}
	if err != nil {
		return wire.NodeRemoval{}, err
	}
	r := wire.NodeRemoval{ID: id, State: wire.NodeRemoved}
	if standing == placement.Removed {
		return r, nil
	}
	r.State = wire.NodeLeaving
	for _, s := range p.Status(ctx).Shards {
		if slices.Contains(s.Replicas, id) {
			r.ShardsLeft++
		}
	}
	return r, nil
}
