package consensus

import (
	"fmt"

	"github.com/grantd/grantd/credential"
)

// Outbox is the outbox of one group as this node's replica has it: that of a
// shard, or of [MetaGroup]. It stays good whether the group is open, closed, or
// opened again; while it is not open on this node, reads fail with
// credential.ErrNotOwner. Positions are the same on every node; on one that
// follows, the newest events may be missing for a while. It is safe for
// concurrent use.
type Outbox struct {
	h  *Host
	id uint16
}

// Outbox returns the outbox of a group, open or not; nil where no group has
// that number.
func (h *Host) Outbox(group uint16) *Outbox {
	if group != MetaGroup && int(group) >= h.cfg.Shards {
		return nil
	}
	return &Outbox{h, group}
}

// Group returns the number of the group.
func (o *Outbox) Group() uint16 { return o.id }

// Events returns up to limit events after a position, in order.
func (o *Outbox) Events(after credential.EventPos, limit int) ([]credential.StoredEvent, error) {
	g, err := o.h.open(o.id)
	if err != nil {
		return nil, err
	}
	events, err := g.state.Events(after, limit)
	if err != nil {
		return nil, fmt.Errorf("outbox of group %d: %w", o.id, err)
	}
	return events, nil
}

// Bounds returns the positions of the oldest event that is kept and of the
// newest one; 1 and 0 for an outbox that never had one.
func (o *Outbox) Bounds() (first, last credential.EventPos, err error) {
	g, err := o.h.open(o.id)
	if err != nil {
		return 0, 0, err
	}
	if first, last, err = g.state.EventBounds(); err != nil {
		return 0, 0, fmt.Errorf("outbox of group %d: %w", o.id, err)
	}
	return first, last, nil
}

// Grown returns a channel that is closed when there may be more to read: events
// were added, whoever proposed them, or the group was opened or replaced as a
// whole. Ask for it before reading, or what is added in between is missed. Who
// no longer waits has nothing to give back, and any number of events that come
// close together are one notice.
func (o *Outbox) Grown() <-chan struct{} { return o.h.grown[o.h.bellOf(o.id)].listen() }

// bellOf is the place of a group's bell among the Host's: that of the meta group
// is the last one.
func (h *Host) bellOf(group uint16) int { return min(int(group), len(h.grown)-1) }
