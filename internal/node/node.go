package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/internal/config"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/wire"
)

// Options are what Start needs besides the configuration.
type Options struct {
	// Config is validated and complete.
	Config config.Config
	// Version of the build, for the metrics.
	Version string
	Logger  *slog.Logger
	// Timing of raft between nodes; zero: that of a cluster. Machines that are
	// often too busy to answer in time want more.
	Timing consensus.Timing
}

// Node is a running node. Close it, also after Failed has told of an end.
type Node struct {
	core     *Core
	version  string
	server   *http.Server
	handler  atomic.Pointer[http.Handler]
	listener net.Listener
	visitors *visitors
	closing  atomic.Bool // readiness ends before the listener does
	last     atomic.Bool // the listener has ended, and connections are to
	failed   chan error
	served   chan struct{}
}

// Start starts a node and returns when it serves. While it waits for other nodes
// of its cluster, until ctx ends, its probes are answered. The admin key's file
// must exist.
func Start(ctx context.Context, o Options) (*Node, error) {
	c := o.Config
	o.Logger = slog.New(httpapi.LogHandler(o.Logger.Handler())) // lines about a request name it
	ln, err := listen(c.HTTP)
	if err != nil {
		return nil, err
	}
	n := &Node{version: o.Version, listener: ln, visitors: newVisitors(), failed: make(chan error, 1), served: make(chan struct{})}
	n.answer(httpapi.Starting(o.Logger))
	n.server = httpapi.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.last.Load() {
			w.Header().Set("Connection", "close") // the next request goes elsewhere
		}
		(*n.handler.Load()).ServeHTTP(w, r)
	}))
	n.server.ReadHeaderTimeout, n.server.IdleTimeout = c.HTTP.ReadHeaderTimeout, c.HTTP.IdleTimeout
	n.server.ConnState = n.visitors.note
	n.server.ErrorLog = slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug)
	go n.serve()
	if err := n.start(ctx, o); err != nil {
		err = errors.Join(err, n.server.Close())
		<-n.served
		return nil, err
	}
	return n, nil
}

// start starts what is behind the API.
func (n *Node) start(ctx context.Context, o Options) error {
	core, err := openCore(ctx, o, n.publicURL(o.Config.HTTP), n.fail)
	if err != nil {
		return err
	}
	n.core = core
	if err := n.ensureAdmin(ctx, o.Config.Auth.AdminKeyFile, o.Logger); err != nil {
		return errors.Join(err, core.Close(context.WithoutCancel(ctx)))
	}
	n.answer(n.api(o))
	return nil
}

// publicURL is where browsers reach this node, as far as it was told or can know.
func (n *Node) publicURL(c config.HTTP) string {
	switch {
	case c.PublicURL != "":
		return c.PublicURL
	case c.TLS.Enabled():
		return "https://" + n.Addr()
	default:
		return "http://" + n.Addr()
	}
}

// answer makes h answer requests from now on.
func (n *Node) answer(h http.Handler) { n.handler.Store(&h) }

func listen(c config.HTTP) (net.Listener, error) {
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("http.listen: %w", err)
	}
	if !c.TLS.Enabled() {
		return ln, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("http.tls: %w", err), ln.Close())
	}
	return tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	}), nil
}

// openCore makes what lies on the real disk and the real network.
func openCore(ctx context.Context, o Options, public string, failed func(error)) (*Core, error) {
	c := o.Config
	if err := os.MkdirAll(c.Node.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("node.data_dir: %w", err)
	}
	store := filepath.Join(c.Node.DataDir, "store")
	_, statErr := os.Stat(store)
	kek, err := envelope.OpenKEK(c.Seal.KEK, errors.Is(statErr, os.ErrNotExist)) // a lost key must not be replaced beside data
	if err != nil {
		return nil, fmt.Errorf("seal.kek: %w", err)
	}
	allow, err := c.Outgoing.Allowed()
	if err != nil {
		return nil, err
	}
	hook, err := failpoint()
	if err != nil {
		return nil, err
	}
	cluster, err := clusterConfig(c, o.Version, o.Logger)
	if err != nil {
		return nil, err
	}
	if cluster != nil {
		cluster.Timing = o.Timing
	}
	return Open(ctx, CoreConfig{
		Cluster: cluster, Failed: failed, PublicURL: public,
		Name: c.Node.Name, Dir: store, Shards: c.Cluster.Shards, KEK: kek, Policy: policy(c.Refresh), CatalogDir: c.Catalog.Dir,
		FS:        faultyDisk(),
		Transport: transport(allow, c.Refresh.Concurrency), WebhookTransport: transport(allow, webhookConns),
		TellRefreshes: c.Events.Refreshed, Logger: o.Logger, Failpoint: hook,
	})
}

// webhookConns is far more than the attempts that end points of one host may have
// under way: none of them waits for another.
const webhookConns = 1024

// transport reaches public addresses and those that the configuration allows,
// with a connection for each request that may be in flight to one host.
func transport(allow []config.Allow, concurrency int) *http.Transport {
	exceptions := make([]oauth.Exception, len(allow))
	for i, a := range allow {
		exceptions[i] = oauth.Exception(a)
	}
	return oauth.NewTransport(oauth.TransportOptions{Allow: exceptions, ConnsPerHost: concurrency})
}

// policy is the configuration's section on refreshing in the actors' words.
func policy(r config.Refresh) actors.Policy {
	return actors.Policy{
		MarginMin: r.MarginMin, MarginMax: r.MarginMax, ShortLifetime: r.ShortLifetime, AssumedLifetime: r.AssumedLifetime,
		CallTimeout: r.CallTimeout, CommitTimeout: r.CommitTimeout, BackoffMin: r.BackoffMin, BackoffMax: r.BackoffMax,
		MaxRetryAfter: r.MaxRetryAfter, Refusals: r.Refusals, UncertainHold: r.UncertainHold,
		Concurrency: r.Concurrency, ShardConcurrency: r.ShardConcurrency, MaxWaiting: r.MaxWaiting,
		PassivateAfter: r.PassivateAfter, RefreshTokenWarning: r.RefreshTokenWarning,
	}
}

