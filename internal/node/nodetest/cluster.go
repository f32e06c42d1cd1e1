// Package nodetest runs whole clusters in one process, for tests: the nodes are
// real, with raft, gossip, TLS and RPC between them, while the network, the
// disks, the provider and, in a testing/synctest bubble, the time are not.
//
// A killed node ends as one whose power fails: nothing that it sends from then
// on arrives, and its disk keeps what was synced.
package nodetest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/cluster/gossip/gossiptest"
	"github.com/grantd/grantd/cluster/link"
	"github.com/grantd/grantd/cluster/link/issue"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/internal/node"
	"github.com/grantd/grantd/outbox"
	"github.com/grantd/grantd/storage/storagetest"
)

// Options say what a cluster is like.
type Options struct {
	Shards       int // default 4
	Expect       int // nodes that found it; default 3
	RebuildAfter time.Duration
	Policy       actors.Policy
	Provider     strict.Options
	// Webhooks carries the messages to end points; nil: as requests to the provider.
	Webhooks http.RoundTripper
	// Deliveries are the times and bounds of webhooks.
	Deliveries outbox.Policy
	Logger     *slog.Logger
}

// Cluster is a number of nodes, a network and a provider. Its methods may be
// called concurrently; those that start and end nodes, for one node by one
// caller at a time. It ends with the test.
type Cluster struct {
	Provider *strict.Provider

	t   testing.TB
	o   Options
	kek *envelope.KEK
	ca  *issue.Authority
	net *gossiptest.Network

	mu    sync.Mutex
	nodes map[string]*member
	cuts  map[[2]string]bool // nothing passes from one host to the other
	ends  sync.WaitGroup     // of killed nodes
}

// member is a node and what is its own.
type member struct {
	host string
	disk *storagetest.Disk
	core *node.Core   // nil: it does not run
	busy int          // requests that callers have at it
	dead *atomic.Bool // of the process that runs, or ran last
}

// New makes a cluster of no nodes.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Shards == 0 {
		o.Shards = 4
	}
	if o.Expect == 0 {
		o.Expect = 3
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Provider.AccessTTL == 0 {
		o.Provider.AccessTTL = time.Hour
	}
	c := &Cluster{t: t, o: o, kek: KEK(t), nodes: make(map[string]*member), cuts: make(map[[2]string]bool)}
	var err error
	if c.ca, err = issue.New(time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 30)); err != nil {
		t.Fatal(err)
	}
	if c.Provider, err = strict.New(o.Provider); err != nil {
		t.Fatal(err)
	}
	c.net = gossiptest.NewNetwork(c.passes)
	t.Cleanup(c.close)
	return c
}

// KEK returns a new key-encryption key in memory.
func KEK(t testing.TB) *envelope.KEK {
	t.Helper()
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	a, err := aead.New(h)
	if err != nil {
		t.Fatal(err)
	}
	return envelope.NewKEK(a, "test")
}

// member returns a node, which need not have run before.
func (c *Cluster) member(name string) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.nodes[name]
	if m == nil {
		m = &member{host: fmt.Sprintf("10.0.0.%d", len(c.nodes)+1), disk: storagetest.NewDisk(), dead: new(atomic.Bool)}
		c.nodes[name] = m
	}
	return m
}

