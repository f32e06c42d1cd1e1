package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage/storagepb"
)

// AppendEvent is the part of a batch that adds an event to the group's outbox.
func AppendEvent(e *credential.Event) Append {
	return Append{Prefix: []byte{tagEvent}, Value: encodeEvent(e), Keep: OutboxEvents}
}

// Events returns up to limit events after the given position, in order. It
// finds its place at once, however many older events were dropped.
func (g *Group) Events(after credential.EventPos, limit int) ([]credential.StoredEvent, error) {
	if limit <= 0 {
		return nil, nil
	}
	first, last, err := g.EventBounds()
	if err != nil || after >= last {
		return nil, err
	}
	// The meta group has keys of other kinds, too, which may sort close by.
	prefix := []byte{tagEvent}
	lo, hi := appendNumber(prefix, uint64(max(after+1, first))), appendNumber(prefix, uint64(last)+1)
	var events []credential.StoredEvent
	err = g.Scan(lo, hi, func(key, value []byte, rev uint64) (bool, error) {
		if len(key) != 1+8 {
			return false, damaged("key of the outbox", fmt.Errorf("%d bytes", len(key)))
		}
		e, err := decodeEvent(value)
		if err != nil {
			return false, err
		}
		events = append(events, credential.StoredEvent{Pos: credential.EventPos(binary.BigEndian.Uint64(key[1:])), Revision: rev, Event: e})
		return len(events) < limit, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	return events, nil
}

// EventBounds returns the positions of the oldest event that is kept and of the
// newest one; 1 and 0 for an outbox that never had one.
func (g *Group) EventBounds() (first, last credential.EventPos, err error) {
	b := storagepb.ListBounds{First: 1}
	err = g.view([]byte{tagEvent}, func(v []byte, _ uint64) error { return decodeBounds(v, &b) })
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return credential.EventPos(b.First), credential.EventPos(b.Last), err
}
