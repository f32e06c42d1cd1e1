package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// settleTime is how long a cluster may take after all faults to bring the
// placement to where it should be.
const settleTime = 10 * time.Minute

// dismissTime bounds how long it may take to take a node out of the cluster,
// faults included.
const dismissTime = countyTime + settleTime

// fewest is how many nodes a cluster keeps.
const fewest = 3

// changes are nodes that join the cluster and leave it, while everything else
// goes on: for a while, or for good.
func (o *county) changes(ctx, busy context.Context, r *rand.Rand) {
	var dismissal <-chan struct{}
	for pause(busy, between(r, 5*time.Second, 80*time.Second)) {
		switch m := oneOf(r, o.w.staff()...); r.IntN(5) {
		case 0, 1:
			o.hire()
		case 2:
			d := between(r, time.Second, time.Minute)
			o.w.Note("%s leaves for %v", m.name(), d)
			m.Away(busy, d)
		default:
			if over(dismissal) && len(o.w.staff()) > fewest {
				dismissal = o.dismiss(ctx, m, r.IntN(5), r)
			}
		}
	}
}

// over reports whether something has ended, or did not begin.
func over(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return c == nil
	}
}

// hire has another node join.
func (o *county) hire() {
	for _, m := range o.w.Machines {
		if m.current() == nil {
			o.w.Note("%s is to join", m.name())
			m.SwitchOn()
			return
		}
	}
}

// dismiss takes a node out of the cluster: how 0: it dies for good meanwhile; 1:
// it is stopped before; else it runs on until it is out. The channel is closed
// when it is over.
func (o *county) dismiss(ctx context.Context, m *Machine, how int, r *rand.Rand) <-chan struct{} {
	done := make(chan struct{})
	o.leaving.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(ctx, dismissTime)
		defer cancel()
		o.w.Note("%s is dismissed (%d)", m.name(), how)
		if !o.w.Dismiss(ctx, m) {
			o.w.Note("%s has not been let in yet", m.name())
			return
		}
		if how == 0 {
			m.Crash(keep(r), r.Uint64())
		}
		if how < 2 {
			m.Retire()
		}
		if err := o.w.Gone(ctx, m); err != nil {
			o.w.problem("%s is not out of the cluster after %v: %v%s", m.name(), dismissTime, err, o.w.placed(context.WithoutCancel(ctx)))
		}
		o.w.Note("%s is out of the cluster", m.name())
		m.Retire()
	})
	return done
}

// disks are slow, or stand still.
func (o *county) disks(busy context.Context, r *rand.Rand) {
	for pause(busy, between(r, time.Second, 40*time.Second)) {
		m := oneOf(r, o.w.staff()...)
		if often(r, 50) {
			m.Stall(between(r, 200*time.Millisecond, 15*time.Second))
		} else {
			m.Slow(between(r, time.Millisecond, 300*time.Millisecond), between(r, time.Second, time.Minute))
		}
	}
}
