package sim

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// skipWithRace leaves out what takes long. Besides, the race detector of Go
// 1.26 ends the process when two goroutines of a bubble at once take timers
// without a duration (SIGSEGV in raceacquirectx).
func skipWithRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("not with the race detector")
	}
}

// outcome is what a run came to.
type outcome struct {
	problems []string
	log      string
	crashes  int
	writes   int64 // to the disk of the last process, when night fell
	evidence *Evidence
}

// work is one run of the fixed workload.
func work(t *testing.T, m MachineOptions) (out outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o, err := openOffice(m)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err = o.day(ctx)
		if err == nil {
			err = o.night(ctx)
		}
		if err != nil {
			out.problems = append(out.problems, err.Error())
		}
		out.writes = o.writes
		out.close(o.w)
	})
	return out
}

// close ends the world and judges it.
func (out *outcome) close(w *World) {
	e, err := w.Close()
	if err != nil {
		out.problems = append(out.problems, err.Error())
	}
	out.problems = append(out.problems, e.Problems()...)
	out.log, out.crashes, out.evidence = w.Log(), w.Machine.Crashes(), e
}

// complain reports a run with problems; of the first with its log.
func (out outcome) complain(t *testing.T, what string) {
	t.Helper()
	if len(out.problems) == 0 {
		return
	}
	log := ""
	if !t.Failed() {
		log = "\n" + out.log + "\n" + out.stories()
	}
	t.Errorf("%s:\n  %s%s", what, strings.Join(out.problems[:min(len(out.problems), 12)], "\n  "), log)
}

// stories are those of the accounts that the problems are about.
func (out outcome) stories() (s string) {
	for i := range out.evidence.Cases {
		c := &out.evidence.Cases[i]
		if slices.ContainsFunc(out.problems, func(p string) bool { return strings.Contains(p, c.Ref.String()) }) {
			s += out.evidence.Story(c)
		}
	}
	return s
}
