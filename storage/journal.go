package storage

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Journal is this node's own notebook, not replicated: sealed answers of
// providers that are not yet known to be committed. Its writes are not synced
// by themselves, but they stand before every later write in the same
// write-ahead log: once any later synced write (the log entry that proposes
// the answer, say) has returned, they are safe, too.
type Journal struct{ db *pebble.DB }

func journalKey(key string) []byte { return append([]byte{tagJournal}, key...) }

// Put notes a value.
func (j *Journal) Put(key string, value []byte) error {
	if err := j.db.Set(journalKey(key), value, pebble.NoSync); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Sync returns when everything put or deleted before is safe.
func (j *Journal) Sync() error {
	if err := j.db.LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Get returns a copy of a value, or ErrNotFound.
func (j *Journal) Get(key string) ([]byte, error) {
	v, closer, err := j.db.Get(journalKey(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return append([]byte{}, v...), closer.Close()
}

// Delete removes a value; it need not exist.
func (j *Journal) Delete(key string) error {
	if err := j.db.Delete(journalKey(key), pebble.NoSync); err != nil {
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
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		more, err := fn(string(it.Key()[1:]), bytes.Clone(v))
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !more {
			break
		}
	}
	return it.Close()
}
