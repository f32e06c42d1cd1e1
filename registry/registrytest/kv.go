// Package registrytest has a store of keys and values in memory, for tests.
//
// It promises what registry.KV asks for, and lets a test come between reading
// and writing. It leaves durability and replication to the real store.
package registrytest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/grantd/grantd/credential"
)

// KV is a registry.KV in memory, of which any number of registries can be
// opened as if each were on a node of its own. The zero value is empty. It is
// safe for concurrent use.
type KV struct {
	// Before, where set, is called before each write, with no lock held: it may
	// write itself, so that the write comes too late, or refuse it. Set it
	// before the KV is used.
	Before func(key string) error
	// BeforeGet, where set, is called before each Get and may fail it. Set it
	// before the KV is used.
	BeforeGet func(key string) error

	mu      sync.Mutex
	last    uint64
	entries map[string]entry
	events  []credential.Event
	changed []func([]string)
}

type entry struct {
	value []byte
	rev   uint64
}

// Get implements registry.KV.
func (kv *KV) Get(key string) ([]byte, uint64, error) {
	if kv.BeforeGet != nil {
		if err := kv.BeforeGet(key); err != nil {
			return nil, 0, err
		}
	}
	kv.mu.Lock()
	defer kv.mu.Unlock()
	e, ok := kv.entries[key]
	if !ok {
		return nil, 0, credential.ErrNotFound
	}
	return bytes.Clone(e.value), e.rev, nil
}

// Scan implements registry.KV.
func (kv *KV) Scan(prefix string, fn func(string, []byte, uint64) error) error {
	kv.mu.Lock()
	entries := maps.Clone(kv.entries)
	kv.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		if err := fn(key, bytes.Clone(entries[key].value), entries[key].rev); err != nil {
			return err
		}
	}
	return nil
}

// Put implements registry.KV.
func (kv *KV) Put(_ context.Context, key string, expect uint64, value []byte) (uint64, error) {
	return kv.write(key, expect, func() { kv.entries[key] = entry{bytes.Clone(value), kv.last} })
}

// PutAndTell implements registry.KV.
func (kv *KV) PutAndTell(_ context.Context, key string, expect uint64, value []byte, events []credential.Event) (uint64, error) {
	return kv.write(key, expect, func() {
		kv.entries[key] = entry{bytes.Clone(value), kv.last}
		kv.events = append(kv.events, events...)
	})
}

// Emit implements registry.KV.
func (kv *KV) Emit(_ context.Context, events ...credential.Event) error {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	kv.events = append(kv.events, events...)
	return nil
}

// Events returns what the outbox holds, oldest first.
func (kv *KV) Events() []credential.Event {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	return slices.Clone(kv.events)
}

// Delete implements registry.KV.
func (kv *KV) Delete(_ context.Context, key string, expect uint64) error {
	_, err := kv.write(key, expect, func() { delete(kv.entries, key) })
	return err
}

func (kv *KV) write(key string, expect uint64, do func()) (uint64, error) {
	if kv.Before != nil {
		if err := kv.Before(key); err != nil {
			return 0, err
		}
	}
	kv.mu.Lock()
	if kv.entries == nil {
		kv.entries = make(map[string]entry)
	}
	if kv.entries[key].rev != expect {
		kv.mu.Unlock()
		return 0, credential.ErrConflict
	}
	kv.last++
	rev := kv.last
	do()
	kv.mu.Unlock()
	kv.Tell([]string{key})
	return rev, nil
}

// OnChange implements registry.KV. Every fn is called.
func (kv *KV) OnChange(fn func([]string)) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	kv.changed = append(kv.changed, fn)
}

// Tell says that keys were written; nil: that any may have been.
func (kv *KV) Tell(keys []string) {
	kv.mu.Lock()
	changed := slices.Clone(kv.changed)
	kv.mu.Unlock()
	for _, fn := range changed {
		fn(keys)
	}
}
