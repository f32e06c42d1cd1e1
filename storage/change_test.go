package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage/storagepb"
)

func TestAccountComesBackAsItWasWritten(t *testing.T) {
	g := openMem(t).Group(1)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 500 {
		a := randomAccount(rng, ref(i))
		got := change(t, g, uint64(i+1), credential.Change{Ref: a.Ref, After: a})
		if !reflect.DeepEqual(got, a) {
			t.Fatalf("account %d:\n got %+v\nwant %+v", i, got, a)
		}
	}
}

// TestEveryFieldOfTheAccountIsStored finds the field that was added to the
// account and forgotten in the record.
func TestEveryFieldOfTheAccountIsStored(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	seen := map[string]bool{}
	for i := range 200 {
		a := randomAccount(rng, ref(i))
		a.HistoryNext = 1 // Encode sets it
		v := reflect.ValueOf(a)
		for f := range v.NumField() {
			seen[v.Type().Field(f).Name] = seen[v.Type().Field(f).Name] || !v.Field(f).IsZero()
		}
	}
	for name, filled := range seen {
		if !filled {
			t.Errorf("randomAccount never fills %s: fill it, so that TestAccountComesBackAsItWasWritten covers it", name)
		}
	}
}

func TestAbsentAccountIsNotFoundInBothWords(t *testing.T) {
	g := openMem(t).Group(1)
	_, rev, err := g.Account(ref(1))
	if !errors.Is(err, credential.ErrNotFound) || !errors.Is(err, ErrNotFound) || rev != 0 {
		t.Errorf("Account = revision %d, %v", rev, err)
	}
}

func TestChangeIsRefusedOnceTheRecordMoved(t *testing.T) {
	g := openMem(t).Group(1)
	r := ref(1)
	first := change(t, g, 1, credential.Change{Ref: r, After: account(r, t0)})
	second := first.Clone()
	second.NextRefreshAt = t0.Add(time.Hour)
	second = change(t, g, 2, credential.Change{Ref: r, Expect: 1, Before: &first, After: second})
	index := uint64(2)
	for name, c := range map[string]credential.Change{
		"computed from the old record": {Ref: r, Expect: 1, Before: &first, After: account(r, t0.Add(time.Minute)), Lines: lines(1), Events: events(r, 1)},
		"creation of what exists":      {Ref: r, After: account(r, t0.Add(time.Minute)), Lines: lines(1), Events: events(r, 1)},
	} {
		before := dump(t, g)
		batch, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		index++
		if result := applyBytes(t, g, index, batch); !result.Conflict {
			t.Errorf("%s: %+v, want a conflict", name, result)
		}
		if !reflect.DeepEqual(before, dump(t, g)) {
			t.Errorf("%s: changed the state", name)
		}
	}
	if a, rev, err := g.Account(r); err != nil || rev != 2 || !reflect.DeepEqual(a, second) {
		t.Errorf("Account = %+v, %d, %v", a, rev, err)
	}
}

func TestChangeThatContradictsItselfIsNotEncoded(t *testing.T) {
	r, other := ref(1), ref(2)
	mine, theirs := account(r, t0), account(other, t0)
	cases := map[string]credential.Change{
		"bad name":                 {Ref: credential.Ref{Tenant: "a/b", ID: "x"}, After: credential.Account{Ref: credential.Ref{Tenant: "a/b", ID: "x"}}},
		"separator in the name":    {Ref: credential.Ref{Tenant: "a", ID: "x\x00"}, After: credential.Account{Ref: credential.Ref{Tenant: "a", ID: "x\x00"}}},
		"After is another account": {Ref: r, After: theirs},
		"Before is another one":    {Ref: r, Expect: 1, Before: &theirs, After: mine},
		"Before without revision":  {Ref: r, Before: &mine, After: mine},
		"revision without Before":  {Ref: r, Expect: 1, After: mine},
		"too many lines":           {Ref: r, After: mine, Lines: lines(HistoryLines + 1)},
	}
	for name, c := range cases {
		if _, err := Encode(c); !errors.Is(err, ErrBadChange) {
			t.Errorf("%s: %v, want ErrBadChange", name, err)
		}
	}
}

