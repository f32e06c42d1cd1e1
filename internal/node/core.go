package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/cluster/placement"
	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/connect"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/feed"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/outbox"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/storage"
)

// CoreConfig is what the core of a node is made of.
type CoreConfig struct {
	Name string
	// Dir is the folder of the store on FS; FS nil: the disk.
	Dir    string
	FS     vfs.FS
	Shards int
	KEK    *envelope.KEK
	// CatalogDir is the operator's own folder of providers; empty: none.
	CatalogDir string
	Policy     actors.Policy
	// PublicURL is the base of connect links; see connect.Config.
	PublicURL string
	// Transport carries the requests to providers, and WebhookTransport the
	// messages to end points of webhooks; nil: Transport does.
	Transport, WebhookTransport http.RoundTripper
	// Webhooks are the times and bounds of webhooks.
	Webhooks outbox.Policy
	// TellRefreshes has every refresh told in the event stream, and not only to
	// webhooks that want to hear of it.
	TellRefreshes bool
	Logger        *slog.Logger
	// Fatal ends the process after a disk fault; see storage.Options.
	Fatal func(reason string)
	// Failpoint is for fault tests; see actors.Config.
	Failpoint func(actors.Point)
	// Cluster makes the node one of a cluster; nil: it is alone.
	Cluster *ClusterConfig
	// Failed, where set, is called when the core cannot go on; it is then to be
	// closed. It must not block.
	Failed func(error)
}

func (c CoreConfig) fs() vfs.FS {
	if c.FS == nil {
		return vfs.Default
	}
	return c.FS
}

func (c CoreConfig) spoolDir() string { return c.fs().PathJoin(c.Dir, "spool") }

// Core is a node without its listeners.
type Core struct {
	Actors   *actors.System
	Registry *registry.Registry
	Catalog  *catalog.Catalog
	Sealer   *envelope.Sealer
	// Feed is the event stream of the whole cluster.
	Feed *feed.Feed
	// Webhooks delivers the events of the groups that this node owns.
	Webhooks *outbox.Dispatcher

	Connect *connect.Connect

	provider *provider
	endSweep context.CancelFunc // nil: it did not begin
	sweeping sync.WaitGroup

	name    string
	boot    string // tells this start of the process from all others
	db      *storage.DB
	host    *consensus.Host
	kv      registry.KV // the meta group
	cluster *cluster    // nil: the node is alone
	outside []http.RoundTripper
	log     *slog.Logger
	led     lead
	closing chan struct{} // closed to end the following of leadership and of outboxes
	follows chan struct{} // closed when it has ended; nil: it did not begin

	// spare is never touched, so that it takes no memory; but the garbage
	// collector, which runs when the heap has doubled, counts it. Without it a
	// node's heap is so small beside what it allocates that it is collected
	// twenty times a second.
	spare []byte
}

const spareBytes = 96 << 20

// startTimeout bounds how long a node may take to lead its first group.
const startTimeout = 30 * time.Second

// Open starts the core of a node and returns when it serves. Errors say in one
// line what is wrong with the data or its key.
func Open(ctx context.Context, c CoreConfig) (*Core, error) {
	c.Shards = cmp.Or(c.Shards, consensus.DefaultShards)
	facts, err := catalogue(c.CatalogDir)
	if err != nil {
		return nil, errors.Join(err, c.Cluster.discard())
	}
	options := storage.Options{FS: c.FS, Logger: c.Logger, Fatal: c.Fatal}
	if c.Cluster != nil {
		options.StallLimit = clusterStallLimit
	}
	db, err := storage.Open(c.Dir, options)
	if err != nil {
		return nil, errors.Join(err, c.Cluster.discard())
	}
	core := &Core{
		Catalog: facts, name: c.Name, boot: newBoot(), db: db, log: c.Logger, outside: []http.RoundTripper{c.Transport, c.WebhookTransport},
		led: lead{all: make(chan struct{})}, closing: make(chan struct{}), spare: make([]byte, spareBytes),
	}
	if err := core.start(ctx, c); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failedClose)
		defer cancel()
		return nil, errors.Join(err, core.Close(ctx))
	}
	return core, nil
}

