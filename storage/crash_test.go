package storage

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/grantd/grantd/storage/storagetest"
)

// crashPoint is a disk as a crash at one of its writes left it.
type crashPoint struct {
	disk  *storagetest.Disk
	write storagetest.Write
	// What had been acknowledged: acked at least, and not more than ackedAfter,
	// for some writes are Pebble's own, in the background.
	acked, ackedAfter uint64
}

// crashEverywhere has the work done on a disk, with tables so small that logs
// are rotated and tables flushed and compacted, and returns what a crash at
// each write would have left. The work reports progress through acked.
func crashEverywhere(t *testing.T, unsyncedPercent int, work func(db *DB, acked *atomic.Uint64)) []crashPoint {
	t.Helper()
	disk := storagetest.NewDisk()
	db, err := Open("data", Options{FS: disk.FS(), MemTableBytes: 32 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var acked atomic.Uint64
	var mu sync.Mutex
	var points []crashPoint
	disk.BeforeWrite(func(w storagetest.Write) error {
		p := crashPoint{write: w, acked: acked.Load()}
		p.disk = disk.Crash(unsyncedPercent, uint64(w.N))
		p.ackedAfter = acked.Load()
		mu.Lock()
		defer mu.Unlock()
		points = append(points, p)
		return nil
	})
	work(db, &acked)
	disk.BeforeWrite(nil)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return points
}

func reopen(t *testing.T, p crashPoint) *DB {
	t.Helper()
	db, err := Open("data", Options{FS: p.disk.FS()})
	if err != nil {
		t.Fatalf("crash at write %d (%s): %v", p.write.N, p.write.Path, err)
	}
	return db
}

// Round i of the workload below: note a journal entry, append log entry i
// synced, apply it, and now and then truncate what is old.
func round(t *testing.T, db *DB, log *Log, i uint64) {
	t.Helper()
	wait, err := db.Journal().Begin(fmt.Sprintf("%04d", i), fmt.Appendf(nil, "answer %d", i))
	if err != nil {
		t.Error(err)
		return
	}
	if i%3 == 0 {
		if err := db.Journal().Delete(fmt.Sprintf("%04d", i/3)); err != nil {
			t.Error(err)
		}
	}
	e := entry(i)
	e.Data = make([]byte, 600)
	if err := errors.Join(log.Append([]Entry{e}), wait()); err != nil {
		t.Error(err)
	}
}

// roundBatch writes values of both kinds: those that stand in tables, and those
// that are kept apart (separateValues).
func roundBatch(i uint64) Batch {
	return Batch{
		Puts:    []Put{put("newest", fmt.Sprint(i)), put(fmt.Sprintf("k%04d", i%20), fmt.Sprintf("%0*d", 300+300*(i%2), i))},
		Appends: []Append{{Prefix: []byte("l"), Value: []byte("x"), Keep: 5}},
	}
}

func TestWhatWasSyncedSurvivesACrashAtAnyWrite(t *testing.T) {
	const rounds, group, kept = 150, 9, 20
	for _, percent := range []int{0, 50} {
		t.Run(fmt.Sprintf("%d percent of unsynced blocks survive", percent), func(t *testing.T) {
			points := crashEverywhere(t, percent, func(db *DB, acked *atomic.Uint64) {
				log := openLog(t, db, group)
				for i := uint64(1); i <= rounds; i++ {
					round(t, db, log, i)
					acked.Store(i)
					apply(t, db.Group(group), i, roundBatch(i))
					if i%10 == 0 && i > kept {
						if err := log.Truncate(0, i-kept); err != nil {
							t.Error(err)
						}
					}
				}
			})
			models := stateAfterEach(t, rounds)
			for _, p := range points {
				db := reopen(t, p)
				verifyLog(t, p, openLog(t, db, group))
				verifyState(t, p, db.Group(group), models)
				verifyJournal(t, p, db.Journal())
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if len(points) < rounds || t.Failed() {
				t.Errorf("%d crash points", len(points))
			}
		})
	}
}

func stateAfterEach(t *testing.T, rounds uint64) []map[string]string {
	g := openMem(t).Group(0)
	models := []map[string]string{{}}
	for i := uint64(1); i <= rounds; i++ {
		apply(t, g, i, roundBatch(i))
		models = append(models, dump(t, g))
	}
	return models
}

func verifyLog(t *testing.T, p crashPoint, log *Log) {
	t.Helper()
	first, last := log.FirstIndex(), log.LastIndex()
	if last < p.acked || last > p.ackedAfter+1 {
		t.Errorf("crash at write %d: the log ends at %d, acknowledged was %d", p.write.N, last, p.acked)
	}
	for i := first; i <= last && i > 0; i++ {
		if e, err := log.Get(i); err != nil || e.Term != entry(i).Term || len(e.Data) != 600 {
			t.Errorf("crash at write %d: entry %d: %+v, %v", p.write.N, i, e, err)
		}
	}
}

// The state may have lost its newest entries, for the log still has them; but
// it is the state of exactly one moment.
func verifyState(t *testing.T, p crashPoint, g *Group, models []map[string]string) {
	t.Helper()
	log, err := g.Log()
	if err != nil {
		t.Fatal(err)
	}
	a, err := g.Applied()
	if err != nil || a.Index > log.LastIndex() || a.Index+1 < log.FirstIndex() {
		t.Errorf("crash at write %d: applied %d, the log has %d to %d (%v)", p.write.N, a.Index, log.FirstIndex(), log.LastIndex(), err)
		return
	}
	if got := dump(t, g); !maps.Equal(got, models[a.Index]) {
		t.Errorf("crash at write %d: the state is not that of entry %d", p.write.N, a.Index)
	}
}

// A note stands before the log entry that was appended after it, and so does
// the deletion of a note.
func verifyJournal(t *testing.T, p crashPoint, j *Journal) {
	t.Helper()
	for i := uint64(1); i <= p.acked; i++ {
		v, err := j.Get(fmt.Sprintf("%04d", i))
		if i*3 < p.acked { // a note was made after it was deleted
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("crash at write %d (acknowledged %d): deleted note %d is back: %q, %v", p.write.N, p.acked, i, v, err)
			}
			continue
		}
		if i*3 <= p.ackedAfter+1 && errors.Is(err, ErrNotFound) {
			continue // its deletion was under way
		}
		if string(v) != fmt.Sprintf("answer %d", i) || err != nil {
			t.Errorf("crash at write %d (acknowledged %d): note %d is %q, %v", p.write.N, p.acked, i, v, err)
		}
	}
}

func TestSyncedNotesAndStableValuesSurviveACrash(t *testing.T) {
	points := crashEverywhere(t, 0, func(db *DB, acked *atomic.Uint64) {
		s := db.Group(1).Stable()
		for i := uint64(1); i <= 50; i++ {
			err := errors.Join(db.Journal().Put("note", fmt.Append(nil, i)), db.Journal().Sync())
			if err != nil {
				t.Error(err)
			}
			acked.Add(1)
			if err := s.SetUint64([]byte("term"), i); err != nil {
				t.Error(err)
			}
			acked.Add(1)
		}
	})
	for _, p := range points {
		if p.acked == 0 {
			continue
		}
		db := reopen(t, p)
		note, err := db.Journal().Get("note")
		if err != nil {
			t.Fatal(err)
		}
		v, err := strconv.ParseUint(string(note), 10, 64)
		if want := (p.acked + 1) / 2; err != nil || v < want || v > (p.ackedAfter+1)/2+1 {
			t.Errorf("crash at write %d: note %d, %v; acknowledged was %d", p.write.N, v, err, want)
		}
		n, err := db.Group(1).Stable().GetUint64([]byte("term"))
		if want := p.acked / 2; err != nil || n < want || n > p.ackedAfter/2+1 {
			t.Errorf("crash at write %d: term %d, %v; acknowledged was %d", p.write.N, n, err, want)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A crash while a snapshot is installed leaves the old state or the new one;
// once Import has returned, the new one.
func TestImportIsAllOrNothingThroughACrash(t *testing.T) {
	for _, percent := range []int{0, 50} {
		oldState, newState := map[string]string{}, map[string]string{}
		snapshot := exportOf(t, 40, newState)
		points := crashEverywhere(t, percent, func(db *DB, acked *atomic.Uint64) {
			g := db.Group(4)
			for i := uint64(1); i <= 30; i++ {
				apply(t, g, i, roundBatch(i))
			}
			maps.Copy(oldState, dump(t, g))
			if err := db.Journal().Sync(); err != nil { // from here on the old state is safe
				t.Error(err)
			}
			acked.Store(1)
			if err := g.Import(snapshot()); err != nil {
				t.Error(err)
			}
			acked.Store(2)
			for i := uint64(41); i <= 100; i++ { // flushes and compacts over it
				apply(t, g, i, roundBatch(i))
			}
			acked.Store(3)
		})
		for _, p := range points {
			db := reopen(t, p)
			g := db.Group(4)
			a, err := g.Applied()
			if err != nil {
				t.Fatal(err)
			}
			got := dump(t, g)
			switch {
			case p.acked == 1 && a.Index == 30 && maps.Equal(got, oldState):
			case p.acked >= 1 && a.Index == 40 && maps.Equal(got, newState) && string(a.Conf) == "conf":
			case p.acked >= 1 && a.Index <= 40, p.acked >= 2 && a.Index < 40:
				t.Errorf("crash at write %d (%s), progress %d: applied %d with %d keys", p.write.N, p.write.Path, p.acked, a.Index, len(got))
			}
			if _, err := p.disk.FS().Stat("data/import"); err == nil {
				t.Errorf("crash at write %d: leftovers of the import were not removed", p.write.N)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAppliedCoversTheConfiguration(t *testing.T) {
	disk := storagetest.NewDisk()
	db, err := Open("data", Options{FS: disk.FS()})
	if err != nil {
		t.Fatal(err)
	}
	want := Applied{Index: 12, Term: 3, ConfIndex: 11, Conf: []byte("voters")}
	_, err = db.Group(1).Apply([]Command{{Index: 11, Term: 2, Conf: want.Conf}, {Index: 12, Term: 3}})
	if err := errors.Join(err, db.Journal().Sync()); err != nil {
		t.Fatal(err)
	}
	after := openOn(t, disk.Crash(0, 1).FS())
	if a, err := after.Group(1).Applied(); err != nil || !reflect.DeepEqual(a, want) {
		t.Errorf("applied %+v, %v", a, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBegunNoteIsSafeOnceWaitHasReturned(t *testing.T) {
	points := crashEverywhere(t, 0, func(db *DB, acked *atomic.Uint64) {
		for i := uint64(1); i <= 30; i++ {
			wait, err := db.Journal().Begin(fmt.Sprintf("%04d", i), fmt.Append(nil, i))
			if err != nil {
				t.Fatal(err)
			}
			if v, err := db.Journal().Get(fmt.Sprintf("%04d", i)); string(v) != fmt.Sprint(i) || err != nil {
				t.Errorf("note %d is not seen while it is synced: %q, %v", i, v, err)
			}
			if err := wait(); err != nil {
				t.Error(err)
			}
			acked.Store(i)
		}
	})
	for _, p := range points {
		db := reopen(t, p)
		for i := uint64(1); i <= p.acked; i++ {
			if v, err := db.Journal().Get(fmt.Sprintf("%04d", i)); string(v) != fmt.Sprint(i) || err != nil {
				t.Errorf("crash at write %d (acknowledged %d): note %d is %q, %v", p.write.N, p.acked, i, v, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
