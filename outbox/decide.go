package outbox

import (
	"cmp"
	"time"

	"github.com/grantd/grantd/credential/delivery"
)

// Policy holds the times and bounds of deliveries. The zero value of every field
// means its default.
type Policy struct {
	// Timeout bounds one attempt, from the connection to the answer's first
	// bytes. Default 15 s.
	Timeout time.Duration
	// BackoffMin is the mean wait after the first attempt; each further one is
	// three times as long, up to BackoffMax. Defaults 5 s and 6 h.
	BackoffMin, BackoffMax time.Duration
	// GiveUpAfter is how long after its first attempt a delivery is tried.
	// Default 72 h.
	GiveUpAfter time.Duration
	// Concurrency bounds the attempts that one node has under way to one end
	// point. Default 8.
	Concurrency int
	// MaxOpen bounds the pending and parked deliveries of an end point in one
	// group; beyond it the oldest are dropped. Default 100,000.
	MaxOpen int
	// Keep is how many made deliveries of an end point stay listed in one group:
	// the newest. Default 1,000.
	Keep int
}

// WithDefaults fills in what is zero.
func (p Policy) WithDefaults() Policy {
	p.Timeout = cmp.Or(p.Timeout, 15*time.Second)
	p.BackoffMin = cmp.Or(p.BackoffMin, 5*time.Second)
	p.BackoffMax = cmp.Or(p.BackoffMax, 6*time.Hour)
	p.GiveUpAfter = cmp.Or(p.GiveUpAfter, 72*time.Hour)
	p.Concurrency = cmp.Or(p.Concurrency, 8)
	p.MaxOpen = cmp.Or(p.MaxOpen, 100_000)
	p.Keep = cmp.Or(p.Keep, 1_000)
	return p
}

const (
	backoffFactor = 3
	// maxRetryAfter bounds what an end point may ask for.
	maxRetryAfter = 24 * time.Hour
)

// backoff is the wait after the nth attempt, from 1, for a draw of [0,1): half
// of the mean to one and a half times it.
func (p *Policy) backoff(n int, draw float64) time.Duration {
	mean := p.BackoffMin
	for i := 1; i < n && mean < p.BackoffMax; i++ {
		mean *= backoffFactor
	}
	mean = min(mean, p.BackoffMax)
	return mean/2 + time.Duration(draw*float64(mean))
}

// decide says what an attempt makes of a delivery: it is delivered, or pending
// until another time, or parked where that time would be too late. It is a pure
// function.
func (p *Policy) decide(d delivery.Delivery, a *Attempt, now time.Time, draw float64) delivery.Delivery {
	d.Attempts++
	d.LastAt = now
	if d.FirstAt.IsZero() {
		d.FirstAt = now
	}
	d.Latency, d.Status, d.Answer, d.Error = a.Latency, a.Status, a.Answer, a.Error
	if a.Taken() {
		d.State, d.NextAt = delivery.Delivered, time.Time{}
		return d
	}
	next := now.Add(max(p.backoff(d.Attempts, draw), min(a.RetryAfter, maxRetryAfter)))
	if next.After(d.FirstAt.Add(p.GiveUpAfter)) {
		d.State, d.NextAt = delivery.Parked, time.Time{}
		return d
	}
	d.State, d.NextAt = delivery.Pending, next
	return d
}

// queue says which of an account's pending deliveries to one end point may be
// tried: only the first. It takes them as they will be, in any order, but for
// the one under way, if there is any, and returns those that must change: the
// first is tried at its time, or now where it had none, and the others have no
// time. While one is under way none has.
func queue(pending []delivery.Delivery, underWay bool, now time.Time) (changed []delivery.Delivery) {
	first := -1
	for i := range pending {
		if !underWay && (first < 0 || pending[i].Place.Compare(pending[first].Place) < 0) {
			first = i
		}
	}
	for i, d := range pending {
		switch {
		case i == first && d.NextAt.IsZero():
			d.NextAt = now
		case i != first && !d.NextAt.IsZero():
			d.NextAt = time.Time{}
		default:
			continue
		}
		changed = append(changed, d)
	}
	return changed
}
