package feed

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/grantd/grantd/credential"
)

const (
	// tailWait is how long one look at a group's outbox waits for it to grow.
	tailWait = 25 * time.Second
	// tailPause is the least time between two looks: of a burst of events
	// streams are told once.
	tailPause = 5 * time.Millisecond
	// A look that failed is repeated after retryMin, then after twice as long, up
	// to retryMax; the upper half of each wait is drawn.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
)

// tail follows the end of a group's outbox for all streams, until ctx ends. It
// reads no events: each stream does that for itself, at its own pace.
func (f *Feed) tail(ctx context.Context, group int) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	failures := 0
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		p, err := f.read(ctx, group, credential.EventPos(f.last[group].Load()), 0, tailWait)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			if failures == 1 {
				f.cfg.Logger.Warn("the events of a group cannot be read; streams go on with those of others", "group", group, "err", err)
			}
			pause.Reset(backoff(failures))
			continue
		}
		failures = 0
		if f.note(group, p.Last) {
			f.tell()
		}
		pause.Reset(tailPause)
	}
}

// backoff is the wait after the nth failure in a row.
func backoff(n int) time.Duration {
	d := retryMin << min(n-1, 10)
	d = min(d, retryMax)
	return d/2 + rand.N(d/2)
}

// note remembers how far a group's outbox goes, and says whether that is news.
func (f *Feed) note(group int, last credential.EventPos) bool {
	for {
		have := f.last[group].Load()
		if uint64(last) <= have {
			return false
		}
		if f.last[group].CompareAndSwap(have, uint64(last)) {
			return true
		}
	}
}

// tell wakes all streams that wait.
func (f *Feed) tell() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.streams {
		select {
		case s.news <- struct{}{}:
		default: // it knows that there is news
		}
	}
}
