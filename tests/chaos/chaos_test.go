package chaos

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

// The environment says how much is run; see the Makefile.
const (
	envSeed = "CHAOS_SEED"
	envRuns = "CHAOS_RUNS" // of each fault; unset: TestEveryFault is left to make chaos
)

// selection is what every change has to pass: one fault of each kind, in one
// cluster.
func selection() []string { return []string{"killed_journalled", "cut", "paused"} }

func TestBrokenClusterKeepsItsPromises(t *testing.T) {
	if os.Getenv(envRuns) != "" {
		t.Skip("TestEveryFault runs")
	}
	names := selection()
	if testing.Short() {
		names = names[:1]
	}
	var rounds []fault
	for _, f := range faults() {
		if slices.Contains(names, f.name) {
			rounds = append(rounds, f)
		}
	}
	breakAndJudge(t, seedOf(t), rounds...)
}

func TestEveryFault(t *testing.T) {
	runs, err := strconv.Atoi(os.Getenv(envRuns))
	if err != nil {
		t.Skipf("%s does not say how often: use make chaos RUNS=n", envRuns)
	}
	var rows []row
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			tr := breakAndJudge(t, seedOf(t), slices.Repeat([]fault{f}, runs)...)
			r := tr.row()
			t.Logf("\n%s", table([]row{r}))
			rows = append(rows, r)
		})
	}
	t.Logf("\n%s", table(rows))
}

// seedOf draws the seed of a trial, unless one is given.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	given := os.Getenv(envSeed)
	if given == "" {
		return rand.Uint64()
	}
	seed, err := strconv.ParseUint(given, 10, 64)
	must(t, err)
	return seed
}
