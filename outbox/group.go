package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

// group delivers the events of one group while this node owns it. One goroutine
// owns all that follows but the channels and the figures.
type group struct {
	d       *Dispatcher
	id      uint16
	store   Store
	cancel  context.CancelFunc
	drain   chan struct{} // closed: send nothing more, and end when nothing is under way
	ended   chan struct{} // closed when the goroutine and the attempts have ended
	results chan result
	asks    chan *ask
	wake    chan struct{} // capacity 1: there may be a permit again
	flights sync.WaitGroup

	open, parked atomic.Int64 // sums over standings, for the metrics

	ledger    delivery.Ledger
	durable   uint64 // the cursor that is written
	rev       uint64
	standings map[string]*delivery.Standing
	lanes     map[string]*lane
	arrived   []result // not committed yet
	draining  bool
	underWay  int
}

// lane is one end point's part of a group.
type lane struct {
	// next is when there is something to be tried; zero: not known to be.
	next time.Time
	look bool // look for what is due, whatever next says
	// from is before the first entry of the index of what is due: what was worked
	// off leaves traces there that reading is spared.
	from     time.Time
	flying   map[delivery.Place]time.Time // what is under way, and when it was due
	subjects map[string]struct{}          // of what is flying
	starved  bool                         // it waits for a permit
}

// result is what came of an attempt.
type result struct {
	webhook, incarnation string
	place                delivery.Place
	subject              string
	attempts             int // that the delivery had before
	attempt              Attempt
	known                bool
}

func newGroup(d *Dispatcher, id uint16, store Store, cancel context.CancelFunc) *group {
	return &group{
		d: d, id: id, store: store, cancel: cancel, drain: make(chan struct{}), ended: make(chan struct{}),
		results: make(chan result), asks: make(chan *ask), wake: make(chan struct{}, 1), lanes: make(map[string]*lane),
	}
}

// Waits before a group whose store failed is begun again.
const (
	againMin = 50 * time.Millisecond
	againMax = 5 * time.Second
)

