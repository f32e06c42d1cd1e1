package storage

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

// Whatever the bytes are, reading them ends in a value or an error.
func FuzzDecodersNeverPanic(f *testing.F) {
	rng := rand.New(rand.NewPCG(9, 9))
	a := randomAccount(rng, ref(1))
	record := encodeAccount(&a)
	change, err := Encode(credential.Change{Ref: a.Ref, After: a, Lines: lines(2), Events: events(a.Ref, 2)})
	if err != nil {
		f.Fatal(err)
	}
	e := entry(5)
	stored := make([]byte, entryHeaderLen+len(e.Extensions)+len(e.Data))
	encodeEntry(stored, &e)
	for _, seed := range [][]byte{nil, record, change, stored, scheduleKey(t0, ref(2)), encodeFormat(1), []byte("e\x00")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = decodeEntry(data)
		_, _ = decodeAccount(ref(1), data)
		_, _ = decodeLine(data)
		_, _ = decodeEvent(data)
		_, _ = decodeApplied(data)
		_, _ = decodeFormat(data)
		_, _ = parseRef(data)
		_, _ = parseSchedule(data, data)
		_, _, _ = splitValue(data)
		_ = appendFieldsAbove(nil, data, 3)
		if b, err := DecodeBatch(data); err == nil {
			again, err := b.Encode()
			if err != nil {
				t.Fatalf("a batch that was read does not encode: %v", err)
			}
			if twice, err := DecodeBatch(again); err != nil || !reflect.DeepEqual(b, twice) {
				t.Errorf("%+v became %+v, %v", b, twice, err)
			}
		}
	})
}

func FuzzApplyIsTheSameOnTwoReplicas(f *testing.F) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 5 {
		one, err := randomBatch(rng).Encode()
		if err != nil {
			f.Fatal(err)
		}
		two, err := randomBatch(rng).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(one, two)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		db := openMem(t)
		start := Batch{Puts: []Put{put("k\x01", "v")}, Appends: []Append{{Prefix: []byte("l\x01"), Value: []byte("x")}}}
		commands := []Command{{Index: 1, Term: 1, Batch: mustEncode(t, start)}, {Index: 2, Term: 1, Batch: first}, {Index: 3, Term: 1, Batch: second}}
		one, other := db.Group(1), db.Group(2)
		results, err := one.Apply(commands)
		for i, c := range commands {
			r, e := other.Apply([]Command{c})
			if e != nil {
				if err == nil {
					t.Fatalf("only the replica that took the entries one by one failed: %v", e)
				}
				return // both stop here, one of them an entry later
			}
			if err == nil && (r[0].Conflict != results[i].Conflict || (r[0].Err == nil) != (results[i].Err == nil)) {
				t.Fatalf("results %+v and %+v", r[0], results[i])
			}
		}
		if err != nil {
			t.Fatalf("only the replica that took all entries at once failed: %v", err)
		}
		if a, b := dump(t, one), dump(t, other); !maps.Equal(a, b) {
			t.Errorf("states differ: %q and %q", a, b)
		}
	})
}

func FuzzImportTakesAllOrNothing(f *testing.F) {
	db := openMem(f)
	apply(f, db.Group(1), 3, Batch{Puts: []Put{put("a", "1"), put("b", "2")}})
	var stream bytes.Buffer
	if _, err := db.Group(1).Export(&stream); err != nil {
		f.Fatal(err)
	}
	f.Add(stream.Bytes())
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		g := openMem(t).Group(1)
		apply(t, g, 1, Batch{Puts: []Put{put("k", "old")}})
		before := dump(t, g)
		if err := g.Import(bytes.NewReader(data)); err == nil {
			return
		}
		if a, err := g.Applied(); err != nil || a.Index != 1 || !maps.Equal(before, dump(t, g)) {
			t.Errorf("applied %+v, %v: a refused snapshot changed the state", a, err)
		}
	})
}

func FuzzScheduleKeysSortByTime(f *testing.F) {
	f.Add(int64(0), int64(0), int64(0), int64(1))
	f.Add(int64(-1), int64(999_999_999), int64(1)<<40, int64(0))
	f.Fuzz(func(t *testing.T, sec1, nsec1, sec2, nsec2 int64) {
		const limit = 1 << 50
		one, two := time.Unix(sec1%limit, nsec1).UTC(), time.Unix(sec2%limit, nsec2).UTC()
		a, b := appendTime(nil, one), appendTime(nil, two)
		if got, want := bytes.Compare(a, b), one.Compare(two); got != want {
			t.Errorf("%v and %v: keys compare %d, times %d", one, two, got, want)
		}
		d, err := parseSchedule(scheduleKey(one, ref(1)), []byte("crm"))
		if want := (credential.Due{At: one, Ref: ref(1), Integration: "crm"}); err != nil || d != want {
			t.Errorf("%+v, %v; want %+v", d, err, want)
		}
	})
}
