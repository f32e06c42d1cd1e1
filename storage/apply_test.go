package storage

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func put(key, value string) Put { return Put{Key: []byte(key), Value: []byte(value)} }

func check(key string, rev uint64) Check { return Check{Key: []byte(key), Revision: rev} }

func TestBatchTakesEffectOnlyIfEveryCheckHolds(t *testing.T) {
	setup := Batch{Puts: []Put{put("a", "1"), put("b", "1"), put("b2", "1")}}
	effects := Batch{
		Puts:         []Put{put("a", "2"), put("new", "2")},
		Deletes:      [][]byte{[]byte("b")},
		DeleteRanges: []KeyRange{{[]byte("b2"), []byte("c")}},
		Appends:      []Append{{Prefix: []byte("list"), Value: []byte("x")}},
	}
	cases := []struct {
		name     string
		checks   []Check
		conflict bool
	}{
		{"none", nil, false},
		{"revision matches", []Check{check("a", 5)}, false},
		{"absent as expected", []Check{check("new", 0)}, false},
		{"revision is older", []Check{check("a", 4)}, true},
		{"revision is newer", []Check{check("a", 6)}, true},
		{"exists though it must not", []Check{check("a", 0)}, true},
		{"absent though it must not be", []Check{check("new", 5)}, true},
		{"one of two fails", []Check{check("a", 5), check("b", 9)}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := openMem(t).Group(1)
			apply(t, g, 5, setup)
			before := dump(t, g)
			b := effects
			b.Checks = c.checks
			r := apply(t, g, 6, b)
			if r.Index != 6 || r.Conflict != c.conflict || r.Err != nil {
				t.Fatalf("result %+v, want conflict %v", r, c.conflict)
			}
			after := dump(t, g)
			if c.conflict && !maps.Equal(before, after) {
				t.Errorf("a conflict changed the state from %q to %q", before, after)
			}
			want := map[string]string{"a": "6:2", "new": "6:2", "list\x00\x00\x00\x00\x00\x00\x00\x01": "6:x"}
			delete(after, "list")
			if !c.conflict && !maps.Equal(want, after) {
				t.Errorf("state %q, want %q", after, want)
			}
			if a, err := g.Applied(); err != nil || a.Index != 6 {
				t.Errorf("applied %+v, %v: a conflict must be counted as applied, too", a, err)
			}
		})
	}
}

func TestLaterEntriesOfOneApplySeeEarlierOnes(t *testing.T) {
	g := openMem(t).Group(1)
	apply(t, g, 1, Batch{Puts: []Put{put("old", "x"), put("r1", "x"), put("r2", "x")}})
	entries := []Batch{
		{Checks: []Check{check("k", 0)}, Puts: []Put{put("k", "1")}, DeleteRanges: []KeyRange{{[]byte("r"), []byte("s")}}},
		{Checks: []Check{check("k", 0)}, Puts: []Put{put("k", "lost")}},
		{Checks: []Check{check("k", 2), check("r1", 0)}, Puts: []Put{put("k", "2")}, Deletes: [][]byte{[]byte("old")}},
		{Checks: []Check{check("old", 1)}, Puts: []Put{put("k", "lost")}},
		{Checks: []Check{check("old", 0)}, Appends: []Append{{Prefix: []byte("e"), Value: []byte("x")}}},
		{Appends: []Append{{Prefix: []byte("e"), Value: []byte("y")}, {Prefix: []byte("e"), Value: []byte("z")}}},
	}
	var commands []Command
	for i, b := range entries {
		commands = append(commands, Command{Index: uint64(i + 2), Term: 1, Batch: mustEncode(t, b)})
	}
	results, err := g.Apply(commands)
	if err != nil {
		t.Fatal(err)
	}
	var conflicts []bool
	for _, r := range results {
		conflicts = append(conflicts, r.Conflict)
	}
	if want := []bool{false, true, false, true, false, false}; !slices.Equal(conflicts, want) {
		t.Errorf("conflicts %v, want %v", conflicts, want)
	}
	state := dump(t, g)
	if state["k"] != "4:2" || state["old"] != "" || state["r2"] != "" {
		t.Errorf("state %q", state)
	}
	for i, want := range []string{"6:x", "7:y", "7:z"} {
		if got := state[string(appendNumber([]byte("e"), uint64(i+1)))]; got != want {
			t.Errorf("list value %d is %q, want %q", i+1, got, want)
		}
	}
}

