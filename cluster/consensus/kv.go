package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// KV is the meta group seen as keys and values with revisions. Every value has
// the revision of its last write; revisions of a key only grow, and 0 means that
// the key does not exist. Reads are of this node's replica: after a write of
// this node has returned they show it, and on a node that follows they may lag
// behind the leader. While the group is not open on this node, everything fails
// with credential.ErrNotOwner. It is safe for concurrent use.
type KV struct{ h *Host }

// KV returns the meta group as keys and values. It stays good whether the group
// is open, closed, or opened again.
func (h *Host) KV() *KV { return &KV{h} }

// Get returns a copy of a value and its revision, or credential.ErrNotFound.
func (kv *KV) Get(key string) (value []byte, rev uint64, err error) {
	g, err := kv.h.open(MetaGroup)
	if err != nil {
		return nil, 0, err
	}
	value, rev, err = g.state.Get([]byte(key))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, 0, fmt.Errorf("%w: key %q", credential.ErrNotFound, key)
	}
	return value, rev, err
}

// Scan calls fn with every key that begins with prefix, in order, as they stood
// when Scan was called, until fn returns an error, which Scan then returns. fn
// may keep key and value.
func (kv *KV) Scan(prefix string, fn func(key string, value []byte, rev uint64) error) error {
	g, err := kv.h.open(MetaGroup)
	if err != nil {
		return err
	}
	lo := []byte(prefix)
	return g.state.Scan(lo, prefixEnd(lo), func(key, value []byte, rev uint64) (bool, error) {
		return true, fn(string(key), bytes.Clone(value), rev)
	})
}

// prefixEnd returns the lowest key above all that begin with prefix; nil: none is.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

// Put writes a value if the key is at the expected revision (0: if it does not
// exist) and returns its new one. Errors are those of [Group.Propose];
// credential.ErrConflict: the key is at another revision.
func (kv *KV) Put(ctx context.Context, key string, expect uint64, value []byte) (rev uint64, err error) {
	return kv.write(ctx, key, expect, storage.Batch{Puts: []storage.Put{{Key: []byte(key), Value: value}}})
}

// PutAndTell writes a value as Put does and adds events to the group's outbox,
// in one entry: both are done, or neither. Errors are those of Put.
func (kv *KV) PutAndTell(ctx context.Context, key string, expect uint64, value []byte, events []credential.Event) (rev uint64, err error) {
	return kv.write(ctx, key, expect, storage.Batch{Puts: []storage.Put{{Key: []byte(key), Value: value}}, Appends: appends(events)})
}

// Emit adds events to the group's outbox. Errors are those of [Group.Propose].
func (kv *KV) Emit(ctx context.Context, events ...credential.Event) error {
	if len(events) == 0 {
		return nil
	}
	if _, err := kv.propose(ctx, storage.Batch{Appends: appends(events)}); err != nil {
		return fmt.Errorf("add %d events: %w", len(events), err)
	}
	return nil
}

func appends(events []credential.Event) []storage.Append {
	all := make([]storage.Append, len(events))
	for i := range events {
		all[i] = storage.AppendEvent(&events[i])
	}
	return all
}

// Delete removes a key if it is at the expected revision; errors as of [KV.Put].
func (kv *KV) Delete(ctx context.Context, key string, expect uint64) error {
	_, err := kv.write(ctx, key, expect, storage.Batch{Deletes: [][]byte{[]byte(key)}})
	return err
}

// DeleteAll removes keys in one entry: all of them, or none and
// credential.ErrConflict where one is not at its revision. It is for a bounded
// number of keys, on the node that leads the group. Errors as of [KV.Put].
func (kv *KV) DeleteAll(ctx context.Context, revisions map[string]uint64) error {
	if len(revisions) == 0 {
		return nil
	}
	var b storage.Batch
	for _, key := range slices.Sorted(maps.Keys(revisions)) {
		b.Checks = append(b.Checks, storage.Check{Key: []byte(key), Revision: revisions[key]})
		b.Deletes = append(b.Deletes, []byte(key))
	}
	if _, err := kv.propose(ctx, b); err != nil {
		return fmt.Errorf("delete %d keys: %w", len(revisions), err)
	}
	return nil
}

func (kv *KV) write(ctx context.Context, key string, expect uint64, b storage.Batch) (uint64, error) {
	b.Checks = []storage.Check{{Key: []byte(key), Revision: expect}}
	rev, err := kv.propose(ctx, b)
	if err != nil {
		return 0, fmt.Errorf("write key %q: %w", key, err)
	}
	return rev, nil
}

func (kv *KV) propose(ctx context.Context, b storage.Batch) (rev uint64, err error) {
	g, err := kv.h.open(MetaGroup)
	if err != nil {
		return 0, err
	}
	data, err := b.Encode()
	if err != nil {
		return 0, err
	}
	r, err := g.Propose(ctx, data)
	if err != nil {
		return 0, err
	}
	return r.Index, nil
}

// OnChange has fn called with the keys that were written, by whatever node,
// before a writer on this node gets its answer; nil: any key may have changed.
// fn must not block or write. Only the newest fn is called. To fill a cache,
// call OnChange first and read then, or a write in between is missed. The group
// need not be open yet.
func (kv *KV) OnChange(fn func(keys []string)) {
	onApply := func(keys [][]byte) {
		if keys == nil {
			fn(nil)
			return
		}
		names := make([]string, len(keys))
		for i, k := range keys {
			names[i] = string(k)
		}
		fn(names)
	}
	kv.h.metaChanged.Store(&onApply)
}
