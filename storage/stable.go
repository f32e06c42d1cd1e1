package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Stable keeps what raft must remember through a crash: term and vote. Every
// Set returns when it is synced.
type Stable struct {
	db    *pebble.DB
	group uint16
}

// Stable returns the group's stable values.
func (g *Group) Stable() *Stable { return &Stable{g.db.pdb, g.id} }

// Set stores a value.
func (s *Stable) Set(name, value []byte) error {
	if err := s.db.Set(stableKey(s.group, name), value, pebble.Sync); err != nil {
		return fmt.Errorf("stable value %q of group %d: %w", name, s.group, err)
	}
	return nil
}

// Get returns a copy of a value; nil, and no error, for one never set.
func (s *Stable) Get(name []byte) ([]byte, error) {
	v, closer, err := s.db.Get(stableKey(s.group, name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stable value %q of group %d: %w", name, s.group, err)
	}
	return bytes.Clone(v), closer.Close()
}

// SetUint64 stores a number.
func (s *Stable) SetUint64(name []byte, n uint64) error {
	return s.Set(name, binary.BigEndian.AppendUint64(nil, n))
}

// GetUint64 returns a number; 0 for one never set.
func (s *Stable) GetUint64(name []byte) (uint64, error) {
	v, err := s.Get(name)
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, damaged(fmt.Sprintf("stable value %q of group %d", name, s.group), fmt.Errorf("%d bytes are no number", len(v)))
	}
	return binary.BigEndian.Uint64(v), nil
}
