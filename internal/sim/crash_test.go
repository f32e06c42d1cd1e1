package sim

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
)

// simAll asks for all points where a sample is taken otherwise.
func simAll() bool { return os.Getenv("SIM_ALL") != "" }

// kept are the ways in which a crash treats what is not synced.
var kept = []struct {
	name    string
	percent func(k int64) int
}{
	{"nothing unsynced stays", func(int64) int { return 0 }},
	{"everything unsynced stays", func(int64) int { return 100 }}, // a killed process
	{"some of it stays", func(k int64) int { return int(k*37) % 100 }},
}

// points calls fn for the crash points from 1 to n, from several goroutines: for
// all of them with SIM_ALL, else for every third, another third for each way of
// treating what is not synced.
func points(t *testing.T, n int64, way int, fn func(t *testing.T, k int64)) {
	step, first := int64(len(kept)), int64(way+1)
	if simAll() {
		step, first = 1, 1
	}
	spread(t, (n-first)/step+1, func(t *testing.T, i int64) { fn(t, first+i*step) })
}

// workers is how many bubbles run at once.
const workers = 2

// spread calls fn for 0 to n-1 from some goroutines.
func spread(t *testing.T, n int64, fn func(t *testing.T, i int64)) {
	var next atomic.Int64
	t.Run("worker", func(t *testing.T) {
		for range workers {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
					fn(t, i)
				}
			})
		}
	})
}

// TestDayInTheOffice is the one run that is made with the race detector, too.
func TestDayInTheOffice(t *testing.T) {
	out := work(t, MachineOptions{CrashAt: func(process int) int64 { return pick(process, 150) }})
	out.complain(t, "a crash before write 150")
	if out.crashes != 1 {
		t.Errorf("%d crashes, want 1", out.crashes)
	}
}

// TestCrashAtEveryDiskWrite crashes the node before each write that it makes to
// its disk, from the creation of its store on, in the middle of a day in the
// office, starts it again on what is left, lets the day go on, and looks
// whether every promise was kept.
func TestCrashAtEveryDiskWrite(t *testing.T) {
	skipWithRace(t)
	quiet := work(t, MachineOptions{})
	quiet.complain(t, "without a crash")
	for way, keep := range kept {
		t.Run(keep.name, func(t *testing.T) {
			var tried, crashed atomic.Int64
			points(t, quiet.writes, way, func(t *testing.T, k int64) {
				out := work(t, MachineOptions{
					CrashAt: func(process int) int64 { return pick(process, k) },
					Power:   func(int) (int, uint64) { return keep.percent(k), uint64(k) },
				})
				out.complain(t, fmt.Sprintf("a crash before write %d", k))
				tried.Add(1)
				crashed.Add(int64(out.crashes))
			})
			t.Logf("%d points of %d, %d crashes", tried.Load(), quiet.writes, crashed.Load())
			if crashed.Load() < tried.Load()*3/4 { // not every run makes as many writes as the first
				t.Error("too few of the points were reached")
			}
		})
	}
}

// recoveryWrites is more writes than a process makes while it starts.
const recoveryWrites = 130

// TestCrashAgainDuringRecovery crashes the node somewhere in the day, and its
// successor before each write that it makes from the first on.
func TestCrashAgainDuringRecovery(t *testing.T) {
	skipWithRace(t)
	writes := work(t, MachineOptions{}).writes
	for way, keep := range kept {
		t.Run(keep.name, func(t *testing.T) {
			var crashed atomic.Int64
			points(t, recoveryWrites, way, func(t *testing.T, k int64) {
				first := 90 + k*53%(writes-90) // the day begins with about the 90th
				out := work(t, MachineOptions{
					CrashAt: func(process int) int64 { return pick(process, first, k) },
					Power:   func(process int) (int, uint64) { return keep.percent(k + int64(process)), uint64(k) },
				})
				out.complain(t, fmt.Sprintf("crashes before write %d and, of the next process, write %d", first, k))
				crashed.Add(int64(out.crashes))
			})
			t.Logf("%d crashes", crashed.Load())
		})
	}
}

// pick returns the nth of the list, counted from 1, and 0 beyond its end.
func pick(n int, list ...int64) int64 {
	if n > len(list) {
		return 0
	}
	return list[n-1]
}