// Replicas cut the same log into calls of Apply in different ways, restart in
// between and replay: they must end alike.
func TestApplyIsTheSameHoweverTheLogIsCut(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var entries []Command
		for i := range 200 {
			entries = append(entries, Command{Index: uint64(i + 1), Term: uint64(i/50 + 1), Batch: mustEncode(t, randomBatch(rng))})
			if i%40 == 7 {
				entries[i] = Command{Index: uint64(i + 1), Term: 1, Conf: fmt.Appendf(nil, "conf %d", i)}
			}
		}
		one, other := openMem(t).Group(3), openMem(t).Group(3)
		for _, e := range entries {
			if _, err := one.Apply([]Command{e}); err != nil {
				t.Fatal(err)
			}
		}
		for at := 0; at < len(entries); {
			n := 1 + rng.IntN(30)
			from := max(0, at-rng.IntN(10)) // some again, as after a restart
			to := min(at+n, len(entries))
			if _, err := other.Apply(entries[from:to]); err != nil {
				t.Fatal(err)
			}
			at = to
		}
		if a, b := dump(t, one), dump(t, other); !maps.Equal(a, b) {
			t.Fatalf("seed %d: states differ:\n%q\n%q", seed, a, b)
		}
		a, _ := one.Applied()
		b, _ := other.Applied()
		if a.Index != 200 || a.Index != b.Index || a.Term != b.Term || a.ConfIndex != b.ConfIndex || string(a.Conf) != string(b.Conf) {
			t.Fatalf("seed %d: applied %+v and %+v", seed, a, b)
		}
	}
}

func randomBatch(rng *rand.Rand) Batch {
	key := func() []byte { return []byte{'k', byte(rng.IntN(20))} }
	var b Batch
	for range rng.IntN(2) {
		b.Checks = append(b.Checks, Check{Key: key(), Revision: uint64(rng.IntN(2)) * uint64(rng.IntN(100))})
	}
	for range rng.IntN(4) {
		b.Puts = append(b.Puts, Put{Key: key(), Value: protowire.AppendVarint(protowire.AppendTag(nil, protowire.Number(1+rng.IntN(9)), 0), 7), KeepAbove: uint32(rng.IntN(8))})
	}
	for range rng.IntN(3) {
		b.Deletes = append(b.Deletes, key())
	}
	if rng.IntN(5) == 0 {
		b.DeleteRanges = append(b.DeleteRanges, KeyRange{key(), key()})
	}
	for range rng.IntN(3) {
		b.Appends = append(b.Appends, Append{Prefix: []byte{'l', byte(rng.IntN(2))}, Value: key(), Keep: uint64(rng.IntN(6))})
	}
	return b
}

func TestAppliedEntriesAreSkipped(t *testing.T) {
	g := openMem(t).Group(1)
	apply(t, g, 7, Batch{Puts: []Put{put("k", "1")}})
	for _, index := range []uint64{1, 6, 7} {
		apply(t, g, index, Batch{Puts: []Put{put("k", "again")}})
	}
	if v, rev, err := g.Get([]byte("k")); string(v) != "1" || rev != 7 || err != nil {
		t.Errorf("Get = %q, %d, %v", v, rev, err)
	}
}

