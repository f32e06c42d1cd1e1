package storage

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

// step applies a step as the entry of the index.
func step(t testing.TB, g *Group, index uint64, s delivery.Step) Result {
	t.Helper()
	b, err := EncodeStep(s)
	if err != nil {
		t.Fatal(err)
	}
	return applyBytes(t, g, index, b)
}

func randomDelivery(rng *rand.Rand, webhook string, pos uint64, subjects int) delivery.Delivery {
	d := delivery.Delivery{
		Webhook: webhook, Place: delivery.Place{At: int64(1e18 + pos/3*1000), Pos: pos},
		Event: credential.Event{
			ID: fmt.Sprint("e", pos), Type: credential.EventCreated, Ref: ref(rng.IntN(subjects)), At: instant(rng), Reason: word(rng),
			Generation: number(rng), Integration: word(rng),
		},
		State: delivery.Pending, Attempts: rng.IntN(9), FirstAt: instant(rng), LastAt: instant(rng), Latency: time.Duration(rng.IntN(1e9)),
		Status: rng.IntN(600), Answer: word(rng), Error: word(rng),
	}
	if rng.IntN(2) == 0 {
		d.NextAt = t0.Add(time.Duration(rng.IntN(20)) * time.Second)
	}
	if rng.IntN(4) == 0 {
		d.Event.Ref.ID = ""
	}
	return d
}

func none(delivery.Place) bool { return false }

// TestDeliveriesAreWhatAModelSays changes deliveries at random, and compares
// every way of reading with a list in memory.
func TestDeliveriesAreWhatAModelSays(t *testing.T) {
	g := openMem(t).Group(1)
	rng := rand.New(rand.NewPCG(4, 4))
	model := map[delivery.Place]delivery.Delivery{}
	var rev, pos uint64
	for index := uint64(1); index <= 300; index++ {
		s := delivery.Step{Expect: rev, Ledger: delivery.Ledger{Cursor: pos, ListedAt: int64(index)}}
		for place, d := range model {
			if rng.IntN(10) > 0 {
				continue
			}
			before := d
			switch rng.IntN(5) {
			case 0:
				s.Writes = append(s.Writes, delivery.Write{Before: &before})
				delete(model, place)
				continue
			case 1:
				d.State, d.NextAt = delivery.Delivered, time.Time{}
			case 2:
				d.State, d.NextAt = delivery.Parked, time.Time{}
			case 3:
				d.State, d.NextAt = delivery.Pending, t0.Add(time.Duration(rng.IntN(20))*time.Second)
			}
			after := d
			model[place] = d
			s.Writes = append(s.Writes, delivery.Write{Before: &before, After: &after})
		}
		for range rng.IntN(3) {
			pos++
			d := randomDelivery(rng, "hook", pos, 6)
			model[d.Place] = d
			s.Writes = append(s.Writes, delivery.Write{After: &d})
		}
		if r := step(t, g, index, s); r.Conflict || r.Err != nil {
			t.Fatalf("step %d: %+v", index, r)
		}
		rev = index
		compareDeliveries(t, g, model, rng)
	}
	if l, r, err := g.DeliveryLedger(); l.ListedAt != 300 || r != 300 || err != nil {
		t.Errorf("ledger %+v %d %v", l, r, err)
	}
}

func compareDeliveries(t *testing.T, g *Group, model map[delivery.Place]delivery.Delivery, rng *rand.Rand) {
	t.Helper()
	all := make([]delivery.Delivery, 0, len(model))
	for _, d := range model {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b delivery.Delivery) int { return b.Place.Compare(a.Place) })
	filter := func(keep func(*delivery.Delivery) bool) []delivery.Delivery {
		return slices.DeleteFunc(slices.Clone(all), func(d delivery.Delivery) bool { return !keep(&d) })
	}
	q := delivery.Query{Webhook: "hook", Limit: 1 + rng.IntN(8), State: []delivery.State{"", delivery.Pending, delivery.Delivered, delivery.Parked}[rng.IntN(4)]}
	if rng.IntN(3) == 0 {
		q.Ref = ref(rng.IntN(6))
	}
	want := filter(q.Matches)
	var got []delivery.Delivery
	for {
		page, err := g.Deliveries(q)
		if err != nil || len(page.Deliveries) > q.Limit {
			t.Fatalf("page of %d: %v", len(page.Deliveries), err)
		}
		got = append(got, page.Deliveries...)
		if q.Below = page.Next; page.Next == (delivery.Place{}) {
			break
		}
	}
	same(t, "list", got, want)

	now := t0.Add(10 * time.Second)
	due, next, err := g.DueDeliveries("hook", time.Time{}, now, none, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want = filter(func(d *delivery.Delivery) bool {
		return d.State == delivery.Pending && !d.NextAt.IsZero() && !d.NextAt.After(now)
	})
	for i := 1; i < len(due); i++ {
		if due[i].NextAt.Before(due[i-1].NextAt) {
			t.Fatalf("due deliveries are out of order")
		}
	}
	slices.SortFunc(due, func(a, b delivery.Delivery) int { return b.Place.Compare(a.Place) })
	same(t, "due", due, want)
	var later time.Time
	for _, d := range filter(func(d *delivery.Delivery) bool { return d.State == delivery.Pending && d.NextAt.After(now) }) {
		if later.IsZero() || d.NextAt.Before(later) {
			later = d.NextAt
		}
	}
	if !next.Equal(later) {
		t.Fatalf("next due at %v, want %v", next, later)
	}

	for i := range 6 {
		subject := delivery.SubjectOf(&credential.Event{Ref: ref(i)})
		want := filter(func(d *delivery.Delivery) bool { return d.State == delivery.Pending && d.Subject() == subject })
		first, ok, err := g.FirstPending("hook", subject, none)
		if err != nil || ok != (len(want) > 0) || ok && first.Place != want[len(want)-1].Place {
			t.Fatalf("first pending of %d: %+v %v %v", i, first, ok, err)
		}
		if len(want) < 2 {
			continue
		}
		second, ok, err := g.FirstPending("hook", subject, func(p delivery.Place) bool { return p == first.Place })
		if err != nil || !ok || second.Place != want[len(want)-2].Place {
			t.Fatalf("second pending of %d: %+v %v %v", i, second, ok, err)
		}
	}
}

