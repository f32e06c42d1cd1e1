package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

// settle notes what came of attempts, all in one step.
func (g *group) settle(ctx context.Context) error {
	if len(g.arrived) == 0 {
		return nil
	}
	t, now := g.begin(), time.Now().UTC()
	var outcomes tallied
	for i := range g.arrived {
		if err := g.settleOne(t, &g.arrived[i], now, &outcomes); err != nil {
			return err
		}
	}
	if err := g.trim(t); err != nil {
		return err
	}
	if len(t.step.Writes) > 0 {
		if err := t.commit(ctx); err != nil {
			return err
		}
	}
	for i := range g.arrived {
		g.land(g.arrived[i])
	}
	g.arrived = g.arrived[:0]
	g.d.counters.Delivered.Add(outcomes.delivered)
	g.d.counters.Failed.Add(outcomes.failed)
	g.d.counters.Parked.Add(outcomes.parked)
	return nil
}

// tallied counts what a step makes of deliveries.
type tallied struct{ delivered, failed, parked int64 }

// settleOne adds to the step what one attempt makes of its delivery, and of the
// others of the account. The record is read again: the step may have been
// committed before without this node knowing, and the end point may have been
// deleted meanwhile.
func (g *group) settleOne(t *tally, r *result, now time.Time, outcomes *tallied) error {
	if s := g.standings[r.webhook]; s == nil || s.Incarnation != r.incarnation {
		return nil
	}
	d, err := g.store.Delivery(r.webhook, r.place)
	if errors.Is(err, credential.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if d.State != delivery.Pending || d.Attempts != r.attempts {
		return nil
	}
	after := g.d.policy.decide(d, &r.attempt, now, draw())
	switch after.State {
	case delivery.Delivered:
		outcomes.delivered++
	case delivery.Parked:
		outcomes.parked++
		fallthrough
	default:
		outcomes.failed++
	}
	if after.State == delivery.Parked {
		g.d.log.Warn("delivery parked", "webhook", r.webhook, "event", d.Event.ID, "account", d.Event.Ref.String(), "attempts", after.Attempts)
	}
	next, waits, err := g.store.FirstPending(r.webhook, r.subject, func(p delivery.Place) bool { return p == r.place })
	if err != nil {
		return err
	}
	var pending []delivery.Delivery
	if waits {
		pending = append(pending, next)
	}
	if after.State != delivery.Pending {
		t.write(&d, &after)
		g.requeue(t, pending, false)
		return nil
	}
	for _, changed := range queue(append(pending, after), false, now) {
		if changed.Place == after.Place {
			after = changed
		} else {
			t.write(&next, &changed)
		}
	}
	t.write(&d, &after)
	return nil
}

// requeue adds to the step what [queue] says of deliveries as they are stored.
func (g *group) requeue(t *tally, pending []delivery.Delivery, underWay bool) {
	for _, after := range queue(pending, underWay, time.Now().UTC()) {
		for i := range pending {
			if pending[i].Place == after.Place {
				t.write(&pending[i], &after)
			}
		}
	}
}

// trim forgets the oldest made deliveries of the end points that the step gives
// more than are kept.
func (g *group) trim(t *tally) error {
	for webhook, s := range t.standings {
		over := s.Kept - g.d.policy.Keep
		if over <= 0 {
			continue
		}
		oldest, err := g.store.OldestDeliveries(webhook, false, s.KeptFrom, over)
		if err != nil {
			return err
		}
		for i := range oldest {
			t.write(&oldest[i], nil)
			s.KeptFrom = oldest[i].Place.Next()
		}
	}
	return nil
}
