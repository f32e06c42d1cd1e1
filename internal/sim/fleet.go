package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/cluster/link"
	"github.com/grantd/grantd/cluster/link/issue"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/internal/node"
)

// fleet is what the machines of a cluster share.
type fleet struct {
	net   *Network
	size  int // how many found it
	all   []*Machine
	ca    []byte
	o     FleetOptions
	pairs map[string]issue.Pair // by node
}

// FleetOptions say what the machines of a cluster have in common.
type FleetOptions struct {
	Size int // how many found it
	// Spare is how many more there are, which are off: see [Machine.SwitchOn].
	Spare int
	// Latency is how long it takes from one host to another, each time; nil: a
	// millisecond.
	Latency func(from, to string) time.Duration
	// RebuildAfter is that of the nodes' configuration.
	RebuildAfter time.Duration
}

// NewCluster makes a world with a cluster of nodes; Close it. The options are
// those of each machine; options(i), where not nil, are those of the ith.
func NewCluster(p strict.Options, fo FleetOptions, common MachineOptions, options func(machine int) MachineOptions) (*World, error) {
	w, kek, err := newWorld(p, common)
	if err != nil {
		return nil, err
	}
	if fo.Latency == nil {
		fo.Latency = func(string, string) time.Duration { return time.Millisecond }
	}
	f, err := newFleet(newNetwork(fo.Latency), fo)
	if err != nil {
		return nil, err
	}
	w.Network = f.net
	for i := 1; i <= fo.Size+fo.Spare; i++ {
		o := common
		if options != nil {
			o = options(i)
		}
		m := newMachine(o, kek, w.wire, w.log)
		m.fleet, m.node, m.number = f, i, i
		w.Machines = append(w.Machines, m)
	}
	f.all = w.Machines
	w.start()
	return w, nil
}

// Owner returns the machine whose node owns an account and has not noticed
// otherwise; nil: there is none.
func (w *World) Owner(ctx context.Context, ref credential.Ref) *Machine {
	for _, m := range w.Machines {
		if !m.serves() {
			continue
		}
		counts, err := m.Do(ctx, func(ctx context.Context, c *node.Core) error {
			_, err := c.Actors.Account(ctx, ref)
			return err
		})
		if counts && err == nil {
			return m
		}
	}
	return nil
}

// Fork lets a copy of each machine run beside it, on a network of their own:
// every shard has two owners then, which know nothing of each other. It proves
// that this is seen.
func (w *World) Fork() {
	f := *w.Machine.fleet
	f.net, f.all = newNetwork(f.net.latency), nil
	for _, m := range slices.Clone(w.Machines) {
		twin := newMachine(m.o, m.kek, w.wire, w.log)
		twin.fleet, twin.node, twin.number = &f, m.node, m.number+10
		twin.disk = m.current().disk.Crash(100, 0)
		w.Machines = append(w.Machines, twin)
		twin.SwitchOn()
		go twin.run()
	}
}

// lag is by how much an unmarked answer may be behind: see [linearizable].
const lag = 500 * time.Millisecond

// dyingTime is how long something of a node may go on that was given no time to
// close.
const dyingTime = time.Minute

// slowWrite is how long a disk may take without being in trouble.
const slowWrite = 200 * time.Millisecond

// troubles are when the cluster was not whole.
func (w *World) troubles() (all []Span) {
	for _, m := range w.Machines {
		all = append(all, m.idle...)
		for _, e := range m.ends {
			if !e.CrashedAt.IsZero() {
				all = append(all, Span{e.CrashedAt, e.CrashedAt})
			}
			for _, s := range e.Waits {
				if s.To.Sub(s.From) >= slowWrite {
					all = append(all, s)
				}
			}
		}
	}
	return append(all, w.Network.Troubles()...)
}

func newFleet(n *Network, o FleetOptions) (*fleet, error) {
	start := time.Now().Add(-time.Hour)
	end := start.Add(10 * 365 * 24 * time.Hour)
	ca, err := issue.New(start, end)
	if err != nil {
		return nil, err
	}
	f := &fleet{net: n, o: o, size: o.Size, ca: ca.Pair().Cert, pairs: make(map[string]issue.Pair)}
	for i := 1; i <= o.Size+o.Spare; i++ {
		name := fmt.Sprintf("n%d", i)
		if f.pairs[name], err = ca.Node(name, start, end); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// connect connects a process with the rest of its cluster; nil: it is alone.
func (m *Machine) connect(p *process) (*node.ClusterConfig, error) {
	f := m.fleet
	if f == nil {
		return nil, nil
	}
	pair := f.pairs[m.name()]
	id, err := link.OpenIdentity(func() (link.PEM, error) {
		return link.PEM{CA: f.ca, Cert: pair.Cert, Key: pair.Key}, nil
	}, m.name(), nil)
	if err != nil {
		return nil, err
	}
	host := hostName(m.node)
	s := f.net.station(host)
	talk := f.net.gossip.Listen(gossipAddr(m.node))
	p.network, p.host = f.net, host
	p.disconnect = func(silent bool) {
		s.crash(silent)
		_ = talk.Shutdown()
	}
	return &node.ClusterConfig{
		Identity: id, Listener: s, Dial: s.Dial, RPC: s.addr, HTTP: net.JoinHostPort(host, "7946"), Version: "sim",
		Gossip: gossip.Config{Transport: talk, Join: f.join(m)}, Expect: f.size, RebuildAfter: f.o.RebuildAfter,
	}, nil
}

// join is whom a node names to find the others: those that found the cluster
// name each other, one that comes later names one of those that serve.
func (f *fleet) join(m *Machine) (addrs []string) {
	var serving []string
	for i := 1; i <= f.size; i++ {
		addrs = append(addrs, gossipAddr(i))
	}
	if m.node <= f.size {
		return addrs
	}
	for _, other := range f.all {
		if other != m && other.serves() {
			serving = append(serving, gossipAddr(other.node))
		}
	}
	if len(serving) == 0 {
		return addrs
	}
	return []string{serving[rand.IntN(len(serving))]}
}

// gossipAddr is where the ith machine gossips.
func gossipAddr(i int) string { return net.JoinHostPort(hostName(i), "7948") }
