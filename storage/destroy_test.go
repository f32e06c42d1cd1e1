package storage

import (
	"bytes"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/storage/storagetest"
)

// fillGroup gives a group something of everything.
func fillGroup(t *testing.T, g *Group) {
	t.Helper()
	log, err := g.Log()
	if err != nil {
		t.Fatal(err)
	}
	for i := log.LastIndex() + 1; i <= 5; i++ {
		if err := log.Append([]Entry{entry(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Stable().SetUint64([]byte("CurrentTerm"), 7); err != nil {
		t.Fatal(err)
	}
	apply(t, g, 5, Batch{Puts: []Put{put("k", "v")}})
}

// left says what there is of a group, beside its stable values.
func left(t *testing.T, g *Group) (all []string) {
	t.Helper()
	log, err := g.Log()
	if err != nil {
		t.Fatal(err)
	}
	if log.LastIndex() != 0 {
		all = append(all, "log")
	}
	if a, err := g.Applied(); err != nil || a.Index != 0 {
		all = append(all, "applied index")
	}
	if _, _, err := g.Get([]byte("k")); !errors.Is(err, ErrNotFound) {
		all = append(all, "state")
	}
	return all
}

func TestDestroyedGroupBeginsAnewBesideOthers(t *testing.T) {
	fs := vfs.NewMem()
	db := openOn(t, fs)
	ids := []uint16{0, 6, 7, 8, 0xFFFF}
	for _, id := range ids {
		fillGroup(t, db.Group(id))
	}
	for _, id := range []uint16{7, 0xFFFF} {
		g := db.Group(id)
		if err := g.Destroy(); err != nil {
			t.Fatal(err)
		}
		if what := left(t, g); len(what) > 0 {
			t.Errorf("group %d still has its %v", id, what)
		}
		if there, err := g.Exists(); there || err != nil {
			t.Errorf("group %d exists (%v)", id, err)
		}
		if known, err := g.Known(); !known || err != nil {
			t.Errorf("group %d is forgotten (%v)", id, err)
		}
		if term, err := g.Stable().GetUint64([]byte("CurrentTerm")); term != 7 || err != nil {
			t.Errorf("the term of group %d is %d (%v)", id, term, err)
		}
	}
	if got, err := db.Groups(); !slices.Equal(got, []uint16{0, 6, 8}) || err != nil {
		t.Errorf("groups %v (%v)", got, err)
	}
	for _, id := range []uint16{0, 6, 8} {
		if what := left(t, db.Group(id)); len(what) != 3 {
			t.Errorf("group %d has only its %v", id, what)
		}
	}
	again := db.Group(7)
	fillGroup(t, again)
	if what := left(t, again); len(what) != 3 {
		t.Errorf("group 7, made again, has only its %v", what)
	}
	var snapshot bytes.Buffer
	if _, err := db.Group(6).Export(&snapshot); err != nil {
		t.Fatal(err)
	}
	last := db.Group(0xFFFF)
	if err := last.Import(&snapshot); err != nil {
		t.Fatal(err)
	}
	if v, _, err := last.Get([]byte("k")); string(v) != "v" || err != nil {
		t.Errorf("imported into a destroyed group: %q (%v)", v, err)
	}
}

// TestDestroyedGroupKnowsHowFarItWas: until log or state are there again, by
// raft's measure, term before index.
func TestDestroyedGroupKnowsHowFarItWas(t *testing.T) {
	add := func(t *testing.T, g *Group, index, term uint64) {
		log, err := g.Log()
		if err != nil {
			t.Fatal(err)
		}
		e := entry(index)
		e.Term = term
		if err := log.Append([]Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	behind := func(t *testing.T, g *Group, want bool) {
		t.Helper()
		if got, err := g.Behind(); got != want || err != nil {
			t.Errorf("behind: %v (%v), want %v", got, err, want)
		}
	}
	destroy := func(t *testing.T, g *Group) {
		t.Helper()
		if err := g.Destroy(); err != nil {
			t.Fatal(err)
		}
	}
	g := openMem(t).Group(3)
	behind(t, g, false)
	add(t, g, 1, 1)
	add(t, g, 2, 5) // never applied
	behind(t, g, false)
	destroy(t, g)
	behind(t, g, true)
	add(t, g, 1, 1)
	behind(t, g, true)
	add(t, g, 2, 4)
	add(t, g, 3, 4)
	behind(t, g, true) // longer, but of an older leader
	destroy(t, g)
	behind(t, g, true)
	add(t, g, 1, 5)
	behind(t, g, true) // the first destruction still counts
	add(t, g, 2, 5)
	behind(t, g, false)
	destroy(t, g)
	if _, err := g.Apply([]Command{{Index: 9, Term: 4}}); err != nil {
		t.Fatal(err)
	}
	behind(t, g, true)
	if _, err := g.Apply([]Command{{Index: 10, Term: 6}}); err != nil { // as a snapshot brings it
		t.Fatal(err)
	}
	behind(t, g, false)
}

// TestGroupExistsOnceLogOrStateIsWritten: each alone.
func TestGroupExistsOnceLogOrStateIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		write  func(*Group) error
		exists bool
	}{
		"log": {func(g *Group) error {
			log, err := g.Log()
			return errors.Join(err, log.Append([]Entry{entry(1)}))
		}, true},
		"state": {func(g *Group) error {
			_, err := g.Apply([]Command{{Index: 1, Term: 1}})
			return err
		}, true},
		"stable": {func(g *Group) error { return g.Stable().SetUint64([]byte("CurrentTerm"), 0) }, false},
	} {
		db := openMem(t)
		g := db.Group(300)
		if known, err := g.Known(); known || err != nil {
			t.Errorf("%s: known before (%v)", name, err)
		}
		if err := c.write(g); err != nil {
			t.Fatal(err)
		}
		if there, err := g.Exists(); there != c.exists || err != nil {
			t.Errorf("%s: exists: %v (%v)", name, there, err)
		}
		if known, err := g.Known(); !known || err != nil {
			t.Errorf("%s: not known (%v)", name, err)
		}
		if got, err := db.Groups(); len(got) == 1 != c.exists || err != nil {
			t.Errorf("%s: groups %v (%v)", name, got, err)
		}
	}
}

// TestCrashLeavesAllOfADestroyedGroupOrNothing cuts the power before every
// write while groups are destroyed.
func TestCrashLeavesAllOfADestroyedGroupOrNothing(t *testing.T) {
	disk := storagetest.NewDisk()
	db, err := Open("data", Options{FS: disk.FS(), MemTableBytes: 32 << 10})
	if err != nil {
		t.Fatal(err)
	}
	fillGroup(t, db.Group(1))
	fillGroup(t, db.Group(2))
	if err := db.Group(2).Stable().SetUint64([]byte("CurrentTerm"), 8); err != nil { // synced, and the states with it
		t.Fatal(err)
	}
	type point struct {
		disk *storagetest.Disk
		done bool
	}
	var mu sync.Mutex
	var points []point
	var done atomic.Bool
	disk.BeforeWrite(func(w storagetest.Write) error {
		p := point{done: done.Load()} // first: what is done now is on the disk
		p.disk = disk.Crash(50, uint64(w.N))
		mu.Lock()
		defer mu.Unlock()
		points = append(points, p)
		return nil
	})
	if err := db.Group(1).Destroy(); err != nil {
		t.Fatal(err)
	}
	done.Store(true)
	if err := db.Group(2).Stable().SetUint64([]byte("CurrentTerm"), 9); err != nil { // one more write, after it
		t.Fatal(err)
	}
	disk.BeforeWrite(nil)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for i, p := range points {
		db, err := Open("data", Options{FS: p.disk.FS()})
		if err != nil {
			t.Fatal(err)
		}
		what := left(t, db.Group(1))
		behind, err := db.Group(1).Behind()
		switch {
		case err != nil || len(what) != 0 && len(what) != 3 || behind != (len(what) == 0):
			t.Errorf("point %d: left %v, behind: %v (%v)", i, what, behind, err)
		case p.done && len(what) != 0:
			t.Errorf("point %d: destroyed, and back again", i)
		}
		if what := left(t, db.Group(2)); len(what) != 3 {
			t.Errorf("point %d: the other group has only its %v", i, what)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(points) < 3 {
		t.Errorf("%d points only", len(points))
	}
}

// A disk that hangs stops a raft group while its heartbeats go on. The process
// must end, so that another replica can lead.
func TestHangingDiskEndsTheProcessInTime(t *testing.T) {
	cmd := child(t, "hanging", "1s")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	begun := time.Now()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("ended with %v, want status 1\n%s%s", err, &out, &log)
	}
	if !strings.Contains(log.String(), "disk stalled") {
		t.Errorf("log does not say why:\n%s", &log)
	}
	_, after, found := strings.Cut(out.String(), "hangs\n")
	if !found || strings.Contains(after, "acknowledged") {
		t.Errorf("while the disk hung:\n%s", &out)
	}
	if took := time.Since(begun); took > 20*time.Second { // 1 s, 2 s for the look at the clock, and a busy machine
		t.Errorf("the process ended after %v", took)
	}
}
