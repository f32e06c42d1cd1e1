package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/cluster/link"
	"github.com/grantd/grantd/cluster/link/grpclink"
	"github.com/grantd/grantd/cluster/placement"
	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/cluster/route"
	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry"
)

// ClusterConfig says how a node of a cluster is reached, and finds the others.
type ClusterConfig struct {
	// Identity proves this node to others. Listener is where they call, and Dial
	// connects to them.
	Identity *link.Identity
	Listener net.Listener
	Dial     func(ctx context.Context, addr string) (net.Conn, error)
	// RPC, HTTP and Version are told to the others.
	RPC, HTTP, Version string
	// Gossip says how the node gossips; its Name, Meta and Logger are set here.
	Gossip gossip.Config
	// Expect is how many nodes found a cluster.
	Expect int
	// Rules of placement; see placement.Options.
	Replicas, MaxMoving int
	RebuildAfter        time.Duration
	// ReplicaAfter is how long a shard's owner may take before a replica answers.
	ReplicaAfter time.Duration
	// Timing of raft; zero: that of a cluster.
	Timing consensus.Timing
}

// clusterTiming has a dead leader's successor elected within one to one and a
// half seconds.
var clusterTiming = consensus.Timing{Heartbeat: 400 * time.Millisecond, Election: 400 * time.Millisecond, Lease: 300 * time.Millisecond}

const (
	// clusterStallLimit is how long a write to the disk may hang before the
	// process ends, so that others take its shards: a hanging disk does not stop
	// raft's heartbeats.
	clusterStallLimit = 5 * time.Second
	// raftTimeout bounds one message of raft. While a node that should take over
	// does not answer, the group takes no writes.
	raftTimeout = 2 * time.Second
)

// cluster is what a node of a cluster has besides what every node has.
type cluster struct {
	core   *Core
	cfg    ClusterConfig
	boot   string
	port   *link.Port
	peers  *rpc.Peers
	server *rpc.Server
	gossip *gossip.Gossip
	meta   gossip.Meta // of this node
	seen   seen        // as saved
	// records are the meta group, as any node can write it.
	records *route.Meta
	former  *placement.Former
	desk    placement.Desk
	// placement is set once the node belongs to a cluster.
	placement atomic.Pointer[placement.Placement]
	router    atomic.Pointer[route.Router]
	health    health
	arrived   atomic.Bool // the meta group's copy here has caught up, once
	closing   atomic.Bool
	served    chan struct{} // closed when the server has ended
	done      chan struct{} // closed to end the minding
	minding   sync.WaitGroup
	confirmed context.CancelFunc // ends the asking of confirmMembership; nil: it did not begin
}

// join makes the node one of a cluster, founding it if need be: it returns when
// the meta group's copy on this node holds what the cluster was founded with.
func (core *Core) join(ctx context.Context, c CoreConfig) (err error) {
	cl := &cluster{core: core, cfg: *c.Cluster, boot: core.boot, served: make(chan struct{}), done: make(chan struct{})}
	core.cluster = cl
	if cl.port, err = link.Open(link.Config{
		Identity: cl.cfg.Identity, Listener: cl.cfg.Listener, Dial: cl.cfg.Dial, Resolve: cl.resolve, Logger: c.Logger,
		Timing: link.Timing{Raft: raftTimeout},
	}); err != nil {
		return errors.Join(err, cl.cfg.Listener.Close())
	}
	cl.peers = rpc.NewPeers(rpc.PeersConfig{Dial: cl.port.DialRPC})
	cl.server = rpc.NewServer(rpc.ServerConfig{
		Node: core.name, Identify: identify, Logger: c.Logger, Options: []grpc.ServerOption{grpclink.Server()},
	})
	go func() {
		defer close(cl.served)
		err := cl.server.Serve(cl.port.RPC())
		if !cl.closing.Load() && c.Failed != nil {
			c.Failed(fmt.Errorf("the actor RPC ended: %w", cmp.Or(err, net.ErrClosed)))
		}
	}()
	membership, err := cl.form(ctx, c)
	if err != nil {
		return err
	}
	timing := cl.cfg.Timing
	if timing == (consensus.Timing{}) {
		timing = clusterTiming
	}
	if core.host, err = consensus.Open(consensus.Config{
		Node: c.Name, Shards: c.Shards, DB: core.db, FS: c.fs(), SpoolDir: c.spoolDir(), Logger: c.Logger,
		Transport: cl.port.Transport, Timing: timing,
	}); err != nil {
		return err
	}
	meta := membership.Meta(c.Name)
	if _, err := core.host.OpenGroup(consensus.MetaGroup, consensus.Start{Voters: meta.Voters, Join: meta.Join}); err != nil {
		return err
	}
	// Before anything is done with it: a node with the wrong number of shards
	// would plan them.
	if err := checkKept(core.host.KV(), c); err != nil {
		return err
	}
	cl.records = route.NewMeta(route.MetaConfig{Self: c.Name, Store: core.host.KV(), Peers: cl.peers, Leader: cl.metaLeader})
	core.kv = shareKV(cl.records)
	cl.provide(rpc.Services{})
	if err := cl.former.Establish(ctx, core.kv); err != nil {
		return err
	}
	return cl.place(ctx, c, membership)
}