// run works until ctx ends, or the group is drained.
func (g *group) run(ctx context.Context) {
	wait := againMin
	for {
		began := time.Now()
		err := g.serve(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if time.Since(began) > againMax {
			wait = againMin
		}
		if !errors.Is(err, credential.ErrNotOwner) {
			g.d.log.Warn("webhook deliveries of a group begin again", "group", g.id, "err", err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		wait = min(2*wait, againMax)
	}
}

// load reads where the group stands.
func (g *group) load() (err error) {
	if g.ledger, g.rev, err = g.store.DeliveryLedger(); err != nil {
		return err
	}
	g.durable = g.ledger.Cursor
	all, err := g.store.Standings()
	if err != nil {
		return err
	}
	g.standings = make(map[string]*delivery.Standing, len(all))
	for _, s := range all {
		g.standings[s.Webhook] = &s
		g.lane(s.Webhook).lookAgain(time.Time{})
	}
	g.figure()
	return nil
}

// serve works until something fails. It returns nil when it is drained.
func (g *group) serve(ctx context.Context) error {
	if err := g.load(); err != nil {
		return err
	}
	for {
		grown, changed := g.store.Grown(), g.d.registry.Changed()
		if err := g.settle(ctx); err != nil {
			return err
		}
		more, next := false, time.Time{}
		if !g.draining {
			if err := g.reconcile(ctx); err != nil {
				return err
			}
			var err error
			if more, err = g.intake(ctx); err != nil {
				return err
			}
			if next, err = g.launch(ctx); err != nil {
				return err
			}
		} else if g.underWay == 0 {
			return nil
		}
		if len(g.standings) == 0 {
			grown = nil // nobody wants events
		}
		if err := g.wait(ctx, more, next, grown, changed); err != nil {
			return err
		}
	}
}

// wait returns when there is something to do: at once where more is set.
func (g *group) wait(ctx context.Context, more bool, next time.Time, grown, changed <-chan struct{}) error {
	var timer <-chan time.Time
	if more {
		closed := make(chan time.Time)
		close(closed)
		timer = closed
	} else if !next.IsZero() {
		t := time.NewTimer(max(time.Until(next), time.Millisecond))
		defer t.Stop()
		timer = t.C
	}
	drain := g.drain
	if g.draining {
		drain = nil
	}
	select {
	case <-grown:
	case <-changed:
	case <-timer:
	case <-g.wake:
		for _, l := range g.lanes {
			l.look, l.starved = l.look || l.starved, false
		}
	case r := <-g.results:
		g.arrive(r)
	case a := <-g.asks:
		a.replayed, a.err = g.replay(ctx, a)
		close(a.done)
	case <-drain:
		g.draining = true
	case <-ctx.Done():
		return ctx.Err()
	}
	for { // all that has come meanwhile goes into one step
		select {
		case r := <-g.results:
			g.arrive(r)
		default:
			return nil
		}
	}
}

// arrive takes the result of an attempt in.
func (g *group) arrive(r result) {
	g.underWay--
	if !r.known {
		g.land(r)
		return
	}
	g.arrived = append(g.arrived, r)
}

// land ends what is known of an attempt under way.
func (g *group) land(r result) {
	l := g.lane(r.webhook)
	delete(l.flying, r.place)
	delete(l.subjects, r.subject)
	l.look = true
}

func (g *group) lane(webhook string) *lane {
	l := g.lanes[webhook]
	if l == nil {
		l = &lane{flying: make(map[delivery.Place]time.Time), subjects: make(map[string]struct{})}
		g.lanes[webhook] = l
	}
	return l
}

// lookAgain says that something is due at a time.
func (l *lane) lookAgain(at time.Time) {
	l.look = true
	if at.Before(l.from) {
		l.from = at
	}
}

// commitTimeout bounds how long a step is waited for.
const commitTimeout = 10 * time.Second

// commit carries a step out. Its standings are the group's, as they are to be.
// After an error the group is to be loaded anew.
func (g *group) commit(ctx context.Context, s delivery.Step) error {
	s.Expect, s.Ledger = g.rev, g.ledger
	bounded, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	rev, err := g.store.Commit(bounded, s)
	if errors.Is(err, credential.ErrUnknownOutcome) {
		if barrier := g.store.Barrier(ctx); barrier != nil {
			err = fmt.Errorf("%w; %w", err, barrier)
		}
	}
	if err != nil {
		return err
	}
	g.rev, g.durable = rev, s.Ledger.Cursor
	for _, w := range s.Writes {
		if d := w.After; d != nil && !d.NextAt.IsZero() {
			g.lane(d.Webhook).lookAgain(d.NextAt)
		}
	}
	g.figure()
	return nil
}

// figure tells the metrics.
func (g *group) figure() {
	open, parked := 0, 0
	for _, s := range g.standings {
		open += s.Open
		parked += s.Parked
	}
	g.open.Store(int64(open))
	g.parked.Store(int64(parked))
}

// tally is a step that keeps the standings of what it writes.
type tally struct {
	g         *group
	step      delivery.Step
	standings map[string]*delivery.Standing
}

func (g *group) begin() *tally {
	return &tally{g: g, standings: make(map[string]*delivery.Standing)}
}

// standing returns an end point's standing, to be changed.
func (t *tally) standing(webhook string) *delivery.Standing {
	s := t.standings[webhook]
	if s == nil {
		s = &delivery.Standing{Webhook: webhook}
		if old := t.g.standings[webhook]; old != nil {
			*s = *old
		}
		t.standings[webhook] = s
	}
	return s
}

// write adds a write.
func (t *tally) write(before, after *delivery.Delivery) {
	t.step.Writes = append(t.step.Writes, delivery.Write{Before: before, After: after})
	count := func(d *delivery.Delivery, by int) {
		if d == nil {
			return
		}
		s := t.standing(d.Webhook)
		switch d.State {
		case delivery.Delivered:
			s.Kept += by
			if by > 0 && (s.Kept == 1 || d.Place.Compare(s.KeptFrom) < 0) {
				s.KeptFrom = d.Place
			}
		case delivery.Parked:
			s.Parked += by
			s.Open += by
		default:
			s.Open += by
		}
	}
	count(before, -1)
	count(after, 1)
}

// commit carries the step out. Where that fails, what the group has in memory is
// as it was.
func (t *tally) commit(ctx context.Context) error {
	old := make(map[string]*delivery.Standing, len(t.standings))
	for id, s := range t.standings {
		old[id] = t.g.standings[id]
		t.step.Standings = append(t.step.Standings, *s)
		t.g.standings[id] = s
	}
	err := t.g.commit(ctx, t.step)
	if err != nil {
		for id, s := range old {
			t.g.standings[id] = s
			if s == nil {
				delete(t.g.standings, id)
			}
		}
	}
	return err
}
