package storage

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Local holds records of this node alone, not replicated: which store this is,
// which cluster it belongs to, what the node has promised. They are few and
// small.
type Local struct{ db *pebble.DB }

// Local returns this node's own records.
func (db *DB) Local() *Local { return &Local{db.pdb} }

func localKey(name string) []byte { return append([]byte{tagLocal}, name...) }

// Save stores a record and returns when it is synced. It is ordered with all
// other writes of the store: what was written before it, synced or not, is safe
// then, too.
func (l *Local) Save(name string, value []byte) error {
	if err := l.db.Set(localKey(name), value, pebble.Sync); err != nil {
		return fmt.Errorf("local record %q: %w", name, err)
	}
	return nil
}

// Load returns a copy of a record; nil, and no error, for one never saved.
func (l *Local) Load(name string) ([]byte, error) {
	v, closer, err := l.db.Get(localKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("local record %q: %w", name, err)
	}
	return append([]byte{}, v...), closer.Close()
}
