package storage

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func entry(i uint64) Entry {
	return Entry{Index: i, Term: i / 10, Kind: uint8(i % 5), At: t0.Add(time.Duration(i)), Data: fmt.Appendf(nil, "data %d", i), Extensions: fmt.Appendf(nil, "ext %d", i)}
}

func run(from, to uint64) (es []Entry) {
	for i := from; i <= to; i++ {
		es = append(es, entry(i))
	}
	return es
}

func openLog(t *testing.T, db *DB, group uint16) *Log {
	t.Helper()
	l, err := db.Group(group).Log()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t *testing.T, l *Log, es []Entry) {
	t.Helper()
	if err := l.Append(es); err != nil {
		t.Fatal(err)
	}
}

func TestEntriesComeBackAsTheyWereAppended(t *testing.T) {
	l := openLog(t, openMem(t), 1)
	want := []Entry{
		entry(5),
		{Index: 6},
		{Index: 7, Term: math.MaxUint64, Kind: 255, At: time.Unix(-1, 1).UTC(), Data: make([]byte, 100_000)},
		{Index: 8, Extensions: []byte{0}},
	}
	mustAppend(t, l, want)
	for _, e := range want {
		got, err := l.Get(e.Index)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("Get(%d) = %+v, %v; want %+v", e.Index, got, err, e)
		}
	}
	for _, i := range []uint64{0, 4, 9, math.MaxUint64} {
		if _, err := l.Get(i); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get(%d): %v, want ErrNotFound", i, err)
		}
	}
}

func TestTruncateKeepsTheBoundsRight(t *testing.T) {
	cases := []struct {
		name        string
		lo, hi      uint64
		first, last uint64
		fails       bool
	}{
		{"the oldest", 10, 12, 13, 20, false},
		{"from before the oldest", 0, 12, 13, 20, false},
		{"the newest", 18, 20, 10, 17, false},
		{"beyond the newest", 18, math.MaxUint64, 10, 17, false},
		{"all", 10, 20, 0, 0, false},
		{"more than all", 0, math.MaxUint64, 0, 0, false},
		{"one of the oldest", 10, 10, 11, 20, false},
		{"nothing below", 1, 9, 10, 20, false},
		{"nothing above", 21, 30, 10, 20, false},
		{"nothing at all", 15, 14, 10, 20, false},
		{"a hole", 12, 14, 10, 20, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			db, err := Open("data", Options{FS: fs})
			if err != nil {
				t.Fatal(err)
			}
			l := openLog(t, db, 7)
			mustAppend(t, l, run(10, 20))
			mustAppend(t, openLog(t, db, 8), run(1, 3)) // the neighbour is not touched
			if err := l.Truncate(c.lo, c.hi); (err != nil) != c.fails {
				t.Errorf("Truncate: %v", err)
			}
			verify := func(l, neighbour *Log) {
				t.Helper()
				if l.FirstIndex() != c.first || l.LastIndex() != c.last {
					t.Errorf("bounds %d, %d; want %d, %d", l.FirstIndex(), l.LastIndex(), c.first, c.last)
				}
				for i := uint64(9); i <= 21; i++ {
					_, err := l.Get(i)
					if in := i >= c.first && i <= c.last; in != (err == nil) {
						t.Errorf("Get(%d): %v", i, err)
					}
				}
				if neighbour.FirstIndex() != 1 || neighbour.LastIndex() != 3 {
					t.Errorf("the neighbour's bounds: %d, %d", neighbour.FirstIndex(), neighbour.LastIndex())
				}
			}
			verify(l, openLog(t, db, 8))
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = openOn(t, fs)
			verify(openLog(t, db, 7), openLog(t, db, 8))
		})
	}
}

func TestLogGoesOnWhereItEnds(t *testing.T) {
	l := openLog(t, openMem(t), 1)
	mustAppend(t, l, run(3, 5))
	for name, es := range map[string][]Entry{"a gap": run(7, 8), "overlap": run(5, 6), "a gap within": {entry(6), entry(8)}} {
		if err := l.Append(es); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := l.Truncate(0, 100); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, run(500, 501)) // an empty log begins anywhere
	mustAppend(t, l, nil)
	if l.FirstIndex() != 500 || l.LastIndex() != 501 {
		t.Errorf("bounds %d, %d", l.FirstIndex(), l.LastIndex())
	}
}

