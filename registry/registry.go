package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// Limits of what a registry holds: all of it is kept in memory. Requests at the
// same time may exceed them by a few.
const (
	MaxIntegrations = 10_000
	MaxKeys         = 100_000
	MaxWebhooks     = 1_000
)

// ErrFull is wrapped by credential.ErrInvalid errors about these limits.
var ErrFull = errors.New("registry is full")

// Sealer seals client secrets and signing secrets.
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
	// written or deleted after Open, on whatever node, once reads show it.
	// Several writes in a row may be one call. It must not block: it runs on the
	// goroutine that keeps the registry up to date.
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

	// Values are replaced, never changed. Reading them takes no lock, and a
	// change costs the same whether there are ten or 100,000.
	integrations sync.Map // id -> *Integration
	keys         sync.Map // id -> *Key
	providers    sync.Map // id -> *provider, those defined by the API
	webhooks     sync.Map // name -> *Webhook
	counts       struct{ integrations, keys, providers, webhooks atomic.Int64 }
	endpoints    endpoints
	nobody       *Key // has the hash of no text that anybody has

	// One goroutine copies keys from the store to memory, so that an older
	// value never overwrites a newer one.
	mu      sync.Mutex
	dirty   map[string]struct{} // at most maxDirty
	all     bool                // everything may have changed
	waiting []chan struct{}     // closed when what is dirty now has been read
	signal  chan struct{}
	close   sync.Once
	stop    chan struct{}
	stopped chan struct{}
}

const (
	// maxDirty bounds the list of keys to read again; beyond it all are read.
	maxDirty = 4096
	// readAgain is when a key that could not be read is tried once more.
	readAgain = time.Second
)

// Open reads everything and begins to follow changes. Close it before the KV.
func Open(c Config) (*Registry, error) {
	r := &Registry{
		kv: c.KV, catalog: c.Catalog, sealer: c.Sealer, log: c.Logger, nobody: nobodysKey(),
		dirty: make(map[string]struct{}), signal: make(chan struct{}, 1),
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	r.kv.OnChange(r.note) // before reading, so that nothing in between is missed
	if err := r.readAll(); err != nil {
		return nil, fmt.Errorf("read the registry: %w", err)
	}
	r.changed = c.Changed
	go r.follow()
	return r, nil
}

// Close ends the following of changes. Reads go on showing what was last seen.
func (r *Registry) Close() {
	r.close.Do(func() { close(r.stop) })
	<-r.stopped
}

// note marks keys as changed; nil: all. It does not block.
func (r *Registry) note(keys []string) {
	if r.mark(keys) {
		r.wake()
	}
}

// mark puts keys on the list of those to read, and says whether there is any
// of the registry's among them.
func (r *Registry) mark(keys []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = r.all || keys == nil
	for _, k := range keys {
		if slices.ContainsFunc(remembered, func(prefix string) bool { return strings.HasPrefix(k, prefix) }) {
			r.dirty[k] = struct{}{}
		}
	}
	if len(r.dirty) > maxDirty {
		clear(r.dirty)
		r.all = true
	}
	return r.all || len(r.dirty) > 0
}

func (r *Registry) wake() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// catchUp returns when this node's write of a key is in memory.
func (r *Registry) catchUp(ctx context.Context, key string) {
	done := make(chan struct{})
	r.mark([]string{key})
	r.mu.Lock()
	r.waiting = append(r.waiting, done)
	r.mu.Unlock()
	r.wake()
	select {
	case <-done:
	case <-r.stopped:
	case <-ctx.Done():
	}
}

// follow reads what was marked, until the registry is closed.
func (r *Registry) follow() {
	defer close(r.stopped)
	retry := time.NewTimer(readAgain)
	defer retry.Stop()
	retry.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-r.signal:
		case <-retry.C:
		}
		if failed := r.readMarked(); failed {
			retry.Reset(readAgain)
		}
	}
}

// readMarked reads what was marked. What cannot be read stays marked.
func (r *Registry) readMarked() (failed bool) {
	r.mu.Lock()
	dirty, all, waiting := r.dirty, r.all, r.waiting
	r.dirty, r.all, r.waiting = make(map[string]struct{}), false, nil
	r.mu.Unlock()
	if all {
		if err := r.readAll(); err != nil {
			r.log.Error("registry could not be read", "err", err)
			r.mark(nil)
			failed = true
		}
	}
	for key := range dirty {
		if err := r.read(key); err != nil {
			r.log.Error("registry entry could not be read", "key", key, "err", err)
			r.mark([]string{key})
			failed = true
		}
	}
	for _, done := range waiting {
		close(done)
	}
	return failed
}

