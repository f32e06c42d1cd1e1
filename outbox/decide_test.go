package outbox

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/grantd/grantd/credential/delivery"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestBackoffGrowsToItsBoundWithJitterAroundIt(t *testing.T) {
	p := Policy{}.WithDefaults()
	for n, mean := range map[int]time.Duration{
		1: 5 * time.Second, 2: 15 * time.Second, 3: 45 * time.Second, 4: 135 * time.Second, 8: 10935 * time.Second, 9: 6 * time.Hour, 10: 6 * time.Hour, 1 << 40: 6 * time.Hour,
	} {
		if low, high := p.backoff(n, 0), p.backoff(n, 0.9999); low != mean/2 || high <= mean || high > mean*3/2 {
			t.Errorf("after attempt %d: %v to %v, want around %v", n, low, high, mean)
		}
	}
}

func TestWhatAnAttemptMakesOfADelivery(t *testing.T) {
	p := Policy{}.WithDefaults()
	fresh := delivery.Delivery{State: delivery.Pending, NextAt: t0}
	tried := delivery.Delivery{State: delivery.Pending, NextAt: t0, Attempts: 9, FirstAt: t0.Add(-71 * time.Hour)}
	for _, c := range []struct {
		what    string
		d       delivery.Delivery
		a       Attempt
		state   delivery.State
		atLeast time.Duration // until the next attempt
		atMost  time.Duration
	}{
		{"taken", fresh, Attempt{Status: 204}, delivery.Delivered, 0, 0},
		{"taken late", tried, Attempt{Status: 200}, delivery.Delivered, 0, 0},
		{"refused", fresh, Attempt{Status: 500}, delivery.Pending, 2500 * time.Millisecond, 7500 * time.Millisecond},
		{"redirected", fresh, Attempt{Status: 302}, delivery.Pending, 2500 * time.Millisecond, 7500 * time.Millisecond},
		{"not reached", fresh, Attempt{Error: "x"}, delivery.Pending, 2500 * time.Millisecond, 7500 * time.Millisecond},
		{"busy", fresh, Attempt{Status: 429, RetryAfter: time.Hour}, delivery.Pending, time.Hour, time.Hour},
		{"busy for less than the back-off", fresh, Attempt{Status: 503, RetryAfter: time.Second}, delivery.Pending, 2500 * time.Millisecond, 7500 * time.Millisecond},
		{"busy for ever", fresh, Attempt{Status: 503, RetryAfter: 1 << 60}, delivery.Pending, 24 * time.Hour, 24 * time.Hour},
		{"refused for three days", tried, Attempt{Status: 500}, delivery.Parked, 0, 0},
		{"gone", fresh, Attempt{Status: 410}, delivery.Pending, 2500 * time.Millisecond, 7500 * time.Millisecond},
	} {
		for _, draw := range []float64{0, 0.5, 0.999} {
			got := p.decide(c.d, &c.a, t0, draw)
			if got.State != c.state || got.Attempts != c.d.Attempts+1 || !got.LastAt.Equal(t0) || got.Status != c.a.Status || got.Error != c.a.Error {
				t.Errorf("%s: %+v", c.what, got)
			}
			if got.State != delivery.Pending {
				if !got.NextAt.IsZero() {
					t.Errorf("%s: it has a next attempt", c.what)
				}
				continue
			}
			if wait := got.NextAt.Sub(t0); wait < c.atLeast || wait > c.atMost {
				t.Errorf("%s: next in %v", c.what, wait)
			}
		}
	}
}

// FuzzADeliveryEnds follows a delivery that is never taken.
func FuzzADeliveryEnds(f *testing.F) {
	f.Add(uint64(1), int64(0), int64(0))
	f.Add(uint64(7), int64(time.Hour), int64(48*time.Hour))
	f.Fuzz(func(t *testing.T, seed uint64, giveUp, retryAfter int64) {
		rng := rand.New(rand.NewPCG(seed, 1))
		p := Policy{GiveUpAfter: time.Duration(giveUp & (1<<50 - 1))}.WithDefaults()
		d := delivery.Delivery{State: delivery.Pending, NextAt: t0}
		for n := 1; d.State == delivery.Pending; n++ {
			now := d.NextAt
			d = p.decide(d, &Attempt{Status: 503, RetryAfter: time.Duration(retryAfter)}, now, rng.Float64())
			if d.Attempts != n || d.State == delivery.Delivered {
				t.Fatalf("after %d attempts: %+v", n, d)
			}
			if d.State == delivery.Pending && (!d.NextAt.After(now) || d.NextAt.After(t0.Add(p.GiveUpAfter))) {
				t.Fatalf("attempt %d at %v, the next at %v", n, now, d.NextAt)
			}
			if n > 100+int(p.GiveUpAfter/(3*time.Hour)) {
				t.Fatalf("%d attempts, and no end", n)
			}
		}
		if d.State != delivery.Parked || !d.NextAt.IsZero() {
			t.Errorf("it ends as %+v", d)
		}
	})
}

// FuzzOnlyTheFirstOfAnAccountIsTried checks what queue makes of any account.
func FuzzOnlyTheFirstOfAnAccountIsTried(f *testing.F) {
	f.Add(uint64(1), uint8(3), false)
	f.Add(uint64(2), uint8(1), true)
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, underWay bool) {
		rng := rand.New(rand.NewPCG(seed, 2))
		all := map[delivery.Place]delivery.Delivery{}
		for range n % 16 {
			d := delivery.Delivery{State: delivery.Pending, Place: delivery.Place{At: rng.Int64N(4), Pos: rng.Uint64N(8)}}
			if rng.IntN(2) == 0 {
				d.NextAt = t0.Add(time.Duration(rng.IntN(100)))
			}
			all[d.Place] = d
		}
		var list []delivery.Delivery
		for _, d := range all {
			list = append(list, d)
		}
		before := slices.Clone(list)
		for _, d := range queue(list, underWay, t0) {
			if old := all[d.Place]; old.NextAt.Equal(d.NextAt) {
				t.Errorf("%+v is no change", d)
			}
			all[d.Place] = d
		}
		first := slices.MinFunc(append(before, delivery.Delivery{Place: delivery.Place{At: 99}}), func(a, b delivery.Delivery) int { return a.Place.Compare(b.Place) })
		for place, d := range all {
			if tried := !d.NextAt.IsZero(); tried != (place == first.Place && !underWay) {
				t.Errorf("under way %v, first %+v: %+v is tried: %v", underWay, first.Place, place, tried)
			}
		}
		for _, old := range before {
			if old.Place == first.Place && !underWay && !old.NextAt.IsZero() && !all[old.Place].NextAt.Equal(old.NextAt) {
				t.Error("the first lost its time")
			}
		}
	})
}