func TestOverwrittenEntriesAreGone(t *testing.T) {
	l := openLog(t, openMem(t), 1)
	mustAppend(t, l, run(1, 10))
	if err := l.Truncate(6, 10); err != nil {
		t.Fatal(err)
	}
	other := entry(6)
	other.Data = []byte("another leader's")
	mustAppend(t, l, []Entry{other})
	if got, err := l.Get(6); err != nil || !reflect.DeepEqual(got, other) {
		t.Errorf("Get(6) = %+v, %v", got, err)
	}
	if _, err := l.Get(7); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get(7): %v", err)
	}
}

func TestStableValuesComeBack(t *testing.T) {
	db := openMem(t)
	s, other := db.Group(1).Stable(), db.Group(2).Stable()
	if v, err := s.Get([]byte("x")); v != nil || err != nil {
		t.Errorf("never set: %q, %v", v, err)
	}
	if n, err := s.GetUint64([]byte("x")); n != 0 || err != nil {
		t.Errorf("never set: %d, %v", n, err)
	}
	if err := errors.Join(s.SetUint64([]byte("x"), math.MaxUint64), s.Set([]byte("y"), []byte("n1"))); err != nil {
		t.Fatal(err)
	}
	if n, err := s.GetUint64([]byte("x")); n != math.MaxUint64 || err != nil {
		t.Errorf("number: %d, %v", n, err)
	}
	if v, err := s.Get([]byte("y")); string(v) != "n1" || err != nil {
		t.Errorf("value: %q, %v", v, err)
	}
	if _, err := s.GetUint64([]byte("y")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a value read as a number: %v", err)
	}
	if v, err := other.Get([]byte("y")); v != nil || err != nil {
		t.Errorf("the other group's: %q, %v", v, err)
	}
}

func TestJournalNotesAndForgets(t *testing.T) {
	j := openMem(t).Journal()
	each := func(limit int) (notes []string) {
		err := j.Each(func(key string, value []byte) (bool, error) {
			notes = append(notes, key+"="+string(value))
			return len(notes) < limit, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return notes
	}
	if _, err := j.Get("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("never put: %v", err)
	}
	err := errors.Join(j.Put("b", []byte("2")), j.Put("a", []byte("1")), j.Put("c\xff", nil), j.Put("b", []byte("3")), j.Sync())
	if err != nil {
		t.Fatal(err)
	}
	if got := each(9); !reflect.DeepEqual(got, []string{"a=1", "b=3", "c\xff="}) {
		t.Errorf("notes %q", got)
	}
	if got := each(1); len(got) != 1 {
		t.Errorf("Each went on after false: %q", got)
	}
	if err := errors.Join(j.Delete("b"), j.Delete("never")); err != nil {
		t.Fatal(err)
	}
	if v, err := j.Get("a"); string(v) != "1" || err != nil {
		t.Errorf("Get(a) = %q, %v", v, err)
	}
	if _, err := j.Get("b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
	onDisk := func() (keys int) {
		for _, key := range []string{"a", "b", "c\xff", "d"} {
			if _, closer, err := j.db.Get(journalKey(key)); err == nil {
				keys++
				_ = closer.Close()
			}
		}
		return keys
	}
	if got := each(9); !reflect.DeepEqual(got, []string{"a=1", "c\xff="}) || onDisk() != 3 {
		t.Errorf("after a deletion %q, %d on the disk", got, onDisk())
	}
	wait, err := j.Begin("d", []byte("4"))
	if err := errors.Join(err, wait()); err != nil || onDisk() != 3 {
		t.Errorf("%v; the next write left %d on the disk, want a, c and d", err, onDisk())
	}
	for i := range maxForgotten {
		if err := j.Delete(fmt.Sprint("x", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(j.forgotten); n >= maxForgotten {
		t.Errorf("%d wait to be deleted", n)
	}
	boom := errors.New("boom")
	if err := j.Each(func(string, []byte) (bool, error) { return false, boom }); !errors.Is(err, boom) {
		t.Errorf("Each swallowed an error: %v", err)
	}
}