func same(t *testing.T, what string, got, want []delivery.Delivery) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d deliveries, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("%s:\n got %+v\nwant %+v", what, got[i], want[i])
		}
	}
}

func TestAStepOfAnOldLedgerChangesNothing(t *testing.T) {
	g := openMem(t).Group(1)
	step(t, g, 1, delivery.Step{Standings: []delivery.Standing{{Webhook: "a", Open: 3}}})
	before := dump(t, g)
	for _, expect := range []uint64{0, 2} {
		if r := step(t, g, 2+expect, delivery.Step{Expect: expect, Purge: []string{"a"}}); !r.Conflict {
			t.Errorf("expecting %d: %+v", expect, r)
		}
	}
	if !reflect.DeepEqual(dump(t, g), before) {
		t.Error("it changed something")
	}
}

func TestPurgeForgetsOneEndPointAndNoOther(t *testing.T) {
	g := openMem(t).Group(1)
	rng := rand.New(rand.NewPCG(5, 5))
	s := delivery.Step{}
	for i, name := range []string{"a", "a-b", "ab", "b"} {
		for pos := range uint64(5) {
			d := randomDelivery(rng, name, pos+1, 3)
			d.NextAt = t0
			s.Writes = append(s.Writes, delivery.Write{After: &d})
		}
		s.Standings = append(s.Standings, delivery.Standing{Webhook: name, Incarnation: "one", Seen: uint64(i), After: 7, Open: 5, Parked: 1, Kept: 2, KeptFrom: delivery.Place{At: 1, Pos: 2}, Dropped: 3, Off: i%2 == 0})
	}
	step(t, g, 1, s)
	again := delivery.Standing{Webhook: "ab", Incarnation: "two"}
	step(t, g, 2, delivery.Step{Expect: 1, Purge: []string{"a", "ab"}, Standings: []delivery.Standing{again}})
	standings, err := g.Standings()
	if want := []delivery.Standing{s.Standings[1], again, s.Standings[3]}; err != nil || !reflect.DeepEqual(standings, want) {
		t.Errorf("standings %+v, %v\nwant %+v", standings, err, want)
	}
	for name, want := range map[string]int{"a": 0, "a-b": 5, "ab": 0, "b": 5} {
		due, _, err := g.DueDeliveries(name, time.Time{}, t0, none, 10)
		page, errList := g.Deliveries(delivery.Query{Webhook: name, Limit: 10})
		oldest, errOldest := g.OldestDeliveries(name, true, delivery.Place{}, 10)
		if len(due) != want || len(page.Deliveries) != want || len(oldest) != want || err != nil || errList != nil || errOldest != nil {
			t.Errorf("%s: %d due, %d listed, %d oldest, want %d; %v %v %v", name, len(due), len(page.Deliveries), len(oldest), want, err, errList, errOldest)
		}
	}
}

func TestDueDeliveriesSkipAndStopWhereTheyAreTold(t *testing.T) {
	g := openMem(t).Group(1)
	rng := rand.New(rand.NewPCG(6, 6))
	s := delivery.Step{}
	for pos := range uint64(6) {
		d := randomDelivery(rng, "a", pos, 3)
		d.NextAt = t0.Add(time.Duration(pos) * time.Second)
		s.Writes = append(s.Writes, delivery.Write{After: &d})
	}
	step(t, g, 1, s)
	skip := func(p delivery.Place) bool { return p.Pos == 1 || p.Pos == 3 }
	for _, c := range []struct {
		from, now, limit int
		want             []uint64
		next             int
	}{
		{0, 9, 9, []uint64{0, 2, 4, 5}, -1}, {0, 9, 2, []uint64{0, 2}, 4}, {0, 2, 9, []uint64{0, 2}, 4}, {3, 9, 9, []uint64{4, 5}, -1}, {0, 0, 0, nil, 0},
	} {
		due, next, err := g.DueDeliveries("a", t0.Add(time.Duration(c.from)*time.Second), t0.Add(time.Duration(c.now)*time.Second), skip, c.limit)
		var got []uint64
		for _, d := range due {
			got = append(got, d.Place.Pos)
		}
		want := time.Time{}
		if c.next >= 0 {
			want = t0.Add(time.Duration(c.next) * time.Second)
		}
		if err != nil || !slices.Equal(got, c.want) || !next.Equal(want) {
			t.Errorf("%+v: got %v, next %v, %v", c, got, next, err)
		}
	}
}
