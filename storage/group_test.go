package storage

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/grantd/grantd/storage/storagetest"
)

func TestGetGivesACopyWithItsRevision(t *testing.T) {
	g := openMem(t).Group(1)
	apply(t, g, 3, Batch{Puts: []Put{put("a", "value"), put("empty", "")}})
	v, rev, err := g.Get([]byte("a"))
	if string(v) != "value" || rev != 3 || err != nil {
		t.Fatalf("Get = %q, %d, %v", v, rev, err)
	}
	v[0] = 'X'
	if again, _, _ := g.Get([]byte("a")); string(again) != "value" {
		t.Errorf("a caller's write shows: %q", again)
	}
	if v, rev, err := g.Get([]byte("empty")); v == nil || len(v) != 0 || rev != 3 || err != nil {
		t.Errorf("an empty value: %v, %d, %v", v, rev, err)
	}
	if v, rev, err := g.Get([]byte("absent")); v != nil || rev != 0 || !errors.Is(err, ErrNotFound) {
		t.Errorf("an absent key: %q, %d, %v", v, rev, err)
	}
}

func TestScanGoesThroughTheRangeUntilToldToStop(t *testing.T) {
	g := openMem(t).Group(1)
	apply(t, g, 1, Batch{Puts: []Put{put("", "0"), put("a", "1"), put("b", "2"), put("c", "3"), put("\xff\xff", "4")}})
	scan := func(lo, hi []byte, limit int) (keys []string) {
		err := g.Scan(lo, hi, func(key, _ []byte, rev uint64) (bool, error) {
			if rev != 1 {
				t.Errorf("revision %d of %q", rev, key)
			}
			keys = append(keys, string(key))
			return len(keys) < limit, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	cases := []struct {
		lo, hi []byte
		limit  int
		want   []string
	}{
		{nil, nil, 9, []string{"", "a", "b", "c", "\xff\xff"}},
		{[]byte("a"), []byte("c"), 9, []string{"a", "b"}},
		{[]byte("aa"), nil, 2, []string{"b", "c"}},
		{[]byte("d"), []byte("e"), 9, nil},
	}
	for _, c := range cases {
		if got := scan(c.lo, c.hi, c.limit); !slices.Equal(got, c.want) {
			t.Errorf("%q to %q: %q, want %q", c.lo, c.hi, got, c.want)
		}
	}
	boom := errors.New("boom")
	if err := g.Scan(nil, nil, func(_, _ []byte, _ uint64) (bool, error) { return true, boom }); !errors.Is(err, boom) {
		t.Errorf("Scan swallowed an error: %v", err)
	}
}

func TestMetricsTellWhatTheStoreHolds(t *testing.T) {
	db := openMem(t)
	apply(t, db.Group(1), 1, Batch{Puts: []Put{{Key: []byte("k"), Value: make([]byte, 100_000)}}})
	if m := db.Metrics(); m.WALBytes < 100_000 || m.DiskBytes == 0 || m.MemTableBytes == 0 {
		t.Errorf("metrics %+v", m)
	}
}

func TestGroupBeginsWhereItIsTold(t *testing.T) {
	disk := storagetest.NewDisk()
	db := openOn(t, disk.FS())
	want := Applied{Index: 4, Term: 2, ConfIndex: 4, Conf: []byte("voters")}
	if err := db.Group(1).Begin(want); err != nil {
		t.Fatal(err)
	}
	for name, g := range map[string]*Group{"at once": db.Group(1), "after a crash": openOn(t, disk.Crash(0, 1).FS()).Group(1)} {
		if got, err := g.Applied(); !reflect.DeepEqual(got, want) || err != nil {
			t.Errorf("%s: %+v (%v)", name, got, err)
		}
		apply(t, g, 5, Batch{Puts: []Put{put("k", "v")}})
		if v, rev, err := g.Get([]byte("k")); string(v) != "v" || rev != 5 || err != nil {
			t.Errorf("%s: then %q at %d (%v)", name, v, rev, err)
		}
	}
}