func TestUnreadableEntryChangesNothingAndIsSaid(t *testing.T) {
	g := openMem(t).Group(1)
	results, err := g.Apply([]Command{
		{Index: 1, Term: 1, Batch: []byte{0xff, 0xff, 0xff}},
		{Index: 2, Term: 1, Batch: mustEncode(t, Batch{Puts: []Put{put("k", "v")}})},
		{Index: 3, Term: 1},
		{Index: 4, Term: 1, Batch: []byte{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(results[0].Err, ErrBadBatch) || results[1].Err != nil || results[2].Err != nil || results[3].Err != nil {
		t.Errorf("results %+v", results)
	}
	if a, _ := g.Applied(); a.Index != 4 {
		t.Errorf("applied %+v", a)
	}
	if got := dump(t, g); !maps.Equal(got, map[string]string{"k": "2:v"}) {
		t.Errorf("state %q", got)
	}
}

// A node that applied the part of an entry that it understands would from then
// on hold another state than the others.
func TestEntryOfANewerVersionStopsTheNode(t *testing.T) {
	known := mustEncode(t, Batch{Puts: []Put{put("k", "v")}})
	nested := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte("k"))
	nested = protowire.AppendVarint(protowire.AppendTag(nested, 99, protowire.VarintType), 1)
	cases := map[string][]byte{
		"top level": protowire.AppendVarint(protowire.AppendTag(known, 99, protowire.VarintType), 1),
	}
	for name, field := range map[string]protowire.Number{"check": 1, "range": 2, "put": 4, "append": 5} {
		cases[name] = protowire.AppendBytes(protowire.AppendTag(slices.Clone(known), field, protowire.BytesType), nested)
	}
	for name, entry := range cases {
		t.Run(name, func(t *testing.T) {
			g := openMem(t).Group(1)
			_, err := g.Apply([]Command{{Index: 1, Term: 1, Batch: known}, {Index: 2, Term: 1, Batch: entry}})
			if !errors.Is(err, ErrNewerFormat) {
				t.Fatalf("error %v, want ErrNewerFormat", err)
			}
			if a, _ := g.Applied(); a.Index != 0 || len(dump(t, g)) != 0 {
				t.Errorf("applied %+v, state %q: nothing of the call may be applied", a, dump(t, g))
			}
		})
	}
}

func TestListKeepsTheNewestValues(t *testing.T) {
	g := openMem(t).Group(1)
	index := uint64(0)
	add := func(keep uint64, n int) {
		for range n {
			index++
			apply(t, g, index, Batch{Appends: []Append{{Prefix: []byte("l"), Value: fmt.Append(nil, index), Keep: keep}}})
		}
	}
	numbers := func() (ns []uint64) {
		for i := range uint64(100) {
			if _, _, err := g.Get(appendNumber([]byte("l"), i)); err == nil {
				ns = append(ns, i)
			}
		}
		return ns
	}
	add(0, 5)
	if got := numbers(); !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("without a bound: %v", got)
	}
	add(4, 1) // shrinks by two at a time
	if got := numbers(); !slices.Equal(got, []uint64{3, 4, 5, 6}) {
		t.Errorf("bound 4: %v", got)
	}
	add(4, 10)
	if got := numbers(); !slices.Equal(got, []uint64{13, 14, 15, 16}) {
		t.Errorf("bound 4: %v", got)
	}
	add(1, 3)
	if got := numbers(); !slices.Equal(got, []uint64{19}) {
		t.Errorf("bound 1: %v", got)
	}
}

func TestGroupsDoNotSeeEachOther(t *testing.T) {
	db := openMem(t)
	ids := []uint16{0, 1, 255, 256, 0xfffe, 0xffff}
	for _, id := range ids {
		apply(t, db.Group(id), 1, Batch{Puts: []Put{put("k", fmt.Sprint(id)), put("\xff\xff", "last")}})
	}
	for _, id := range ids {
		want := map[string]string{"k": fmt.Sprintf("1:%d", id), "\xff\xff": "1:last"}
		if got := dump(t, db.Group(id)); !maps.Equal(got, want) {
			t.Errorf("group %d: %q, want %q", id, got, want)
		}
	}
}