// Odd bytes in what a provider answered must not make an outcome unstorable.
func TestTextThatIsNotUTF8IsMendedNotRefused(t *testing.T) {
	g := openMem(t).Group(1)
	a := account(ref(1), t0)
	a.TokenType, a.Scopes, a.Reason = "bear\xffer", []string{"\xc3"}, "x\xfe"
	got := change(t, g, 1, credential.Change{Ref: a.Ref, After: a, Lines: []credential.Line{{Detail: "\xff"}}})
	if got.TokenType != "bear\uFFFDer" || got.Scopes[0] != "\uFFFD" || got.Reason != "x\uFFFD" {
		t.Errorf("got %+q %+q %+q", got.TokenType, got.Scopes, got.Reason)
	}
}

// In a rolling upgrade an older node changes records that a newer one wrote.
func TestFieldsOfANewerVersionSurviveAnOlderOnesChange(t *testing.T) {
	g := openMem(t).Group(1)
	r := ref(1)
	first := change(t, g, 1, credential.Change{Ref: r, After: account(r, t0)})
	stored, _, err := g.Get(accountKey(r))
	if err != nil {
		t.Fatal(err)
	}
	newer := protowire.AppendTag(nil, accountFields+1, protowire.BytesType)
	newer = protowire.AppendBytes(newer, []byte("from the future"))
	apply(t, g, 2, Batch{Puts: []Put{{Key: accountKey(r), Value: append(stored, newer...)}}})

	after := first.Clone()
	after.Integration = "other"
	for i := range uint64(3) {
		before := after
		if i == 0 {
			before = first
		}
		change(t, g, 3+i, credential.Change{Ref: r, Expect: 2 + i, Before: &before, After: after})
	}
	stored, _, err = g.Get(accountKey(r))
	if err != nil {
		t.Fatal(err)
	}
	var p storagepb.AccountRecord
	if err := proto.Unmarshal(stored, &p); err != nil {
		t.Fatal(err)
	}
	if p.Integration != "other" || string(p.ProtoReflect().GetUnknown()) != string(newer) {
		t.Errorf("integration %q, unknown fields %q; want those of the newer version once: %q", p.Integration, p.ProtoReflect().GetUnknown(), newer)
	}
}

func TestHighestFieldOfTheRecordIsTheOneThatIsNamed(t *testing.T) {
	fields := (&storagepb.AccountRecord{}).ProtoReflect().Descriptor().Fields()
	highest := 0
	for i := range fields.Len() {
		highest = max(highest, int(fields.Get(i).Number()))
	}
	if highest != accountFields {
		t.Errorf("accountFields is %d, the highest field of AccountRecord is %d", accountFields, highest)
	}
}

func lines(n int) []credential.Line {
	ls := make([]credential.Line, n)
	for i := range ls {
		ls[i] = credential.Line{At: t0.Add(time.Duration(i)), What: credential.WhatRefreshed, Reason: fmt.Sprint(i), Generation: uint64(i), Attempt: "a", Node: "n1", Detail: "d"}
	}
	return ls
}

func events(r credential.Ref, n int) []credential.Event {
	es := make([]credential.Event, n)
	for i := range es {
		es[i] = credential.Event{ID: fmt.Sprint(i), Type: credential.EventRefreshed, Ref: r, At: t0, Reason: "r", Generation: uint64(i), Integration: "crm"}
	}
	return es
}

