package storage

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Journal is this node's own notebook, not replicated: sealed answers of
// providers that are not yet known to be committed.
//
// What is forgotten goes with the next write, or when the store is closed:
// until then a crash brings it back, so whoever reads the journal after a
// restart asks of each note whether it is still of use.
type Journal struct {
	db *pebble.DB

	mu        sync.Mutex
	forgotten map[string]struct{} // hidden, and to be deleted with the next write
}

// maxForgotten bounds the notes that wait to be deleted.
const maxForgotten = 256

func newJournal(db *pebble.DB) *Journal {
	return &Journal{db: db, forgotten: make(map[string]struct{})}
}

func journalKey(key string) []byte { return append([]byte{tagJournal}, key...) }

// Begin notes a value and begins to sync it. It returns at once, so that what
// depends on the value can be proposed in the same breath and be synced with
// it; wait returns when the value is safe, and must be called.
func (j *Journal) Begin(key string, value []byte) (wait func() error, err error) {
	b := j.db.NewBatch()
	j.mu.Lock()
	delete(j.forgotten, key)
	err = j.deleteForgotten(b)
	j.mu.Unlock()
	if err := errors.Join(err, b.Set(journalKey(key), value, nil), j.db.ApplyNoSyncWait(b, pebble.Sync)); err != nil {
		return nil, fmt.Errorf("journal: %w", errors.Join(err, b.Close()))
	}
	return func() error {
		if err := errors.Join(b.SyncWait(), b.Close()); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		return nil
	}, nil
}

// deleteForgotten moves what was forgotten into a batch. j.mu is held.
func (j *Journal) deleteForgotten(b *pebble.Batch) error {
	for key := range j.forgotten {
		if err := b.Delete(journalKey(key), nil); err != nil {
			return err
		}
	}
	clear(j.forgotten)
	return nil
}

// Get returns a copy of a value, or ErrNotFound.
func (j *Journal) Get(key string) ([]byte, error) {
	if j.isForgotten(key) {
		return nil, ErrNotFound
	}
	v, closer, err := j.db.Get(journalKey(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return append([]byte{}, v...), closer.Close()
}

func (j *Journal) isForgotten(key string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, yes := j.forgotten[key]
	return yes
}

// Delete forgets a value; it need not exist.
func (j *Journal) Delete(key string) error {
	j.mu.Lock()
	j.forgotten[key] = struct{}{}
	full := len(j.forgotten) >= maxForgotten
	j.mu.Unlock()
	if full {
		return j.flush()
	}
	return nil
}

// flush deletes what was forgotten. It needs no sync: what comes back after a
// crash does no harm.
func (j *Journal) flush() error {
	b := j.db.NewBatch()
	j.mu.Lock()
	err := j.deleteForgotten(b)
	j.mu.Unlock()
	if err == nil {
		err = b.Commit(pebble.NoSync)
	}
	if err := errors.Join(err, b.Close()); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Each calls fn with every note, in the order of the keys, as they stood when
// Each was called, until fn returns false or an error. The caller owns value.
func (j *Journal) Each(fn func(key string, value []byte) (more bool, err error)) error {
	it, err := j.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tagJournal}, UpperBound: []byte{tagJournal + 1}})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		key := string(it.Key()[1:])
		if j.isForgotten(key) {
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		more, err := fn(key, bytes.Clone(v))
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !more {
			break
		}
	}
	return it.Close()
}
