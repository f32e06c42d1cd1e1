package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// Limits of what a registry holds: all of it is kept in memory.
const (
	MaxIntegrations = 10_000
	MaxKeys         = 100_000
)

// ErrFull is wrapped by credential.ErrInvalid errors about these limits.
var ErrFull = errors.New("registry is full")

// Sealer seals client secrets.
type Sealer interface {
	Seal(ctx context.Context, label credential.Label, s credential.Secret) (credential.Sealed, error)
	Open(ctx context.Context, label credential.Label, sealed credential.Sealed) (credential.Secret, error)
}

// Config is what a Registry is made of.
type Config struct {
	KV      KV
	Catalog *catalog.Catalog
	Sealer  Sealer
	Logger  *slog.Logger
	// Changed, where set, is called with the id of each integration that was
	// written, on whatever node. It must not block.
	Changed func(integration string)
}

// Registry is the node's view of the replicated registry, in memory. Methods
// may be called concurrently.
type Registry struct {
	kv      KV
	catalog *catalog.Catalog
	sealer  Sealer
	log     *slog.Logger
	changed func(string)

	integrations sync.Map // id -> *Integration
	keys         sync.Map // id -> *Key
	counts       struct{ integrations, keys atomic.Int64 }

	// One goroutine copies keys from the store to memory, so that an older
	// value never overwrites a newer one.
	mu      sync.Mutex
	dirty   map[string]struct{}
	all     bool            // everything may have changed
	waiting []chan struct{} // closed when what is dirty now has been read
	signal  chan struct{}
	stop    chan struct{}
	stopped chan struct{}
}

// Open reads everything and begins to follow changes. Close it before the KV.
func Open(c Config) (*Registry, error) {
	r := &Registry{
		kv: c.KV, catalog: c.Catalog, sealer: c.Sealer, log: c.Logger, changed: c.Changed,
		dirty: make(map[string]struct{}), signal: make(chan struct{}, 1),
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	r.kv.OnChange(r.note) // before reading, so that nothing in between is missed
	if err := r.readAll(); err != nil {
		return nil, fmt.Errorf("read the registry: %w", err)
	}
	go r.follow()
	return r, nil
}

// Close ends the following of changes.
func (r *Registry) Close() {
	close(r.stop)
	<-r.stopped
}

// note marks keys as changed; nil: all. It does not block.
func (r *Registry) note(keys []string) {
	r.mu.Lock()
	if keys == nil {
		r.all = true
	}
	for _, k := range keys {
		if strings.HasPrefix(k, prefixIntegration) || strings.HasPrefix(k, prefixKey) {
			r.dirty[k] = struct{}{}
		}
	}
	r.mu.Unlock()
	r.wake()
}

func (r *Registry) wake() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// catchUp returns when all that was written before is in memory.
func (r *Registry) catchUp(ctx context.Context, key string) {
	done := make(chan struct{})
	r.mu.Lock()
	r.dirty[key] = struct{}{}
	r.waiting = append(r.waiting, done)
	r.mu.Unlock()
	r.wake()
	select {
	case <-done:
	case <-r.stopped:
	case <-ctx.Done():
	}
}

func (r *Registry) follow() {
	defer close(r.stopped)
	for {
		select {
		case <-r.stop:
			return
		case <-r.signal:
		}
		r.mu.Lock()
		dirty, all, waiting := r.dirty, r.all, r.waiting
		r.dirty, r.all, r.waiting = make(map[string]struct{}), false, nil
		r.mu.Unlock()
		if all {
			if err := r.readAll(); err != nil {
				r.log.Error("registry could not be read", "err", err)
			}
		}
		for key := range dirty {
			r.read(key)
		}
		for _, done := range waiting {
			close(done)
		}
	}
}

// read copies one key to memory.
func (r *Registry) read(key string) {
	value, rev, err := r.kv.Get(key)
	if err != nil && !errors.Is(err, credential.ErrNotFound) {
		r.log.Error("registry entry could not be read", "key", key, "err", err)
		return
	}
	if err := r.remember(key, value, rev); err != nil {
		r.log.Error("registry entry cannot be used", "key", key, "err", err)
	}
}

func (r *Registry) readAll() error {
	seen := make(map[string]struct{})
	for _, prefix := range []string{prefixIntegration, prefixKey} {
		err := r.kv.Scan(prefix, func(key string, value []byte, rev uint64) error {
			seen[key] = struct{}{}
			if err := r.remember(key, value, rev); err != nil {
				r.log.Error("registry entry cannot be used", "key", key, "err", err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	forget := func(prefix string, m *sync.Map) {
		m.Range(func(id, _ any) bool {
			if _, ok := seen[prefix+id.(string)]; !ok {
				_ = r.remember(prefix+id.(string), nil, 0)
			}
			return true
		})
	}
	forget(prefixIntegration, &r.integrations)
	forget(prefixKey, &r.keys)
	return nil
}

// remember puts an entry into memory; rev 0: it is gone.
func (r *Registry) remember(key string, value []byte, rev uint64) error {
	if id, ok := strings.CutPrefix(key, prefixKey); ok {
		if rev == 0 {
			swap(&r.keys, id, nil, &r.counts.keys)
			return nil
		}
		k, err := decodeKey(id, value)
		if err == nil {
			k.rev = rev
			swap(&r.keys, id, k, &r.counts.keys)
		}
		return err
	}
	id := strings.TrimPrefix(key, prefixIntegration)
	if rev == 0 {
		swap(&r.integrations, id, nil, &r.counts.integrations)
	} else {
		in, err := r.decodeIntegration(id, value)
		if err != nil {
			return err
		}
		in.rev = rev
		swap(&r.integrations, id, in, &r.counts.integrations)
	}
	if r.changed != nil {
		r.changed(id)
	}
	return nil
}

// swap sets or, with nil, deletes an entry, and keeps the count.
func swap(m *sync.Map, id string, v any, count *atomic.Int64) {
	if v == nil {
		if _, had := m.LoadAndDelete(id); had {
			count.Add(-1)
		}
		return
	}
	if _, had := m.Swap(id, v); !had {
		count.Add(1)
	}
}

// invalid says that a request cannot be fulfilled as it is.
func invalid(format string, args ...any) error {
	return &credential.Unavailable{Err: credential.ErrInvalid, Reason: fmt.Sprintf(format, args...)}
}