// read copies one key to memory.
func (r *Registry) read(key string) error {
	value, rev, err := r.kv.Get(key)
	if err != nil && !errors.Is(err, credential.ErrNotFound) {
		return err
	}
	r.remember(key, value, rev)
	return nil
}

func (r *Registry) readAll() error {
	seen := make(map[string]struct{})
	for _, prefix := range remembered {
		err := r.kv.Scan(prefix, func(key string, value []byte, rev uint64) error {
			seen[key] = struct{}{}
			r.remember(key, value, rev)
			return nil
		})
		if err != nil {
			return err
		}
	}
	forget := func(prefix string, m *sync.Map) {
		m.Range(func(id, _ any) bool {
			if _, ok := seen[prefix+id.(string)]; !ok {
				r.remember(prefix+id.(string), nil, 0)
			}
			return true
		})
	}
	forget(prefixProvider, &r.providers)
	forget(prefixIntegration, &r.integrations)
	forget(prefixKey, &r.keys)
	forget(prefixWebhook, &r.webhooks)
	return nil
}

// remember puts an entry into memory; rev 0: it is gone. One that cannot be
// read is left as it was.
func (r *Registry) remember(key string, value []byte, rev uint64) {
	var err error
	if id, ok := strings.CutPrefix(key, prefixKey); ok {
		err = r.rememberKey(id, value, rev)
	} else if id, ok := strings.CutPrefix(key, prefixProvider); ok {
		err = r.rememberProvider(id, value, rev)
	} else if name, ok := strings.CutPrefix(key, prefixWebhook); ok {
		err = r.rememberWebhook(name, value, rev)
	} else {
		err = r.rememberIntegration(strings.TrimPrefix(key, prefixIntegration), value, rev)
	}
	if err != nil {
		r.log.Error("registry entry cannot be used", "key", key, "err", err)
	}
}

func (r *Registry) rememberKey(id string, value []byte, rev uint64) error {
	if rev == 0 {
		swap(&r.keys, id, nil, &r.counts.keys)
		return nil
	}
	k, err := decodeKey(id, value)
	if err == nil {
		swap(&r.keys, id, k, &r.counts.keys)
	}
	return err
}

func (r *Registry) rememberIntegration(id string, value []byte, rev uint64) error {
	old, had := r.Integration(id)
	switch {
	case rev == 0 && !had, had && old.rev == rev:
		return nil // seen already
	case rev == 0:
		swap(&r.integrations, id, nil, &r.counts.integrations)
	default:
		return r.takeIntegration(id, value, rev)
	}
	if r.changed != nil {
		r.changed(id)
	}
	return nil
}

// takeIntegration puts an integration into memory, resolved by what is known of
// its provider now.
func (r *Registry) takeIntegration(id string, value []byte, rev uint64) error {
	in, err := r.decodeIntegration(id, value)
	if err != nil {
		return err
	}
	if in.unusable {
		r.log.Error("integration cannot be used", "integration", id, "reason", in.Reason)
	}
	in.rev = rev
	swap(&r.integrations, id, in, &r.counts.integrations)
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

// remove deletes a key, or fails with credential.ErrNotFound.
func (r *Registry) remove(ctx context.Context, key string) error {
	return again(ctx, func() error {
		_, rev, err := r.kv.Get(key)
		if err == nil {
			err = r.kv.Delete(ctx, key, rev)
		}
		if err == nil {
			r.catchUp(ctx, key)
		}
		return err
	})
}

// invalid says in one line that a request cannot be fulfilled as it is.
func invalid(format string, args ...any) error {
	return &refusal{fmt.Errorf(format, args...)}
}

// refusal is a credential.ErrInvalid with its reason.
type refusal struct{ reason error }

// Error describes the problem in one line.
func (e *refusal) Error() string {
	return credential.ErrInvalid.Error() + ": " + strings.ReplaceAll(e.reason.Error(), "\n", "; ")
}

// Unwrap returns the sentinel and the reason.
func (e *refusal) Unwrap() []error { return []error{credential.ErrInvalid, e.reason} }
