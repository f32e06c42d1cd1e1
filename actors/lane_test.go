package actors

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
)

// tryEnter counts into started when the lane lets the request go.
func tryEnter(l *lanes, in Integration, urgent bool, started *[]string, name string) *credential.Unavailable {
	start := func() { *started = append(*started, name) }
	admitted, why := l.enter(in, urgent, time.Now(), start)
	if admitted {
		start()
	}
	return why
}

func TestCircuitOpensAfterFailuresAndClosesAfterASuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Policy{BreakerFailures: 3}.WithDefaults()
		l, in := newLanes(p), Integration{ID: "x"}
		defer l.close()
		var started []string
		for range 3 {
			if err := tryEnter(l, in, true, &started, "r"); err != nil {
				t.Fatalf("closed after %d failures: %v", len(started), err)
			}
			l.leave(in, failing, 0, time.Now())
		}
		err := tryEnter(l, in, true, &started, "r")
		if err == nil || !errors.Is(err, credential.ErrProviderUnavailable) || err.RetryAfter <= 0 {
			t.Fatalf("after three failures: %v", err)
		}
		time.Sleep(err.RetryAfter)
		if err := tryEnter(l, in, true, &started, "probe"); err != nil {
			t.Fatalf("probe refused: %v", err)
		}
		if err := tryEnter(l, in, true, &started, "r"); err == nil {
			t.Fatal("a second request went beside the probe")
		}
		l.leave(in, failing, 0, time.Now())
		second := l.takes(in, time.Now())
		if second == nil || second.RetryAfter < 2*p.BreakerMin-time.Millisecond {
			t.Fatalf("after a failed probe: %v, want twice the time", second)
		}
		time.Sleep(second.RetryAfter)
		if err := tryEnter(l, in, true, &started, "probe"); err != nil {
			t.Fatalf("second probe refused: %v", err)
		}
		l.leave(in, healthy, 0, time.Now())
		if err := l.takes(in, time.Now()); err != nil {
			t.Errorf("after a good probe: %v", err)
		}
	})
}

func TestRetryAfterPausesTheWholeIntegration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, in := newLanes(Policy{}.WithDefaults()), Integration{ID: "x"}
		defer l.close()
		var started []string
		_ = tryEnter(l, in, true, &started, "r")
		l.leave(in, limited, 7*time.Second, time.Now())
		if err := l.takes(in, time.Now()); err == nil || err.RetryAfter != 7*time.Second {
			t.Fatalf("after Retry-After 7: %v", err)
		}
		if err := l.takes(Integration{ID: "y"}, time.Now()); err != nil {
			t.Errorf("another integration is paused too: %v", err)
		}
		time.Sleep(7 * time.Second)
		if err := l.takes(in, time.Now()); err != nil {
			t.Errorf("after the pause: %v", err)
		}
	})
}

func TestCallersGoBeforeTheSchedule(t *testing.T) {
	l, in := newLanes(Policy{}.WithDefaults()), Integration{ID: "x", Concurrency: 1}
	defer l.close()
	var started []string
	for _, r := range []struct {
		name   string
		urgent bool
	}{{"first", false}, {"patient", false}, {"urgent", true}} {
		if err := tryEnter(l, in, r.urgent, &started, r.name); err != nil {
			t.Fatal(err)
		}
	}
	l.leave(in, healthy, 0, time.Now())
	l.leave(in, healthy, 0, time.Now())
	if want := []string{"first", "urgent", "patient"}; len(started) != 3 || started[1] != want[1] || started[2] != want[2] {
		t.Errorf("started %v, want %v", started, want)
	}
}

func TestRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, in := newLanes(Policy{}.WithDefaults()), Integration{ID: "x", RatePerSecond: 10, Burst: 5}
		defer l.close()
		begun := make(chan time.Time, 100)
		start := time.Now()
		for range 25 {
			start := func() { begun <- time.Now() }
			admitted, err := l.enter(in, false, time.Now(), start)
			if err != nil {
				t.Fatal(err)
			}
			if admitted {
				start()
			}
		}
		for i := range 25 {
			at := (<-begun).Sub(start)
			if want := time.Duration(max(0, i-4)) * 100 * time.Millisecond; at < want-time.Millisecond || at > want+time.Millisecond {
				t.Errorf("request %d began after %v, want %v", i, at, want)
			}
		}
	})
}

func TestMisconfiguredIntegrationIsProbedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Policy{}.WithDefaults()
		l, in := newLanes(p), Integration{ID: "x", Broken: true, Reason: "invalid_client"}
		defer l.close()
		var started []string
		for range 100 {
			err := tryEnter(l, in, false, &started, "probe")
			if err == nil {
				l.leave(in, healthy, 0, time.Now())
			} else if !errors.Is(err, credential.ErrMisconfigured) || err.Reason != "invalid_client" {
				t.Fatalf("refused with %v", err)
			}
			time.Sleep(6 * time.Second)
		}
		if len(started) != 10 {
			t.Errorf("%d probes in ten minutes, want 10", len(started))
		}
		l.reset("x")
		in.Broken = false
		if err := l.takes(in, time.Now()); err != nil {
			t.Errorf("after it was mended: %v", err)
		}
	})
}

func TestLeavingWithOldBoundsDoesNotChangeTheLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, old := newLanes(Policy{}.WithDefaults()), Integration{ID: "x", RatePerSecond: 100, Burst: 10}
		defer l.close()
		edited := Integration{ID: "x", RatePerSecond: 1, Burst: 1}
		var started []string
		_ = tryEnter(l, old, true, &started, "old")
		_ = tryEnter(l, edited, true, &started, "new")
		l.leave(old, healthy, 0, time.Now())
		_ = tryEnter(l, edited, true, &started, "too early")
		if len(started) != 2 {
			t.Errorf("started %v; the new bound is one a second", started)
		}
	})
}
