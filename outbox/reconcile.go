package outbox

import (
	"context"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

// reconcile brings what the group knows of end points to what the registry says:
// new ones get a standing, deleted ones are forgotten, and it is noted when one
// is disabled and enabled.
func (g *group) reconcile(ctx context.Context) error {
	t := g.begin()
	back := g.ledger.Cursor // the lowest After of those that begin
	seen := make(map[string]bool)
	for _, e := range g.d.registry.Endpoints() {
		seen[e.ID] = true
		after, begins, err := g.adjust(t, e)
		if err != nil {
			return err
		}
		if begins {
			back = min(back, after)
		}
	}
	for id, s := range g.standings {
		if !seen[id] && g.d.registry.Gone(id, s.Seen) {
			t.step.Purge = append(t.step.Purge, id)
		}
	}
	if len(t.standings) == 0 && len(t.step.Purge) == 0 {
		return nil
	}
	if back < g.ledger.Cursor {
		// The outbox is read once more from there, by those that begin only.
		for id := range g.standings {
			if s := g.standings[id]; seen[id] && s.After < g.ledger.Cursor && t.standings[id] == nil {
				t.standing(id).After = g.ledger.Cursor
			}
		}
		g.ledger.Cursor = back
	}
	if err := t.commit(ctx); err != nil {
		return err
	}
	for _, id := range t.step.Purge {
		if t.standings[id] == nil {
			delete(g.standings, id)
			delete(g.lanes, id)
		}
	}
	g.figure()
	return nil
}

// adjust changes an end point's standing where the registry says so. begins
// reports that it gets events from after on, which may be behind the cursor.
func (g *group) adjust(t *tally, e *delivery.Endpoint) (after uint64, begins bool, err error) {
	s := g.standings[e.ID]
	if s != nil && s.Incarnation != e.Incarnation {
		if e.Revision <= s.Seen {
			return 0, false, nil // this node's registry is behind; it will be told
		}
		t.step.Purge = append(t.step.Purge, e.ID)
		s = nil
	}
	switch {
	case s == nil && !e.Enabled, s != nil && s.Off && !e.Enabled, s != nil && !s.Off && e.Enabled:
		if s == nil && g.standings[e.ID] != nil { // it was made anew, and is disabled
			*t.standing(e.ID) = delivery.Standing{Webhook: e.ID, Incarnation: e.Incarnation, Seen: e.Revision, Off: true, After: g.ledger.Cursor}
		}
		return 0, false, nil
	case s != nil && !e.Enabled:
		off := t.standing(e.ID)
		off.Off, off.After = true, max(off.After, g.ledger.Cursor)
		return 0, false, nil
	}
	if after, err = g.before(e.Since); err != nil {
		return 0, false, err
	}
	if s == nil {
		*t.standing(e.ID) = delivery.Standing{Webhook: e.ID, Incarnation: e.Incarnation, Seen: e.Revision, After: after}
		return after, true, nil
	}
	on := t.standing(e.ID)
	on.Off, on.After = false, max(on.After, after)
	g.lane(e.ID).lookAgain(time.Time{})
	return on.After, true, nil
}

// before is the position of the newest event that is older than since.
func (g *group) before(since time.Time) (pos uint64, err error) {
	first, _, err := g.store.EventBounds()
	if err != nil {
		return 0, err
	}
	pos = uint64(first) - 1
	for at := credential.EventPos(0); ; {
		events, err := g.store.Events(at, maxEvents)
		if err != nil {
			return 0, err
		}
		for _, e := range events {
			if at = e.Pos; e.Event.At.Before(since) {
				pos = uint64(e.Pos)
			}
		}
		if len(events) < maxEvents {
			return pos, nil
		}
	}
}
