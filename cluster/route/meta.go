package route

import (
	"context"
	"errors"
	"time"

	"github.com/grantd/grantd/credential"
)

// MetaStore is this node's copy of the meta group: see registry.KV, whose
// methods these are. Put and Delete work where this node leads the group; else
// they answer credential.ErrNotOwner.
type MetaStore interface {
	Get(key string) (value []byte, rev uint64, err error)
	Scan(prefix string, fn func(key string, value []byte, rev uint64) error) error
	Put(ctx context.Context, key string, expect uint64, value []byte) (rev uint64, err error)
	PutAndTell(ctx context.Context, key string, expect uint64, value []byte, events []credential.Event) (rev uint64, err error)
	Emit(ctx context.Context, events ...credential.Event) error
	Delete(ctx context.Context, key string, expect uint64) error
	OnChange(fn func(keys []string))
}

// MetaPeers writes at another node: see rpc.Peers.
type MetaPeers interface {
	Put(ctx context.Context, node, key string, expect uint64, value []byte) (rev uint64, err error)
	PutAndTell(ctx context.Context, node, key string, expect uint64, value []byte, events []credential.Event) (rev uint64, err error)
	Emit(ctx context.Context, node string, events ...credential.Event) error
	Delete(ctx context.Context, node, key string, expect uint64) error
}

// MetaConfig is what a Meta is made of.
type MetaConfig struct {
	Self  string // this node's name
	Store MetaStore
	Peers MetaPeers
	// Leader is who leads the meta group as far as this node knows, and in which
	// term; empty: it knows none. It must not block.
	Leader func() (node string, term uint64)
	// Wait bounds writes whose context has no deadline. Default 30 s.
	Wait time.Duration
}

// Meta is the meta group as keys and values that any node can write: it has the
// methods of registry.KV. Reads are of this node's copy; a write goes to the
// leader, once, and returns when the copy shows it, or, where the copy lags by
// more than the caller's time, when it is committed.
type Meta struct {
	MetaStore
	peers  MetaPeers
	router *Router // knows one shard: the group
}

// NewMeta returns a Meta.
func NewMeta(c MetaConfig) *Meta {
	r := New(Config{Self: c.Self, Shards: 1, Leader: func(int) (string, uint64) { return c.Leader() }, Wait: c.Wait})
	return &Meta{MetaStore: c.Store, peers: c.Peers, router: r}
}

// Counters returns the live counters.
func (m *Meta) Counters() *Counters { return m.router.Counters() }

// Put writes a value if the key is at the expected revision and returns the new
// one; see registry.KV.
func (m *Meta) Put(ctx context.Context, key string, expect uint64, value []byte) (uint64, error) {
	return m.put(ctx, key, &request[uint64]{
		local: func(ctx context.Context) (uint64, error) { return m.MetaStore.Put(ctx, key, expect, value) },
		remote: func(ctx context.Context, node string) (uint64, error) {
			return m.peers.Put(ctx, node, key, expect, value)
		},
	})
}

// PutAndTell writes a value and adds events, in one write; see registry.KV. A
// leader of a version that knows no events refuses both, with
// rpc.ErrUnimplemented.
func (m *Meta) PutAndTell(ctx context.Context, key string, expect uint64, value []byte, events []credential.Event) (uint64, error) {
	return m.put(ctx, key, &request[uint64]{
		local: func(ctx context.Context) (uint64, error) {
			return m.MetaStore.PutAndTell(ctx, key, expect, value, events)
		},
		remote: func(ctx context.Context, node string) (uint64, error) {
			return m.peers.PutAndTell(ctx, node, key, expect, value, events)
		},
	})
}

func (m *Meta) put(ctx context.Context, key string, q *request[uint64]) (uint64, error) {
	ctx, cancel := m.router.bounded(ctx)
	defer cancel()
	rev, err := change(ctx, m.router, q)
	if err == nil {
		m.await(ctx, key, func(have uint64) bool { return have >= rev })
	}
	return rev, err
}

// Emit adds events; see registry.KV.
func (m *Meta) Emit(ctx context.Context, events ...credential.Event) error {
	ctx, cancel := m.router.bounded(ctx)
	defer cancel()
	_, err := change(ctx, m.router, &request[struct{}]{
		repeat: twice, // whoever reads them drops doubles
		local: func(ctx context.Context) (struct{}, error) {
			return struct{}{}, m.MetaStore.Emit(ctx, events...)
		},
		remote: func(ctx context.Context, node string) (struct{}, error) {
			return struct{}{}, m.peers.Emit(ctx, node, events...)
		},
	})
	return err
}

// Delete removes a key if it is at the expected revision; see registry.KV.
func (m *Meta) Delete(ctx context.Context, key string, expect uint64) error {
	ctx, cancel := m.router.bounded(ctx)
	defer cancel()
	_, err := change(ctx, m.router, &request[struct{}]{
		local: func(ctx context.Context) (struct{}, error) {
			return struct{}{}, m.MetaStore.Delete(ctx, key, expect)
		},
		remote: func(ctx context.Context, node string) (struct{}, error) {
			return struct{}{}, m.peers.Delete(ctx, node, key, expect)
		},
	})
	if err == nil {
		m.await(ctx, key, func(have uint64) bool { return have != expect })
	}
	return err
}

const (
	// lagMost is how long a write waits for the copy at most.
	lagMost = 2 * time.Second
	lagLook = time.Millisecond // between the first two looks; it doubles
)

// await looks at the copy until the key is at a revision that will do; 0: it is
// not there. A key that another node deleted meanwhile is waited for in vain.
func (m *Meta) await(ctx context.Context, key string, will func(have uint64) bool) {
	ctx, cancel := context.WithTimeout(ctx, lagMost)
	defer cancel()
	for wait := lagLook; ; wait = min(2*wait, 32*lagLook) {
		_, have, err := m.Get(key)
		if err != nil && !errors.Is(err, credential.ErrNotFound) {
			return
		}
		if will(have) || !sleep(ctx, wait) {
			return
		}
	}
}
