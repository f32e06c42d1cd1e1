package outbox

import (
	"context"
	"math"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

const (
	// maxEvents bounds the events that are read at once.
	maxEvents = 256
	// maxWrites bounds the deliveries of one step, but for those of one event.
	maxWrites = 1024
	// lazily is how far the cursor may be ahead of what is written of it, over
	// events that nobody wanted.
	lazily = 1000
)

// intake makes deliveries of the events after the cursor; more reports that
// there are further ones.
func (g *group) intake(ctx context.Context) (more bool, err error) {
	wanting := g.wanting()
	if len(wanting) == 0 {
		return false, nil
	}
	if err := g.noteGap(ctx, wanting); err != nil {
		return false, err
	}
	g.ledger.Cursor = max(g.ledger.Cursor, g.lowest(wanting))
	events, err := g.store.Events(credential.EventPos(g.ledger.Cursor), maxEvents)
	if err != nil || len(events) == 0 {
		return false, err
	}
	if err := g.makeRoom(ctx, wanting, len(events)); err != nil {
		return false, err
	}
	t, now := g.begin(), time.Now().UTC()
	taken := make(map[string]map[string]bool) // end point, subject
	for i := range events {
		e := &events[i]
		if len(t.step.Writes) >= maxWrites {
			more = true
			break
		}
		g.ledger.Cursor = uint64(e.Pos)
		for _, w := range wanting {
			if uint64(e.Pos) <= g.standings[w.ID].After || !w.Wants(&e.Event) {
				continue
			}
			if err := g.take(t, w.ID, e, taken, now); err != nil {
				return false, err
			}
		}
	}
	more = more || len(events) == maxEvents
	if len(t.step.Writes) == 0 && g.ledger.Cursor < g.durable+lazily {
		return more, nil // nobody wants them: it does no harm to read them again
	}
	return more, t.commit(ctx)
}

// wanting are the end points that get events.
func (g *group) wanting() (all []*delivery.Endpoint) {
	for _, e := range g.d.registry.Endpoints() {
		if s := g.standings[e.ID]; s != nil && e.Enabled && !s.Off && s.Incarnation == e.Incarnation {
			all = append(all, e)
		}
	}
	return all
}

// lowest is the position up to which none of the end points gets events.
func (g *group) lowest(wanting []*delivery.Endpoint) uint64 {
	pos := uint64(math.MaxUint64)
	for _, e := range wanting {
		pos = min(pos, g.standings[e.ID].After)
	}
	return pos
}

// take adds a delivery of an event. It is tried at once where no other of the
// same account is pending.
func (g *group) take(t *tally, webhook string, e *credential.StoredEvent, taken map[string]map[string]bool, now time.Time) error {
	g.ledger.ListedAt = max(g.ledger.ListedAt, e.Event.At.UnixNano())
	d := &delivery.Delivery{Webhook: webhook, Place: delivery.Place{At: g.ledger.ListedAt, Pos: uint64(e.Pos)}, Event: e.Event, State: delivery.Pending}
	subject := d.Subject()
	waits := taken[webhook][subject]
	if s := g.standings[webhook]; !waits && s.Open > s.Parked {
		var err error
		if _, waits, err = g.store.FirstPending(webhook, subject, nobody); err != nil {
			return err
		}
	}
	if !waits {
		d.NextAt = now
	}
	if taken[webhook] == nil {
		taken[webhook] = make(map[string]bool)
	}
	taken[webhook][subject] = true
	t.write(nil, d)
	return nil
}

func nobody(delivery.Place) bool { return false }

// noteGap counts the events that the outbox has dropped before they were read.
// That takes more of them than an outbox keeps, while no owner could commit.
func (g *group) noteGap(ctx context.Context, wanting []*delivery.Endpoint) error {
	first, _, err := g.store.EventBounds()
	if err != nil || uint64(first) <= g.ledger.Cursor+1 {
		return err
	}
	from := max(g.ledger.Cursor, g.lowest(wanting))
	if from < uint64(first)-1 {
		missed := uint64(first) - 1 - from
		g.d.counters.Missed.Add(int64(missed))
		g.d.log.Error("events were dropped before webhooks could get them", "group", g.id, "events", missed, "positions_from", from+1)
	}
	g.ledger.Cursor = uint64(first) - 1
	return g.begin().commit(ctx)
}

// makeRoom drops the oldest open deliveries of end points that would get too many
// with n more.
func (g *group) makeRoom(ctx context.Context, wanting []*delivery.Endpoint, n int) error {
	most := g.d.policy.MaxOpen
	for _, e := range wanting {
		if over := g.standings[e.ID].Open + n - most; over > 0 {
			if err := g.drop(ctx, e.ID, over+most/100); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop forgets the oldest open deliveries of an end point, but for those under
// way.
func (g *group) drop(ctx context.Context, webhook string, n int) error {
	l := g.lane(webhook)
	for from := (delivery.Place{}); n > 0; {
		oldest, err := g.store.OldestDeliveries(webhook, true, from, min(n+len(l.flying), maxWrites))
		if err != nil || len(oldest) == 0 {
			return err
		}
		from = oldest[len(oldest)-1].Place.Next()
		t := g.begin()
		if err := g.forget(t, l, oldest); err != nil {
			return err
		}
		s := t.standing(webhook)
		gone := g.standings[webhook].Open - s.Open
		if gone == 0 {
			continue
		}
		n -= gone
		s.Dropped += uint64(gone)
		if err := t.commit(ctx); err != nil {
			return err
		}
		g.d.counters.Dropped.Add(int64(gone))
		g.d.log.Error("deliveries of a webhook were dropped: too many are pending or parked", "webhook", webhook, "group", g.id, "dropped", gone, "most", g.d.policy.MaxOpen)
	}
	return nil
}

// forget adds writes that forget deliveries, and have the first that is left of
// each account tried.
func (g *group) forget(t *tally, l *lane, all []delivery.Delivery) error {
	forgotten := make(map[delivery.Place]struct{}, len(all))
	heads := make(map[string]string) // subject to webhook
	for i := range all {
		d := &all[i]
		if _, flies := l.flying[d.Place]; flies {
			continue
		}
		forgotten[d.Place] = struct{}{}
		t.write(d, nil)
		if _, busy := l.subjects[d.Subject()]; d.State == delivery.Pending && !busy {
			heads[d.Subject()] = d.Webhook
		}
	}
	skip := func(p delivery.Place) bool { _, is := forgotten[p]; return is }
	for subject, webhook := range heads {
		d, ok, err := g.store.FirstPending(webhook, subject, skip)
		if err != nil {
			return err
		}
		if ok {
			g.requeue(t, []delivery.Delivery{d}, false)
		}
	}
	return nil
}
