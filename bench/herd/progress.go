package herd

import (
	"sync"
	"sync/atomic"
	"time"
)

// progressEvery is how often progress is told.
const progressEvery = 50 * time.Millisecond

// track tells the caller of Run how far a phase is, from time to time and at
// its end. add counts one more and costs next to nothing; end must be called,
// and waits for the last report.
func (r *run) track(phase Phase, total int) (add, end func()) {
	var done atomic.Int64
	report := func() { r.c.Progress(Progress{Phase: phase, Done: int(done.Load()), Total: total}) }
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				report()
			case <-stop:
				report()
				return
			}
		}
	})
	return func() { done.Add(1) }, func() {
		close(stop)
		wg.Wait()
	}
}
