package sim

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

var seedFlag = flag.Uint64("sim.seed", 0, "run TestRandomFaults with this seed only")

// seeds are those to run: SEEDS of them, from FIRST on, where the environment
// says so.
func seeds(t *testing.T) (from, to uint64) {
	if *seedFlag != 0 {
		return *seedFlag, *seedFlag
	}
	n, from := uint64(8), uint64(1)
	for name, into := range map[string]*uint64{"SEEDS": &n, "FIRST": &from} {
		if s := os.Getenv(name); s != "" {
			v, err := strconv.ParseUint(s, 10, 32)
			if err != nil || v == 0 {
				t.Fatalf("%s=%q: write a number from 1 on", name, s)
			}
			*into = v
		}
	}
	return from, from + n - 1
}

// TestRandomFaults lets accounts live through hours of crashes, pauses and a
// provider that misbehaves in every way, and looks whether every promise was
// kept.
func TestRandomFaults(t *testing.T) {
	if *seedFlag == 0 {
		skipWithRace(t)
	}
	from, to := seeds(t)
	spread(t, int64(to-from+1), func(t *testing.T, i int64) {
		seed := from + uint64(i)
		out := liveThrough(t, seed, 4*time.Hour)
		out.complain(t, fmt.Sprintf("seed %d; again with: go test ./internal/sim -run TestRandomFaults -sim.seed=%d", seed, seed))
	})
}

// liveThrough is one random run.
func liveThrough(t *testing.T, seed uint64, hours time.Duration) (out outcome) {
	synctest.Test(t, func(t *testing.T) {
		o, err := openTown(seed, hours)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := o.live(ctx); err != nil {
			out.problems = append(out.problems, err.Error())
		}
		out.close(o.w)
	})
	return out
}
