package placement

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// runLoop runs a loop for a time and returns when its rounds were.
func runLoop(t *testing.T, d time.Duration, round func(ctx context.Context, n int) (time.Duration, error), during func(l *loop)) (at []time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	began, l := time.Now(), newLoop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(ctx, func(ctx context.Context) (time.Duration, error) {
			at = append(at, time.Since(began))
			return round(ctx, len(at))
		})
	}()
	if during != nil {
		during(l)
	}
	<-done
	return at
}

func TestALoopBacksOffAfterErrorsHoweverOftenItIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := runLoop(t, time.Minute, func(context.Context, int) (time.Duration, error) {
			return 0, errors.New("disk")
		}, func(l *loop) {
			for range 5000 {
				time.Sleep(10 * time.Millisecond)
				poke(l.wake)
			}
		})
		if len(at) < 8 || len(at) > 14 {
			t.Errorf("%d rounds in a minute: %v", len(at), at)
		}
	})
}

func TestALoopGathersChangesAndLosesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := runLoop(t, 6*time.Second, func(context.Context, int) (time.Duration, error) {
			return time.Hour, nil
		}, func(l *loop) {
			time.Sleep(2 * time.Second)
			for range 1000 {
				time.Sleep(time.Millisecond)
				poke(l.wake)
			}
			time.Sleep(time.Second)
			poke(l.wake)
			time.Sleep(500 * time.Millisecond)
		})
		if len(at) < 20 || len(at) > 60 {
			t.Errorf("%d rounds for a second of changes", len(at))
		}
		if last := at[len(at)-1]; last < 4*time.Second || last > 4*time.Second+50*time.Millisecond {
			t.Errorf("the last change, after four seconds, had its round at %v", last)
		}
	})
}

func TestALoopEndsWithItsRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		runLoop(t, time.Second, func(ctx context.Context, _ int) (time.Duration, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}, nil)
		if d := time.Since(began); d > time.Second {
			t.Errorf("it took %v", d)
		}
	})
}
