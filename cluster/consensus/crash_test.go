package consensus

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crashConfig truncates its log often, so that cuts fall into that, too.
func crashConfig() Config {
	cfg := config("n1", 1)
	cfg.Timing = Timing{SnapshotInterval: 100 * time.Millisecond, SnapshotThreshold: 20, TrailingLogs: 5}
	return cfg
}

// acknowledged is the newest value of each key of each group whose proposer
// got an answer.
type acknowledged map[uint16]map[string]string

// check starts a node from what a disk holds after a cut and returns what is
// wrong with it.
func (acked acknowledged) check(t *testing.T, left *vfs.MemFS) error {
	n := startNode(t, left, crashConfig())
	defer n.stop()
	n.lead()
	var errs []error
	for id, keys := range acked {
		for key, want := range keys {
			// A later value, which was under way at the cut, is right, too.
			if got := read(n.host.Group(id), key); got < want || got[0] == '<' {
				errs = append(errs, fmt.Errorf("group %d: %s was acknowledged as %.4s, now it is %.4s", id, key, want, got))
			}
		}
		// The log must go on, too.
		if _, err := n.host.Group(id).Propose(t.Context(), set(t, "after", "1")); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// writeUntilCut writes to two groups from several callers and returns what was
// acknowledged before the cut, which may come before anything was.
func writeUntilCut(t *testing.T, disk *crashFS, fs vfs.FS) acknowledged {
	acked := acknowledged{0: {}, MetaGroup: {}}
	n := startNode(t, fs, crashConfig())
	defer n.stop()
	n.lead()
	var mu sync.Mutex
	var callers sync.WaitGroup
	for id := range acked {
		for c := range 2 {
			callers.Go(func() {
				key := fmt.Sprintf("k%d", c)
				for i := 0; i < 30 && !disk.crashed.Load(); i++ {
					value := fmt.Sprintf("%04d", i) + strings.Repeat("y", 3000)
					if _, err := n.host.Group(id).Propose(t.Context(), set(t, key, value)); err != nil {
						t.Error(err)
					}
					mu.Lock()
					if !disk.crashed.Load() {
						acked[id][key] = value
					}
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
	}
	callers.Wait()
	return acked
}

// TestNothingAcknowledgedIsLostAtAnyDiskWrite cuts the power before each write
// that a node makes, from the creation of its store on.
func TestNothingAcknowledgedIsLostAtAnyDiskWrite(t *testing.T) {
	for at := int64(1); ; at++ {
		disk := newCrashFS(vfs.NewCrashableMem(), at)
		synctest.Test(t, func(t *testing.T) {
			acked := writeUntilCut(t, disk, disk)
			if err := acked.check(t, disk.after()); err != nil {
				t.Errorf("power cut before write %d: %v", at, err)
			}
		})
		if disk.writes.Load() < at { // the run ended before the cut
			t.Logf("%d points", at-1)
			return
		}
	}
}

// TestNothingIsLostWhenRecoveryIsCutToo cuts the power a second time, before
// each write that a node makes while it starts again after a cut.
func TestNothingIsLostWhenRecoveryIsCutToo(t *testing.T) {
	for at := int64(1); ; at++ {
		var again *crashFS
		synctest.Test(t, func(t *testing.T) {
			disk := newCrashFS(vfs.NewCrashableMem(), 250)
			acked := writeUntilCut(t, disk, disk)
			again = newCrashFS(disk.after(), at)
			n := startNode(t, again, crashConfig())
			n.lead()
			n.stop()
			if err := acked.check(t, again.after()); err != nil {
				t.Errorf("power cut again before write %d: %v", at, err)
			}
		})
		if again.writes.Load() < at {
			t.Logf("%d points", at-1)
			return
		}
	}
}

// TestLossIsSeenWhenTheLogIsNotSynced proves that the tests above can fail.
func TestLossIsSeenWhenTheLogIsNotSynced(t *testing.T) {
	lost := 0
	for at := int64(120); at < 240; at += 20 {
		disk := newCrashFS(vfs.NewCrashableMem(), at)
		synctest.Test(t, func(t *testing.T) {
			acked := writeUntilCut(t, disk, lyingFS{disk})
			if acked.check(t, disk.after()) != nil {
				lost++
			}
		})
	}
	t.Logf("lost in %d of 6 runs", lost)
	if lost == 0 {
		t.Error("a disk that does not sync lost nothing")
	}
}