// failedClose bounds how long the end of a core takes that could not start.
const failedClose = 10 * time.Second

func (core *Core) start(ctx context.Context, c CoreConfig) (err error) {
	var led []consensus.LeaderChange
	if c.Cluster != nil {
		err = core.join(ctx, c)
	} else {
		led, err = core.standAlone(ctx, c)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := checkCluster(ctx, core.kv, c); err != nil {
		return err
	}
	core.Sealer = envelope.New(c.KEK, keysets{registry.Keysets{KV: core.kv}, core.cluster})
	var resume atomic.Pointer[func(string)]
	core.Registry, err = registry.Open(registry.Config{
		KV: core.registryKV(), Catalog: core.Catalog, Sealer: core.Sealer, Logger: c.Logger,
		Changed: func(id string) {
			if fn := resume.Load(); fn != nil {
				(*fn)(id)
			}
		},
	})
	if err != nil {
		return err
	}
	client := oauth.New(c.Transport, oauth.Options{})
	core.provider = &provider{core.Registry, client, core.newKeeper(c, client)}
	if err := core.startActors(c); err != nil {
		return err
	}
	core.startConnect(c)
	fn := core.Actors.Resume
	resume.Store(&fn)
	core.Feed = core.newFeed()
	core.Webhooks = core.newWebhooks(c)
	if core.cluster != nil {
		core.cluster.serve(serviceKeys{core.Registry})
		core.cluster.minding.Go(core.cluster.mind)
		core.cluster.minding.Go(core.cluster.arrive)
	}
	core.follows = make(chan struct{})
	go core.follow(led)
	if core.cluster != nil {
		return nil // it serves what it can, and Ready says what it cannot
	}
	select {
	case <-core.led.all:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("node %s leads only %d of %d groups after %v", c.Name, core.led.count(), core.led.groups, startTimeout)
	}
}

// registryKV is the meta group as the registry writes it.
func (core *Core) registryKV() registry.KV {
	if core.cluster != nil {
		return spreadKV{core.kv, core.cluster}
	}
	return core.kv
}

// standAlone starts the groups of a node that is alone, and returns when it
// leads the meta group, with the leaderships that it has seen begin meanwhile.
func (core *Core) standAlone(ctx context.Context, c CoreConfig) (led []consensus.LeaderChange, err error) {
	core.host, err = consensus.Open(consensus.Config{
		Node: c.Name, Shards: c.Shards, DB: core.db, FS: c.fs(), SpoolDir: c.spoolDir(), Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	core.led.groups = core.host.Shards() + 1
	core.kv = core.host.KV()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return core.awaitMeta(ctx)
}

func (core *Core) shardOf(ref credential.Ref) int {
	return int(ring.ShardOf(ref, core.host.Shards()))
}

func (core *Core) startActors(c CoreConfig) (err error) {
	stores := make([]actors.Store, core.host.Shards())
	for i := range stores {
		stores[i] = core.host.Store(uint16(i))
	}
	var peers actors.Peers
	if core.cluster != nil {
		peers = actorPeers{core.cluster}
	}
	core.Actors, err = actors.New(actors.Config{
		Node: c.Name, Boot: core.boot, Stores: stores, ShardOf: core.shardOf, Peers: peers,
		Sealer: core.Sealer, Provider: core.provider,
		Integrations: integrations{core.Registry}, Journal: journal{core.db.Journal()}, TellsRefreshes: core.tellsRefreshes(c.TellRefreshes),
		Policy: c.Policy, Logger: c.Logger, Failpoint: c.Failpoint,
	})
	return err
}

// newBoot tells this start of the process from all others.
func newBoot() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// awaitMeta waits until this node leads the meta group, and returns the
// changes of the other groups that it saw meanwhile.
func (core *Core) awaitMeta(ctx context.Context) (seen []consensus.LeaderChange, err error) {
	for {
		select {
		case c, ok := <-core.host.Leadership():
			if !ok {
				return nil, errors.New("the raft groups stopped")
			}
			seen = append(seen, c)
			if c.Group == consensus.MetaGroup && c.Leading {
				return seen, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("this node does not lead the meta group after %v; if it was one of a cluster, set cluster.rpc", startTimeout)
		}
	}
}

// Ready says why the node cannot serve now; nil: it can.
func (core *Core) Ready(context.Context) error {
	if core.cluster != nil {
		return core.cluster.ready()
	}
	if led := core.led.count(); led < core.led.groups {
		return fmt.Errorf("%d of %d groups have a leader here", led, core.led.groups)
	}
	return nil
}

// Accounts are the accounts of the whole cluster.
func (core *Core) Accounts() httpapi.Accounts {
	if core.cluster != nil {
		return core.cluster.router.Load()
	}
	return core.Actors
}

// Owner is who leads a shard as far as this node knows, and in which term;
// empty: it knows none. Of term 0 it is the one that should.
func (core *Core) Owner(shard int) (node string, term uint64) {
	if core.cluster != nil {
		return core.cluster.leader(shard)
	}
	if g := core.host.Group(uint16(shard)); g != nil {
		node, term = g.Leader()
	}
	return node, term
}

// MetaLeader is who leads the meta group, in the same words.
func (core *Core) MetaLeader() (node string, term uint64) {
	if g := core.host.Group(consensus.MetaGroup); g != nil {
		return g.Leader()
	}
	return "", 0
}

// Placement is what decides which nodes hold what; nil: the node is alone.
func (core *Core) Placement() *placement.Placement {
	if core.cluster == nil {
		return nil
	}
	return core.cluster.placement.Load()
}

// Leave hands over what this node leads, where another node can lead it, and
// returns when that is done, or ctx ends. The node goes on answering.
func (core *Core) Leave(ctx context.Context) {
	if core.cluster != nil {
		core.stopWebhooks(ctx) // while what came of messages under way can be noted
		core.cluster.leave(ctx)
	}
}

// Close ends the core in order: event streams, webhooks, actors, what connects it to other nodes, the
// registry, raft, the store. Refreshes under way are finished until ctx ends;
// what comes after may take closeReserve longer, each.
func (core *Core) Close(ctx context.Context) error {
	close(core.closing)
	if core.Feed != nil {
		core.Feed.Close()
	}
	if core.follows != nil {
		<-core.follows
	}
	core.stopConnect()
	core.stopWebhooks(ctx)
	if core.Actors != nil {
		core.Actors.Stop(ctx)
	}
	var left error
	if core.cluster != nil {
		left = withReserve(ctx, core.cluster.closeBefore)
	}
	for _, outside := range core.outside {
		if t, ok := outside.(interface{ CloseIdleConnections() }); ok {
			t.CloseIdleConnections()
		}
	}
	if core.Registry != nil {
		core.Registry.Close()
	}
	var err error
	if core.host != nil {
		err = withReserve(ctx, core.host.Close)
	}
	if core.cluster != nil {
		left = errors.Join(left, withReserve(ctx, core.cluster.closePort))
	}
	if err != nil {
		return errors.Join(left, err) // raft may still use the store, which stands being left open as it stands a crash
	}
	return errors.Join(left, core.db.Close())
}

// closeReserve is what a part is given to stop in where the refreshes before it
// have used up the time: without a majority they do not end. It needs
// milliseconds.
const closeReserve = 5 * time.Second

// withReserve calls fn with ctx, or with closeReserve where ctx has less left.
func withReserve(ctx context.Context, fn func(context.Context) error) error {
	if end, ok := ctx.Deadline(); ctx.Err() != nil || ok && time.Until(end) < closeReserve {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeReserve)
		defer cancel()
	}
	return fn(ctx)
}
