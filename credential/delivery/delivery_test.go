package delivery_test

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func FuzzAnIDIsReadAsWhatItWasMadeOf(f *testing.F) {
	f.Add(delivery.ID(3, delivery.Place{At: 5, Pos: 7}))
	for _, s := range []string{"", "dlv_", "dlv_AAAA", "x", "dlv_AAMAAAAAAAAABQAAAAAAAAAH="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		group, place, err := delivery.ParseID(s)
		switch {
		case err == nil && delivery.ID(group, place) != s:
			t.Errorf("%q reads as %d, %+v", s, group, place)
		case err != nil && !errors.Is(err, credential.ErrBadName):
			t.Error(err)
		}
	})
}

// TestPagesOverGroupsShowEveryDeliveryOnce follows a list over several groups,
// of which each stops early at random.
func TestPagesOverGroupsShowEveryDeliveryOnce(t *testing.T) {
	draw := rand.New(rand.NewPCG(3, 3))
	for range 200 {
		groups := map[uint16][]delivery.Delivery{}
		var want []string
		for g := range uint16(1 + draw.IntN(5)) {
			at := int64(0)
			for pos := range uint64(draw.IntN(40)) {
				at += draw.Int64N(3) // several of the same time
				d := delivery.Delivery{Place: delivery.Place{At: at + 1, Pos: pos + 1}}
				groups[g] = append([]delivery.Delivery{d}, groups[g]...)
				want = append(want, delivery.ID(g, d.Place))
			}
		}
		limit, n := 1+draw.IntN(10), 0
		var got []delivery.Listed
		for cursor := (delivery.Cursor{}); ; {
			pages := map[uint16]delivery.Page{}
			for g, all := range groups {
				pages[g] = pageOf(draw, all, cursor.Below(g), limit)
			}
			all, next := delivery.Merge(pages, limit)
			if len(all) > limit {
				t.Fatalf("a page of %d", len(all))
			}
			got = append(got, all...)
			if cursor = next; next == (delivery.Cursor{}) {
				break
			}
			if n++; n > 10_000 {
				t.Fatal("the list does not end")
			}
		}
		if !slices.IsSortedFunc(got, func(a, b delivery.Listed) int {
			return cmp.Or(cmp.Compare(b.Place.At, a.Place.At), cmp.Compare(b.Group, a.Group), cmp.Compare(b.Place.Pos, a.Place.Pos))
		}) {
			t.Fatal("the list is out of order")
		}
		var ids []string
		for _, l := range got {
			ids = append(ids, l.ID())
		}
		slices.Sort(ids)
		slices.Sort(want)
		if !slices.Equal(ids, want) {
			t.Fatalf("%d listed, want %d", len(ids), len(want))
		}
	}
}

// pageOf is a page of one group, which may stop for reasons of its own.
func pageOf(draw *rand.Rand, all []delivery.Delivery, below delivery.Place, limit int) (p delivery.Page) {
	for i, d := range all {
		if below != (delivery.Place{}) && d.Place.Compare(below) >= 0 {
			continue
		}
		if len(p.Deliveries) == limit || len(p.Deliveries) > 0 && draw.IntN(8) == 0 {
			p.Next = all[i-1].Place
			return p
		}
		p.Deliveries = append(p.Deliveries, d)
	}
	return p
}

func TestAReplayNamesOneThing(t *testing.T) {
	now, place := time.Now(), delivery.Place{At: 1, Pos: 1}
	for i, c := range []struct {
		r  delivery.Replay
		ok bool
	}{
		{delivery.Replay{}, false}, {delivery.Replay{Place: place}, true}, {delivery.Replay{Parked: true}, true}, {delivery.Replay{Parked: true, Place: place}, false},
		{delivery.Replay{From: now}, true}, {delivery.Replay{To: now}, true}, {delivery.Replay{From: now, To: now}, false},
		{delivery.Replay{From: now, To: now.Add(1)}, true}, {delivery.Replay{From: now, Parked: true}, false},
	} {
		if err := c.r.Validate(); (err == nil) != c.ok || err != nil && !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%d: %+v: %v", i, c.r, err)
		}
	}
	d := delivery.Delivery{Place: place, State: delivery.Parked, Event: credential.Event{At: now}}
	for i, c := range []struct {
		r    delivery.Replay
		want bool
	}{
		{delivery.Replay{Place: place}, true}, {delivery.Replay{Place: delivery.Place{At: 1, Pos: 2}}, false}, {delivery.Replay{Parked: true}, true},
		{delivery.Replay{From: now}, true}, {delivery.Replay{From: now.Add(1)}, false}, {delivery.Replay{To: now}, false}, {delivery.Replay{To: now.Add(1)}, true},
	} {
		if c.r.Selects(&d) != c.want {
			t.Errorf("%d: %+v selects it: %v", i, c.r, !c.want)
		}
	}
	d.State = delivery.Delivered
	if (&delivery.Replay{Parked: true}).Selects(&d) {
		t.Error("what was delivered is taken for parked")
	}
}

func TestSubjectsAreToldApart(t *testing.T) {
	seen := map[string]credential.Event{}
	for _, e := range []credential.Event{
		{Ref: credential.Ref{Tenant: "a", ID: "b"}, Integration: "x"}, {Ref: credential.Ref{Tenant: "a"}, Integration: "b"}, {Integration: "b"},
		{Ref: credential.Ref{Tenant: "b", ID: "a"}}, {Ref: credential.Ref{Tenant: "a"}}, {},
	} {
		s := delivery.SubjectOf(&e)
		if other, there := seen[s]; there {
			t.Errorf("%+v and %+v have the subject %q", e, other, s)
		}
		seen[s] = e
	}
	one, two := credential.Event{Ref: credential.Ref{Tenant: "a", ID: "b"}, Integration: "x"}, credential.Event{Ref: credential.Ref{Tenant: "a", ID: "b"}}
	if delivery.SubjectOf(&one) != delivery.SubjectOf(&two) {
		t.Error("an account's subject depends on its integration")
	}
}