// Names returns the nodes that run, in order.
func (c *Cluster) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name, m := range c.nodes {
		if m.core != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Core returns a node; it must run.
func (c *Cluster) Core(name string) *node.Core {
	c.t.Helper()
	m := c.member(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.core == nil {
		c.t.Fatalf("node %s does not run", name)
	}
	return m.core
}

// Running returns a node; false: it does not run.
func (c *Cluster) Running(name string) (*node.Core, bool) {
	m := c.member(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.core, m.core != nil
}

// Config is how a node is started. Alone: outside of the cluster.
func (c *Cluster) Config(name string, alone bool) node.CoreConfig {
	m := c.member(name)
	dead := new(atomic.Bool)
	c.mu.Lock()
	m.dead = dead
	c.mu.Unlock()
	cfg := node.CoreConfig{
		Name: name, Dir: "store", PublicURL: "http://127.0.0.1:8420", FS: m.disk.FS(), Shards: c.o.Shards, KEK: c.kek, Policy: c.o.Policy, Logger: c.o.Logger.With("on", name),
		Transport: fence{dead, c.Provider.RoundTripper()},
		Fatal:     func(reason string) { c.t.Errorf("node %s: the disk failed: %s", name, reason) },
	}
	cfg.Webhooks = c.o.Deliveries
	if c.o.Webhooks != nil {
		cfg.WebhookTransport = fence{dead, c.o.Webhooks}
	}
	if !alone {
		cfg.Cluster = c.network(name, m)
	}
	return cfg
}

const (
	rpcPort    = 8422
	gossipPort = 8423
)

// network is a node's part of the cluster's network.
func (c *Cluster) network(name string, m *member) *node.ClusterConfig {
	pair, err := c.ca.Node(name, time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 20))
	if err != nil {
		c.t.Fatal(err)
	}
	pem := link.PEM{CA: c.ca.Pair().Cert, Cert: pair.Cert, Key: pair.Key}
	id, err := link.OpenIdentity(func() (link.PEM, error) { return pem, nil }, name, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	var join []string
	c.mu.Lock()
	for _, other := range c.nodes {
		join = append(join, fmt.Sprintf("%s:%d", other.host, gossipPort))
	}
	c.mu.Unlock()
	ln := listen(c.net, fmt.Sprintf("%s:%d", m.host, rpcPort))
	return &node.ClusterConfig{
		Identity: id, Listener: ln, Dial: ln.dial, RPC: ln.Addr().String(), HTTP: m.host + ":8420", Version: "test",
		Gossip: gossip.Config{Transport: c.net.Listen(fmt.Sprintf("%s:%d", m.host, gossipPort)), Join: join},
		Expect: c.o.Expect, RebuildAfter: c.o.RebuildAfter,
	}
}

// Open starts a node as a configuration says.
func (c *Cluster) Open(ctx context.Context, cfg node.CoreConfig) error {
	core, err := node.Open(ctx, cfg)
	if err != nil {
		return err
	}
	m := c.member(cfg.Name)
	c.mu.Lock()
	defer c.mu.Unlock()
	m.core = core
	return nil
}

// Start starts nodes, all at once, and returns when they serve.
func (c *Cluster) Start(names ...string) {
	c.t.Helper()
	c.ends.Wait() // nothing may be left of a process that was killed
	for _, name := range names {
		c.member(name) // so that they find each other
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for _, name := range names {
		cfg := c.Config(name, false)
		all.Go(func() {
			if err := c.Open(ctx, cfg); err != nil {
				c.t.Errorf("node %s: %v", name, err)
			}
		})
	}
	all.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// take takes a node that runs out of the cluster.
func (c *Cluster) take(name string) (*member, *node.Core) {
	c.t.Helper()
	core, m := c.Core(name), c.member(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	m.core = nil
	return m, core
}

// enter returns a node for one request, which ends with leave; ok is false where
// it does not run.
func (c *Cluster) enter(name string) (core *node.Core, leave func(), ok bool) {
	m := c.member(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.core == nil {
		return nil, nil, false
	}
	m.busy++
	return m.core, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		m.busy--
	}, true
}

// Stop ends a node as SIGTERM does: requests that were begun are finished.
func (c *Cluster) Stop(name string) {
	c.t.Helper()
	core := c.Core(name)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	core.Leave(ctx)
	m, _ := c.take(name)
	c.Await(20*time.Second, "the last requests", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return m.busy == 0
	})
	if err := core.Close(ctx); err != nil {
		c.t.Errorf("stop %s: %v", name, err)
	}
}

// Kill ends a node as a power failure does. It can be started again.
func (c *Cluster) Kill(name string) {
	c.t.Helper()
	m, core := c.take(name)
	m.dead.Store(true)
	c.mu.Lock()
	c.cuts[[2]string{m.host, ""}] = true
	m.disk = m.disk.Crash(0, 1)
	c.mu.Unlock()
	// What is left of the process can do no harm, and has to end some time.
	c.ends.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := core.Close(ctx); err != nil {
			c.o.Logger.Info("the remains of a killed node", "on", name, "err", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.cuts, [2]string{m.host, ""})
	})
}

// Cut lets nothing pass from one node to another any more; "" is any other.
func (c *Cluster) Cut(from, to string) { c.setCut(from, to, true) }

// Heal undoes Cut.
func (c *Cluster) Heal(from, to string) { c.setCut(from, to, false) }

func (c *Cluster) setCut(from, to string, cut bool) {
	hosts := [2]string{c.member(from).host, ""}
	if to != "" {
		hosts[1] = c.member(to).host
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts[hosts] = cut
}

// passes says whether the network carries something.
func (c *Cluster) passes(from, to string) bool {
	a, _, _ := net.SplitHostPort(from)
	b, _, _ := net.SplitHostPort(to)
	c.mu.Lock()
	defer c.mu.Unlock()
	return a == b || !c.cuts[[2]string{a, b}] && !c.cuts[[2]string{a, ""}] && !c.cuts[[2]string{b, ""}]
}

// close ends all.
func (c *Cluster) close() {
	var all sync.WaitGroup
	for _, name := range c.Names() {
		_, core := c.take(name)
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := core.Close(ctx); err != nil {
				c.t.Errorf("close %s: %v", name, err)
			}
		})
	}
	all.Wait()
	c.ends.Wait()
	c.Provider.Close()
}

// fence keeps a dead process from the provider.
type fence struct {
	dead *atomic.Bool
	http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (f fence) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.dead.Load() {
		return nil, net.ErrClosed
	}
	return f.RoundTripper.RoundTrip(r)
}

// Settle returns when every node that runs is ready.
func (c *Cluster) Settle() {
	c.t.Helper()
	c.Await(time.Minute, "all nodes to be ready", func() bool {
		for _, name := range c.Names() {
			if c.Core(name).Ready(context.Background()) != nil {
				return false
			}
		}
		return true
	})
}

// Await returns when ok does.
func (c *Cluster) Await(most time.Duration, what string, ok func() bool) {
	c.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !ok(); <-tick.C {
		if time.Since(begin) > most {
			c.t.Fatalf("waited %v in vain for %s", most, what)
		}
	}
}

// MetaLeader is who leads the meta group, as a node has it.
func (c *Cluster) MetaLeader(at string) (name string, term uint64) {
	return c.Core(at).MetaLeader()
}
