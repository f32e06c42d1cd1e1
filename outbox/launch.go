package outbox

import (
	"context"
	"time"

	"github.com/grantd/grantd/credential/delivery"
)

// launch sends what is due, as far as there are permits, and returns when it is
// to look again; zero: when it is told.
func (g *group) launch(ctx context.Context) (next time.Time, err error) {
	now := time.Now().UTC()
	for _, e := range g.d.registry.Endpoints() {
		s := g.standings[e.ID]
		if s == nil || !e.Enabled || s.Incarnation != e.Incarnation || s.Open == s.Parked {
			continue
		}
		l := g.lane(e.ID)
		if l.look || !l.next.IsZero() && !l.next.After(now) {
			if err := g.launchTo(ctx, e, l, now); err != nil {
				return next, err
			}
		}
		if !l.next.IsZero() && (next.IsZero() || l.next.Before(next)) {
			next = l.next
		}
	}
	return next, nil
}

// launchTo sends what is due to one end point.
func (g *group) launchTo(ctx context.Context, e *delivery.Endpoint, l *lane, now time.Time) error {
	skip := func(p delivery.Place) bool { _, flies := l.flying[p]; return flies }
	due, next, err := g.store.DueDeliveries(e.ID, l.from, now, skip, g.d.policy.Concurrency)
	if err != nil {
		return err
	}
	// Whatever is left where as many are due as there are permits is found when one
	// is free.
	l.look, l.next = len(due) == g.d.policy.Concurrency, next
	if l.look {
		l.next = time.Time{}
	}
	for i := range due {
		if !g.d.permits.take(e.ID, g.wake) {
			l.starved, l.look, l.next = true, false, time.Time{}
			next = due[i].NextAt
			break
		}
		d := due[i]
		l.flying[d.Place] = d.NextAt
		l.subjects[d.Subject()] = struct{}{}
		g.underWay++
		g.flights.Go(func() { g.fly(ctx, e, d) })
	}
	l.from = now
	if !next.IsZero() && next.Before(now) {
		l.from = next
	}
	for _, at := range l.flying {
		if at.Before(l.from) {
			l.from = at
		}
	}
	return nil
}

// fly makes one attempt and brings its result.
func (g *group) fly(ctx context.Context, e *delivery.Endpoint, d delivery.Delivery) {
	r := result{webhook: d.Webhook, incarnation: e.Incarnation, place: d.Place, subject: d.Subject(), attempts: d.Attempts}
	r.attempt, r.known = g.d.attempt(ctx, e, &d)
	if r.known && r.attempt.Gone() {
		g.d.disable(ctx, e)
	}
	g.d.permits.give(e.ID)
	select {
	case g.results <- r:
	case <-ctx.Done():
	}
}
