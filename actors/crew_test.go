package actors

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestCrewRunsAllAndKeepsNoMoreGoroutinesThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c crew
		var ran atomic.Int64
		for range 3 {
			gate := make(chan struct{})
			for range 2 * maxIdle {
				c.do(func() { <-gate; ran.Add(1) })
			}
			close(gate)
			synctest.Wait()
			if n := len(c.idle); n != maxIdle {
				t.Errorf("%d goroutines wait for work, want %d", n, maxIdle)
			}
		}
		if n := ran.Load(); n != 6*maxIdle {
			t.Errorf("%d of %d ran", n, 6*maxIdle)
		}
		c.close() // the bubble's end finds a goroutine that is left
	})
}

func TestCrewReusesItsGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c crew
		for range 100 {
			c.do(func() {})
			synctest.Wait()
		}
		if n := len(c.idle); n != 1 {
			t.Errorf("%d goroutines for one thing at a time", n)
		}
		c.close()
	})
}

func TestCrewThatIsClosedWaitsForWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c crew
		gate, done := make(chan struct{}), make(chan struct{})
		c.do(func() { <-gate })
		go func() { c.close(); close(done) }()
		synctest.Wait()
		select {
		case <-done:
			t.Error("closed while a function runs")
		default:
		}
		close(gate)
		<-done
	})
}
