package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage/storagepb"
)

// EventPos is an event's place in its shard's outbox: 1 for the first, and each
// later one has one more, in the order in which they were committed, the same
// on every node. 0 is before the first. A gap between the position read last
// and the next one tells how many events were dropped unread.
type EventPos uint64

// StoredEvent is an event in the outbox.
type StoredEvent struct {
	Pos EventPos
	// Revision is the index of the entry that brought the event: the revision of
	// the account's record at that moment.
	Revision uint64
	Event    credential.Event
}

// Events returns up to limit events after the given position, in order. It
// finds its place at once, however many older events were dropped.
func (g *Group) Events(after EventPos, limit int) ([]StoredEvent, error) {
	if limit <= 0 || after == ^EventPos(0) {
		return nil, nil
	}
	first, _, err := g.EventBounds()
	if err != nil {
		return nil, err
	}
	prefix := []byte{tagEvent}
	lo := appendNumber(prefix, uint64(max(after+1, first)))
	var events []StoredEvent
	err = g.Scan(lo, prefixEnd(prefix), func(key, value []byte, rev uint64) (bool, error) {
		if len(key) != 1+8 {
			return false, damaged("key of the outbox", fmt.Errorf("%d bytes", len(key)))
		}
		e, err := decodeEvent(value)
		if err != nil {
			return false, err
		}
		events = append(events, StoredEvent{EventPos(binary.BigEndian.Uint64(key[1:])), rev, e})
		return len(events) < limit, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	return events, nil
}

// EventBounds returns the positions of the oldest event that is kept and of the
// newest one; 1 and 0 for an outbox that never had one.
func (g *Group) EventBounds() (first, last EventPos, err error) {
	b := storagepb.ListBounds{First: 1}
	err = g.view([]byte{tagEvent}, func(v []byte, _ uint64) error { return decodeBounds(v, &b) })
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return EventPos(b.First), EventPos(b.Last), err
}