// ensureAdmin makes the key in the file the admin key, of the whole cluster.
func (n *Node) ensureAdmin(ctx context.Context, file string, log *slog.Logger) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("auth.admin_key_file: %w", err)
	}
	r, text := n.core.Registry, strings.TrimSpace(string(b))
	had := slices.ContainsFunc(r.Keys(), func(k *registry.Key) bool { return k.ID == registry.AdminKeyID })
	_, same := r.Authenticate(text)
	if err := r.EnsureAdmin(ctx, credential.NewSecret(text), []string{wire.PermAdmin}); err != nil {
		return fmt.Errorf("auth.admin_key_file %s: %w", file, err)
	}
	if had && !same && n.core.cluster != nil {
		log.Warn("the admin key of the cluster is now the one in this node's file; give every node the same, or the node that starts last decides", "file", file)
	}
	return nil
}

func (n *Node) api(o Options) http.Handler {
	reg := newRegistry(o.Version)
	reg.MustRegister(actorFigures(n.core.Actors.Counters(), n.core.Actors.OpenCircuits), storeFigures(n.core.db.Metrics), shardFigures(n.core.host), feedFigures(n.core.Feed.Counters()), webhookFigures(n.core.Webhooks))
	if n.core.cluster != nil {
		reg.MustRegister(n.core.cluster.figures())
	}
	return httpapi.New(httpapi.Deps{
		Accounts: n.core.Accounts(), Integrations: apiIntegrations{n.core.Registry, n.core.provider.keeper}, Keys: apiKeys{n.core.Registry},
		Events: n.core.Feed, Webhooks: apiWebhooks{n.core}, Providers: newAPIProviders(n.core.Registry, n.core.Catalog), Connect: n.core.Connect, Cluster: n.cluster, RemoveNode: n.removeNode,
		Metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}), Ready: n.ready,
	}, httpapi.Options{Logger: o.Logger, Registerer: prometheus.Registerer(reg)})
}

func (n *Node) ready(ctx context.Context) error {
	if n.closing.Load() {
		return errors.New("the node is stopping")
	}
	return n.core.Ready(ctx)
}

// cluster describes the cluster as this node sees it.
func (n *Node) cluster(ctx context.Context) (wire.Cluster, error) {
	if n.core.cluster != nil {
		return n.core.cluster.describe(ctx), nil
	}
	name := n.core.name
	c := wire.Cluster{Nodes: []wire.Node{{ID: name, Addr: n.Addr(), State: wire.NodeAlive, Version: n.version}}, Shards: []wire.Shard{}}
	for id := range n.core.host.Shards() {
		owner, term := n.core.Owner(id)
		if owner == name {
			c.Nodes[0].ShardsOwned++
		}
		c.Shards = append(c.Shards, wire.Shard{ID: id, Owner: owner, Term: term, Replicas: []string{name}})
	}
	return c, nil
}

// removeNode takes a node out of the cluster for good.
func (n *Node) removeNode(ctx context.Context, id string) (wire.NodeRemoval, error) {
	switch {
	case n.core.cluster != nil:
		return n.core.cluster.remove(ctx, id)
	case id == n.core.name:
		return wire.NodeRemoval{}, httpapi.ErrLastNode
	}
	return wire.NodeRemoval{}, fmt.Errorf("node %s: %w", id, credential.ErrNotFound)
}

func (n *Node) serve() {
	defer close(n.served)
	if err := n.server.Serve(n.listener); !errors.Is(err, http.ErrServerClosed) && !n.closing.Load() {
		n.fail(fmt.Errorf("the API's listener stopped: %w", err))
	}
}

// fail has Failed tell of an end; of several, of the first.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// Addr is the address that the API listens on.
func (n *Node) Addr() string { return n.listener.Addr().String() }

// Failed tells when the node cannot go on; then Close it.
func (n *Node) Failed() <-chan error { return n.failed }

// drainFor is how long a node of a cluster answers on when it is no longer ready,
// so that a load balancer which looks every second sends it nothing any more.
const drainFor = 2 * time.Second

// lingerFor is how long it then waits for connections that are kept alive to be
// used once more, and end with that.
const lingerFor = time.Second

// Close ends the node in order: it is no longer ready, what it owns is handed
// over while it goes on answering, requests in flight are finished, then
// refreshes under way, then raft and the store are closed. What is not finished
// when ctx ends is cut off.
func (n *Node) Close(ctx context.Context) error {
	n.closing.Store(true)
	drained, linger := time.After(drainFor), time.Duration(0)
	n.leave(ctx)
	if n.core.cluster != nil {
		linger = lingerFor
		select {
		case <-drained:
		case <-ctx.Done():
		}
	}
	err := n.listener.Close() // who comes now is refused, and asks another node
	if errors.Is(err, net.ErrClosed) {
		err = nil // it has failed
	}
	<-n.served
	n.last.Store(true)  // not before: callers would connect anew, while the listener closes
	n.core.Feed.Close() // who reads events goes on at another node
	n.visitors.wait(ctx, linger)
	if cut := n.server.Shutdown(ctx); cut != nil {
		err = errors.Join(err, fmt.Errorf("requests were cut off: %w", cut), n.server.Close())
	}
	return errors.Join(err, n.core.Close(ctx))
}

// leave hands over what the node owns, in half of the time that there is.
func (n *Node) leave(ctx context.Context) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	n.core.Leave(ctx)
}
