package storage

import (
	"bufio"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestStandstillIsToldFromABusyMachine(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	s := &standstill{told: start}
	for _, now := range []float64{0.25, 0.5, 1.5, 1.75, 9.75, 10, 10.25, 13.25} { // still from 1.75 to 9.75, and from 10.25 to 13.25
		s.tell(at(now))
	}
	for _, c := range []struct{ now, last, want float64 }{
		{13.25, 1, 1}, {13.25, 3.5, 3}, {13.25, 5, 4.5}, {13.25, 60, 11}, {14, 0.5, 0}, {14.25, 0.9, 0}, {20, 6, 6}, {20, 8, 8},
	} {
		want := time.Duration(c.want * float64(time.Second))
		if got := s.within(at(c.now), time.Duration(c.last*float64(time.Second))); got != want {
			t.Errorf("at %v s, of the last %v s: %v, want %v", c.now, c.last, got, want)
		}
	}
	for i := range 10 * maxSpans {
		s.tell(at(100 + 10*float64(i)))
	}
	if len(s.spans) != maxSpans {
		t.Errorf("%d spans are remembered", len(s.spans))
	}
}

func TestOnlyADiskThatHungWhileTheProcessRanEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &standstill{}
		stop := s.watch()
		defer stop()
		f := failer{logger: slog.New(slog.DiscardHandler), fatal: func(string) { panic("the end") }, limit: 5 * time.Second, still: s}
		ends := func(d time.Duration) (ended bool) {
			defer func() { ended = recover() != nil }()
			f.diskSlow(vfs.DiskSlowInfo{Path: "000007.log", Duration: d})
			return false
		}
		time.Sleep(10 * time.Second)
		s.mu.Lock()
		s.spans = append(s.spans, span{time.Now().Add(-9 * time.Second), time.Now().Add(-time.Second)})
		s.mu.Unlock()
		if ends(9400 * time.Millisecond) {
			t.Error("the process ended though it had stood still for 8 s of 9.4 s")
		}
		time.Sleep(10 * time.Second)
		if !ends(19400 * time.Millisecond) {
			t.Error("a write that hung for 10 s more was borne")
		}
	})
}

// The same with a real process that is stopped in the middle of a sync, by the
// kernel's clocks and Pebble's own look at them.
func TestProcessThatIsStoppedInTheMiddleOfASyncGoesOn(t *testing.T) {
	const limit, stopped = 2 * time.Second, 4 * time.Second
	cmd := child(t, "stopped", limit.String())
	cmd.Stderr = nil
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	log, logErr := cmd.StderrPipe()
	if err := errors.Join(inErr, outErr, logErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	said, warned := bufio.NewScanner(out), bufio.NewScanner(log)
	if !said.Scan() || said.Text() != "syncs" {
		t.Fatalf("it said %q", said.Text())
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(stopped) // the time that must not count
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for warned.Scan() && !strings.Contains(warned.Text(), "the process stood still") {
		t.Log(warned.Text())
	}
	if err := in.Close(); err != nil { // its disk goes on, too
		t.Fatal(err)
	}
	if !said.Scan() || said.Text() != "acknowledged" {
		t.Errorf("the write was not acknowledged: %q", said.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
