package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/oauth"
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
	Policy actors.Policy
	// Transport carries the requests to providers.
	Transport http.RoundTripper
	Logger    *slog.Logger
	// Fatal ends the process after a disk fault; see storage.Options.
	Fatal func(reason string)
	// Failpoint is for fault tests; see actors.Config.
	Failpoint func(actors.Point)
	// Cluster makes the node one of a cluster; nil: it is alone.
	Cluster *ClusterConfig
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

	name    string
	boot    string // tells this start of the process from all others
	db      *storage.DB
	host    *consensus.Host
	kv      registry.KV // the meta group
	cluster *cluster    // nil: the node is alone
	outside http.RoundTripper
	log     *slog.Logger
	led     atomic.Int64
	groups  int64
	ready   chan struct{} // closed when every group was led once
	closing chan struct{} // closed to end the following of leadership
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
	facts, err := catalog.Load()
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
		Catalog: facts, name: c.Name, boot: newBoot(), db: db, log: c.Logger, outside: c.Transport,
		ready: make(chan struct{}), closing: make(chan struct{}), spare: make([]byte, spareBytes),
	}
	if err := core.start(ctx, c); err != nil {
		return nil, errors.Join(err, core.Close(context.WithoutCancel(ctx)))
	}
	return core, nil
}

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
	if err := checkCluster(ctx, core.kv, c, core.host.Shards()); err != nil {
		return err
	}
	core.Sealer = envelope.New(c.KEK, registry.Keysets{KV: core.kv})
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
	if err := core.startActors(c); err != nil {
		return err
	}
	fn := core.Actors.Resume
	resume.Store(&fn)
	if core.cluster != nil {
		core.cluster.serve(serviceKeys{core.Registry})
	}
	core.follows = make(chan struct{})
	go core.follow(led)
	if core.cluster != nil {
		return nil // it serves what it can, and Ready says what it cannot
	}
	select {
	case <-core.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("node %s leads only %d of %d groups after %v", c.Name, core.led.Load(), core.groups, startTimeout)
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
	core.groups = int64(core.host.Shards()) + 1
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
		Sealer: core.Sealer, Provider: &provider{core.Registry, oauth.New(c.Transport, oauth.Options{})},
		Integrations: integrations{core.Registry}, Journal: journal{core.db.Journal()},
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
			return nil, fmt.Errorf("no leader of the meta group within %v", startTimeout)
		}
	}
}

// checkCluster compares what was fixed when the data was made with what the
// configuration says now.
func checkCluster(ctx context.Context, kv registry.KV, c CoreConfig, shards int) error {
	stored, err := registry.Setting(ctx, kv, "shards", func() ([]byte, error) {
		return binary.BigEndian.AppendUint16(nil, uint16(shards)), nil
	})
	if err != nil {
		return err
	}
	if len(stored) != 2 || int(binary.BigEndian.Uint16(stored)) != shards {
		return fmt.Errorf("the data in %s has %d shards and the configuration says %d; set cluster.shards back: the number is fixed when the data is made", c.Dir, binary.BigEndian.Uint16(append(stored, 0, 0)), shards)
	}
	proof, err := registry.Setting(ctx, kv, "kek_proof", c.KEK.Proof)
	if err != nil {
		return err
	}
	return c.KEK.Check(proof)
}

// follow hands gains and losses of leadership to the actors, in order, until
// the core is closed.
func (core *Core) follow(seen []consensus.LeaderChange) {
	defer close(core.follows)
	led := make(map[uint16]bool)
	complete := false
	handle := func(c consensus.LeaderChange) {
		core.changed(c)
		led[c.Group] = c.Leading
		core.led.Store(count(led))
		if !complete && core.groups > 0 && core.led.Load() == core.groups {
			complete = true
			close(core.ready)
		}
	}
	for _, c := range seen {
		handle(c)
	}
	for {
		select {
		case c, ok := <-core.host.Leadership():
			if !ok {
				return
			}
			handle(c)
		case <-core.closing:
			return
		}
	}
}

func count(led map[uint16]bool) (n int64) {
	for _, on := range led {
		if on {
			n++
		}
	}
	return n
}

func (core *Core) changed(c consensus.LeaderChange) {
	if core.cluster != nil {
		defer core.cluster.poke()
	}
	switch {
	case c.Group == consensus.MetaGroup:
	case c.Leading:
		core.Actors.Lead(int(c.Group), c.Term)
	default:
		core.Actors.Yield(int(c.Group))
	}
}

// Ready says why the node cannot serve now; nil: it can.
func (core *Core) Ready(context.Context) error {
	if core.cluster != nil {
		return core.cluster.ready()
	}
	if led := core.led.Load(); led < core.groups {
		return fmt.Errorf("%d of %d groups have a leader here", led, core.groups)
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

// Leave hands over what this node leads, where another node can lead it, and
// returns when that is done, or ctx ends. The node goes on answering.
func (core *Core) Leave(ctx context.Context) {
	if core.cluster != nil {
		core.cluster.leave(ctx)
	}
}

// Close ends the core in order: actors, what connects it to other nodes, the
// registry, raft, the store. Refreshes under way are finished until ctx ends;
// what comes after may take closeReserve longer, each.
func (core *Core) Close(ctx context.Context) error {
	close(core.closing)
	if core.follows != nil {
		<-core.follows
	}
	if core.Actors != nil {
		core.Actors.Stop(ctx)
	}
	var left error
	if core.cluster != nil {
		left = withReserve(ctx, core.cluster.closeBefore)
	}
	if t, ok := core.outside.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	if core.Registry != nil {
		core.Registry.Close()
	}
	if core.host != nil {
		if err := withReserve(ctx, core.host.Close); err != nil {
			return errors.Join(left, err) // raft may still use the store, which stands being left open as it stands a crash
		}
	}
	if core.cluster != nil {
		left = errors.Join(left, withReserve(ctx, core.cluster.closePort))
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