// identify tells who calls, from the certificate.
func identify(ctx context.Context) (role, name string, ok bool) {
	p, ok := grpclink.PeerFrom(ctx)
	return string(p.Role), p.Name, ok
}

// form starts to gossip and returns when the node belongs to a cluster.
func (cl *cluster) form(ctx context.Context, c CoreConfig) (placement.Membership, error) {
	local := cl.core.db.Local()
	dataID, err := placement.DataID(local)
	if err != nil {
		return placement.Membership{}, err
	}
	proof, err := c.KEK.Proof()
	if err != nil {
		return placement.Membership{}, err
	}
	resident, err := cl.core.db.Groups()
	if err != nil {
		return placement.Membership{}, err
	}
	self := placement.Node{Name: c.Name, DataID: dataID, RPC: cl.cfg.RPC, HTTP: cl.cfg.HTTP, Version: cl.cfg.Version}
	meta := gossip.Meta{Boot: cl.boot, RPC: self.RPC, HTTP: self.HTTP, Version: self.Version, DataID: dataID}
	g := cl.cfg.Gossip
	g.Name, g.Meta, g.Logger = c.Name, meta, c.Logger
	if cl.seen, err = loadSeen(local, c.Logger); err != nil {
		return placement.Membership{}, err
	}
	g.Join = slices.Concat(g.Join, cl.seen.addrs())
	if cl.gossip, err = gossip.Start(g); err != nil {
		return placement.Membership{}, err
	}
	cl.former, err = placement.NewFormer(placement.FormConfig{
		Self: self, Expect: cl.cfg.Expect, Shards: c.Shards, Proof: proof, HasData: len(resident) > 0,
		Gossip: members{cl.gossip}, Peers: placementPeers{cl.peers}, Local: local, Logger: c.Logger,
	})
	if err != nil {
		return placement.Membership{}, err
	}
	cl.desk.Former, cl.meta = cl.former, meta
	cl.provide(rpc.Services{Founding: &cl.desk})
	return cl.former.Form(ctx)
}

// place starts to act on the cluster's records.
func (cl *cluster) place(ctx context.Context, c CoreConfig, m placement.Membership) error {
	local := cl.core.db.Local()
	dataID, err := placement.DataID(local)
	if err != nil {
		return err
	}
	proof, err := c.KEK.Proof()
	if err != nil {
		return err
	}
	p, err := placement.Open(placement.Config{
		Self:    placement.Node{Name: c.Name, DataID: dataID, RPC: cl.cfg.RPC, HTTP: cl.cfg.HTTP, Version: cl.cfg.Version},
		Cluster: m.Cluster, Shards: cl.core.host.Shards(), Proof: proof, CheckProof: c.KEK.Check,
		KV: cl.core.kv, Groups: groups{cl.core.host}, Gossip: members{cl.gossip}, Peers: placementPeers{cl.peers}, Local: local, Logger: c.Logger,
		Options: placement.Options{
			Place: ring.Place, Replicas: cl.cfg.Replicas, Expect: cl.cfg.Expect, RebuildAfter: cl.cfg.RebuildAfter, MaxMoving: cl.cfg.MaxMoving,
		},
	})
	if err != nil {
		return err
	}
	cl.placement.Store(p)
	cl.desk.Serve(p)
	cl.provide(rpc.Services{})
	// Only now may others see which cluster this is: they would ask to be let in.
	cl.meta.Cluster = m.Cluster
	if err := cl.gossip.SetMeta(cl.meta); err != nil {
		return err
	}
	cl.confirmMembership(c.Failed)
	return awaitFoundation(ctx, cl.core.kv)
}

// confirmMembership asks, beside all else, whether the node still belongs to its
// cluster.
func (cl *cluster) confirmMembership(failed func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	cl.confirmed = cancel
	cl.minding.Go(func() {
		if err := cl.former.Confirm(ctx); errors.Is(err, placement.ErrRefused) && failed != nil {
			failed(err)
		}
	})
}

// awaitFoundation waits until this node's copy of the meta group holds what the
// cluster was founded with. The last of it that is written is a node's record.
func awaitFoundation(ctx context.Context, kv registry.KV) error {
	t := time.NewTicker(foundationTick)
	defer t.Stop()
	for {
		_, _, err := kv.Get("setting/kek_proof")
		if err == nil || !errors.Is(err, credential.ErrNotFound) {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("the cluster's registry has not arrived: %w", context.Cause(ctx))
		}
	}
}

const foundationTick = 20 * time.Millisecond

// provide has the server answer from what there is so far, and s.
func (cl *cluster) provide(s rpc.Services) {
	s.Founding = &cl.desk
	if cl.core.host != nil {
		s.KV, s.MetaLeader = cl.core.host.KV(), cl.metaLeader
	}
	if p := cl.placement.Load(); p != nil {
		s.Status = status{p}
	}
	cl.server.Provide(s)
}

// poke says that leadership of some group has changed.
func (cl *cluster) poke() {
	if p := cl.placement.Load(); p != nil {
		p.Poke()
	}
}

func (cl *cluster) metaLeader() (node string, term uint64) { return cl.core.MetaLeader() }