func TestHistoryKeepsTheNewestLinesInOrder(t *testing.T) {
	g := openMem(t).Group(1)
	r, neighbour := credential.Ref{Tenant: "t", ID: "a"}, credential.Ref{Tenant: "t", ID: "a-"}
	change(t, g, 1, credential.Change{Ref: neighbour, After: account(neighbour, t0), Lines: lines(3)})
	a := change(t, g, 2, credential.Change{Ref: r, After: account(r, t0), Lines: lines(5)})
	total := 5
	for index := uint64(3); total < 3*HistoryLines; index++ {
		before := a
		n := 1 + int(index)%9
		a = change(t, g, index, credential.Change{Ref: r, Expect: index - 1, Before: &before, After: a.Clone(), Lines: lines(n)})
		total += n
	}
	if a.HistoryNext != uint64(total) {
		t.Errorf("HistoryNext is %d after %d lines", a.HistoryNext, total)
	}
	var numbers []uint64
	for below, first := uint64(0), true; first || below != 0; first = false {
		h, err := g.History(r, below, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range h.Lines {
			numbers = append(numbers, l.Number)
			if want := lines(10)[l.Generation]; l.Line != want {
				t.Fatalf("line %d: %+v, want %+v", l.Number, l.Line, want)
			}
		}
		below = h.Next
	}
	if len(numbers) != HistoryLines || numbers[0] != uint64(total-1) || numbers[HistoryLines-1] != uint64(total-HistoryLines) {
		t.Errorf("%d lines from %d to %d", len(numbers), numbers[0], numbers[len(numbers)-1])
	}
	if !slices.IsSortedFunc(numbers, func(a, b uint64) int { return int(b) - int(a) }) {
		t.Errorf("not newest first: %v", numbers)
	}
	if h, err := g.History(neighbour, 0, 100); err != nil || len(h.Lines) != 3 || h.Next != 0 {
		t.Errorf("the neighbour's history: %+v, %v", h, err)
	}
	if h, err := g.History(neighbour, 0, 3); err != nil || len(h.Lines) != 3 || h.Next != 0 {
		t.Errorf("a page that holds all has a next one: %+v, %v", h, err)
	}
	if h, err := g.History(neighbour, 1, 3); err != nil || len(h.Lines) != 1 || h.Lines[0].Number != 0 {
		t.Errorf("below 1: %+v, %v", h, err)
	}
	if h, err := g.History(ref(99), 0, 10); err != nil || len(h.Lines) != 0 || h.Next != 0 {
		t.Errorf("history of an absent account: %+v, %v", h, err)
	}
}

func TestScheduleMovesWithTheRecord(t *testing.T) {
	g := openMem(t).Group(1)
	rng := rand.New(rand.NewPCG(3, 3))
	records := map[credential.Ref]credential.Account{}
	revs := map[credential.Ref]uint64{}
	for index := uint64(1); index <= 2000; index++ {
		r := ref(rng.IntN(40))
		c := credential.Change{Ref: r, After: account(r, instant(rng))}
		if old, ok := records[r]; ok {
			c.Expect, c.Before = revs[r], &old
			if rng.IntN(4) == 0 {
				c.After.NextRefreshAt = old.NextRefreshAt
				c.After.Integration = fmt.Sprint("i", rng.IntN(3))
			}
		}
		records[r], revs[r] = change(t, g, index, c), index
	}
	want := schedule(records)
	got, err := g.Due(time.Unix(1<<40, 0), credential.Due{}, 1000)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v\n got %v\nwant %v", err, got, want)
	}

	// Page by page, and up to a time, in small steps.
	now := want[len(want)/2].At
	var paged []credential.Due
	var cursor credential.Due
	for {
		page, err := g.Due(now, cursor, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		paged, cursor = append(paged, page...), page[len(page)-1]
	}
	if due := want[:len(want)/2+1]; !slices.Equal(paged, due) {
		t.Errorf("due at %v:\n got %v\nwant %v", now, paged, due)
	}
	next, ok, err := g.NextDue(cursor)
	if err != nil || !ok || !next.Equal(want[len(want)/2+1].At) {
		t.Errorf("NextDue = %v, %v, %v; want %v", next, ok, err, want[len(want)/2+1].At)
	}
	if _, ok, err := g.NextDue(want[len(want)-1]); ok || err != nil {
		t.Errorf("NextDue after the last = %v, %v", ok, err)
	}
}

func schedule(records map[credential.Ref]credential.Account) []credential.Due {
	var due []credential.Due
	for r, a := range records {
		if !a.NextRefreshAt.IsZero() {
			due = append(due, credential.Due{At: a.NextRefreshAt, Ref: r, Integration: a.Integration})
		}
	}
	slices.SortFunc(due, func(a, b credential.Due) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return slices.Compare([]string{a.Ref.Tenant, a.Ref.ID}, []string{b.Ref.Tenant, b.Ref.ID})
	})
	return due
}

