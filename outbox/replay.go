package outbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

// ask is a request to the group's goroutine.
type ask struct {
	ctx    context.Context
	replay delivery.Replay
	done   chan struct{} // closed when what follows is set

	replayed delivery.Replayed
	err      error
}

// replay makes deliveries pending again, oldest first, in steps.
func (g *group) replay(ctx context.Context, a *ask) (out delivery.Replayed, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(a.ctx, cancel)
	defer stop()
	r := &a.replay
	if g.standings[r.Webhook] == nil {
		return out, nil
	}
	if r.Place != (delivery.Place{}) {
		return g.replayOne(ctx, r)
	}
	for from := r.After; ; {
		some, next, err := g.page(r.Webhook, from)
		if err != nil {
			return out, err
		}
		n, err := g.replaySome(ctx, r, some)
		out.Count += n
		if err != nil {
			return out, err
		}
		if from = next; next == (delivery.Place{}) {
			return out, nil
		}
		if out.Count >= delivery.MaxReplay || a.ctx.Err() != nil {
			out.Next = next
			return out, nil
		}
	}
}

func (g *group) replayOne(ctx context.Context, r *delivery.Replay) (out delivery.Replayed, err error) {
	d, err := g.store.Delivery(r.Webhook, r.Place)
	if err != nil {
		return out, err
	}
	out.Count, err = g.replaySome(ctx, r, []delivery.Delivery{d})
	return out, err
}

// page returns deliveries from a place on, open and made ones in one order, and
// where to go on; zero: those were all.
func (g *group) page(webhook string, from delivery.Place) (all []delivery.Delivery, next delivery.Place, err error) {
	for _, open := range []bool{true, false} {
		some, err := g.store.OldestDeliveries(webhook, open, from, maxEvents)
		if err != nil {
			return nil, next, err
		}
		all = append(all, some...)
		if len(some) == maxEvents {
			if end := some[maxEvents-1].Place.Next(); next == (delivery.Place{}) || end.Compare(next) < 0 {
				next = end
			}
		}
	}
	slices.SortFunc(all, func(a, b delivery.Delivery) int { return a.Place.Compare(b.Place) })
	if next != (delivery.Place{}) {
		all = slices.DeleteFunc(all, func(d delivery.Delivery) bool { return d.Place.Compare(next) >= 0 })
	}
	return all, next, nil
}

// replaySome makes those deliveries pending again that are selected and not under
// way, in one step.
func (g *group) replaySome(ctx context.Context, r *delivery.Replay, some []delivery.Delivery) (n int, err error) {
	l, t, now := g.lane(r.Webhook), g.begin(), time.Now().UTC()
	subjects := make(map[string][]delivery.Delivery)
	before := make(map[delivery.Place]*delivery.Delivery)
	for i := range some {
		d := &some[i]
		if _, flies := l.flying[d.Place]; flies || !r.Selects(d) {
			continue
		}
		before[d.Place] = d
		again := *d
		again.State, again.Attempts, again.FirstAt, again.NextAt = delivery.Pending, 0, time.Time{}, time.Time{}
		subjects[d.Subject()] = append(subjects[d.Subject()], again)
	}
	if g.standings[r.Webhook].Open+len(before) > g.d.policy.MaxOpen+maxEvents {
		return 0, fmt.Errorf("%w: the webhook has %d deliveries pending or parked; replay more once they are made", credential.ErrOverloaded, g.standings[r.Webhook].Open)
	}
	for subject, again := range subjects {
		skip := func(p delivery.Place) bool {
			_, flies := l.flying[p]
			return flies || before[p] != nil
		}
		head, waits, err := g.store.FirstPending(r.Webhook, subject, skip)
		if err != nil {
			return 0, err
		}
		all := again
		if waits {
			before[head.Place] = &head
			all = append(slices.Clone(again), head)
		}
		_, underWay := l.subjects[subject]
		after := make(map[delivery.Place]delivery.Delivery)
		for _, d := range again {
			after[d.Place] = d
		}
		for _, d := range queue(all, underWay, now) {
			after[d.Place] = d
		}
		for place, d := range after {
			t.write(before[place], &d)
		}
		n += len(again)
	}
	if n == 0 {
		return 0, nil
	}
	if err := t.commit(ctx); err != nil {
		return 0, err
	}
	g.d.counters.Replayed.Add(int64(n))
	return n, nil
}
