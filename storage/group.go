package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/storage/storagepb"
)

// Group is the key space of one raft group: its log, its stable values, and
// its replicated state. Reads may run at any time beside each other and beside
// one writer; Begin, Apply and Import have one caller at a time between them.
type Group struct {
	db      *DB
	id      uint16
	log     atomic.Pointer[Log]
	applied atomic.Pointer[Applied]
}

// ID returns the group's number.
func (g *Group) ID() uint16 { return g.id }

// Applied says up to which entry of the log the state has come, and which
// configuration was the newest then. Its Conf is shared: do not change it.
type Applied struct {
	Index, Term uint64
	ConfIndex   uint64 // index of the entry that brought Conf
	Conf        []byte // raft's configuration, as it was handed to Apply
}

// Applied returns up to where the state has come; zero for a new group.
func (g *Group) Applied() (Applied, error) {
	if a := g.applied.Load(); a != nil {
		return *a, nil
	}
	a, err := g.readApplied()
	if err != nil {
		return Applied{}, err
	}
	// An Apply may have been faster: its value is newer than the one read.
	g.applied.CompareAndSwap(nil, &a)
	return *g.applied.Load(), nil
}

func (g *Group) readApplied() (Applied, error) {
	v, closer, err := g.db.pdb.Get(appliedKey(g.id))
	if errors.Is(err, pebble.ErrNotFound) {
		return Applied{}, nil
	}
	if err != nil {
		return Applied{}, fmt.Errorf("applied index of group %d: %w", g.id, err)
	}
	defer func() { _ = closer.Close() }()
	return decodeApplied(v)
}

// Begin sets where the state of a new group begins, as if an entry at a.Index
// had been applied, and returns when that is synced. The group must not have
// applied anything.
func (g *Group) Begin(a Applied) error {
	v, err := encodeApplied(a)
	if err == nil {
		err = g.db.pdb.Set(appliedKey(g.id), v, pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("begin group %d: %w", g.id, err)
	}
	g.applied.Store(&a)
	return nil
}

func encodeApplied(a Applied) ([]byte, error) {
	return proto.Marshal(&storagepb.AppliedRecord{Index: a.Index, Term: a.Term, ConfIndex: a.ConfIndex, Conf: a.Conf})
}

func decodeApplied(v []byte) (Applied, error) {
	var p storagepb.AppliedRecord
	if err := proto.Unmarshal(v, &p); err != nil {
		return Applied{}, damaged("applied index", err)
	}
	return Applied{Index: p.Index, Term: p.Term, ConfIndex: p.ConfIndex, Conf: p.Conf}, nil
}

// revLen is the length of the header of a stored value: the index of the entry
// that wrote it, big endian.
const revLen = 8

func splitValue(stored []byte) (value []byte, rev uint64, err error) {
	if len(stored) < revLen {
		return nil, 0, damaged("stored value", fmt.Errorf("%d bytes are too few for its revision", len(stored)))
	}
	return stored[revLen:], binary.BigEndian.Uint64(stored), nil
}

// Get returns a copy of the value of a key of the state, and its revision: the
// index of the entry that wrote it. The error is ErrNotFound where there is none.
func (g *Group) Get(key []byte) (value []byte, rev uint64, err error) {
	err = g.view(key, func(v []byte, r uint64) error {
		value, rev = bytes.Clone(v), r
		return nil
	})
	return value, rev, err
}

// view calls fn with the value of the key, which is good only until fn returns.
func (g *Group) view(key []byte, fn func(value []byte, rev uint64) error) error {
	full := appendStateKey(make([]byte, 0, groupKeyLen+1+len(key)), g.id, key)
	stored, closer, err := g.db.pdb.Get(full)
	if errors.Is(err, pebble.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("read from group %d: %w", g.id, err)
	}
	defer func() { _ = closer.Close() }()
	value, rev, err := splitValue(stored)
	if err != nil {
		return err
	}
	return fn(value, rev)
}

// Scan calls fn with the keys from lo up to, but without, hi, in order, as
// they stood when Scan was called, until fn returns false or an error. hi nil:
// to the end. Key and value are good only until fn returns.
func (g *Group) Scan(lo, hi []byte, fn func(key, value []byte, rev uint64) (more bool, err error)) error {
	it, err := g.iter(lo, hi)
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		more, err := visit(it, fn)
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !more {
			break
		}
	}
	return it.Close() // reports the iterator's error, too
}

// visit calls fn with what the iterator stands on.
func visit(it *pebble.Iterator, fn func(key, value []byte, rev uint64) (bool, error)) (bool, error) {
	stored, err := it.ValueAndErr()
	if err != nil {
		return false, err
	}
	value, rev, err := splitValue(stored)
	if err != nil {
		return false, err
	}
	return fn(it.Key()[groupKeyLen+1:], value, rev)
}

// iter returns an iterator over keys of the state; hi nil: to the end.
func (g *Group) iter(lo, hi []byte) (*pebble.Iterator, error) {
	upper := stateEnd(g.id)
	if hi != nil {
		upper = appendStateKey(nil, g.id, hi)
	}
	it, err := g.db.pdb.NewIter(&pebble.IterOptions{LowerBound: appendStateKey(nil, g.id, lo), UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("read from group %d: %w", g.id, err)
	}
	return it, nil
}