func TestAccountsComeInOrderOfTenantAndID(t *testing.T) {
	g := openMem(t).Group(1)
	var want []credential.Ref
	for _, tenant := range []string{"a", "a+", "a-b", "a.", "ab", "b"} { // "a" + separator sorts before "a+"
		for _, id := range []string{"0", "1", "1+", "A", "a"} {
			want = append(want, credential.Ref{Tenant: tenant, ID: id})
		}
	}
	for i, r := range rand.New(rand.NewPCG(1, 1)).Perm(len(want)) {
		change(t, g, uint64(i+1), credential.Change{Ref: want[r], After: account(want[r], t0), Lines: lines(1), Events: events(want[r], 1)})
	}
	list := func(after credential.Ref, tenant string, limit int) (refs []credential.Ref) {
		err := g.Accounts(after, tenant, func(a credential.Account) bool {
			refs = append(refs, a.Ref)
			return len(refs) < limit
		})
		if err != nil {
			t.Fatal(err)
		}
		return refs
	}
	if got := list(credential.Ref{}, "", 1000); !slices.Equal(got, want) {
		t.Errorf("all: %v", got)
	}
	for i := range want {
		if got := list(want[i], "", 1000); !slices.Equal(got, want[i+1:]) {
			t.Errorf("after %v: %v", want[i], got)
		}
	}
	if got := list(credential.Ref{}, "a", 1000); !slices.Equal(got, want[:5]) {
		t.Errorf("tenant a: %v", got)
	}
	if got := list(want[6], "a+", 2); !slices.Equal(got, want[7:9]) {
		t.Errorf("two of tenant a+ after the second: %v", got)
	}
	if got := list(want[12], "a", 1000); len(got) != 0 {
		t.Errorf("tenant a after an account of a later one: %v", got)
	}
	if got := list(want[0], "b", 1000); !slices.Equal(got, want[25:]) {
		t.Errorf("tenant b after an account of an earlier one: %v", got)
	}
}

func TestEventsAreNumberedWithoutGapsInOrder(t *testing.T) {
	g := openMem(t).Group(1)
	if first, last, err := g.EventBounds(); first != 1 || last != 0 || err != nil {
		t.Errorf("bounds of an empty outbox: %d, %d, %v", first, last, err)
	}
	var want []credential.StoredEvent
	for i := range 30 {
		r, n := ref(i), i%4
		es := events(r, n)
		change(t, g, uint64(i+1), credential.Change{Ref: r, After: account(r, t0), Events: es})
		for _, e := range es {
			want = append(want, credential.StoredEvent{Pos: credential.EventPos(len(want) + 1), Revision: uint64(i + 1), Event: e})
		}
	}
	var got []credential.StoredEvent
	for {
		after := credential.EventPos(len(got))
		page, err := g.Events(after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	if none, err := g.Events(^credential.EventPos(0), 10); err != nil || len(none) != 0 {
		t.Errorf("after the last position there is: %v, %v", none, err)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	g := openMem(t).Group(1)
	r := ref(1)
	a := change(t, g, 1, credential.Change{Ref: r, After: account(r, t0), Events: events(r, 3)})
	const more, each = 40, 500
	for i := range uint64(more) {
		before := a
		a = change(t, g, i+2, credential.Change{Ref: r, Expect: i + 1, Before: &before, After: a.Clone(), Events: events(r, each)})
	}
	const total = 3 + more*each
	first, last, err := g.EventBounds()
	if err != nil || first != total-OutboxEvents+1 || last != total {
		t.Errorf("bounds %d, %d, %v after %d events", first, last, err, total)
	}
	es, err := g.Events(5, 10)
	if err != nil || len(es) != 10 || es[0].Pos != first {
		t.Errorf("a late reader gets %d events from %d on, %v; want the oldest, %d", len(es), es[0].Pos, err, first)
	}
	if _, _, err := g.Get(appendNumber([]byte{tagEvent}, uint64(first-1))); !errors.Is(err, ErrNotFound) {
		t.Errorf("a dropped event is still there: %v", err)
	}
}
