package storage

import (
	"sync"
	"time"
)

// standstill notices when the whole process stood still: it was stopped, or its
// machine was. A write that was under way meanwhile looks as if the disk had
// hung. It is told the time again and again, and when it was told nothing for a
// while the process did not run. nil knows of nothing.
type standstill struct {
	mu    sync.Mutex
	told  time.Time // when it was last told the time
	spans []span    // the newest, oldest first
}

// span is a time that the process stood still.
type span struct{ from, to time.Time }

const (
	// beat is how often the time is told, stillness how much later than that it
	// may come on a busy machine.
	beat      = 250 * time.Millisecond
	stillness = time.Second
	// maxSpans bounds what is remembered: no write hangs through more of them.
	maxSpans = 16
)

// tell says what time it is.
func (s *standstill) tell(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.told) > beat+stillness {
		s.spans = append(s.spans, span{s.told, now})
		s.spans = s.spans[max(0, len(s.spans)-maxSpans):]
	}
	s.told = now
}

// within returns for how much of the last d the process stood still.
func (s *standstill) within(now time.Time, d time.Duration) time.Duration {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	spans := s.spans
	if now.Sub(s.told) > beat+stillness { // it goes on just now, and was not told yet
		spans = append(spans[:len(spans):len(spans)], span{s.told, now})
	}
	began, total := now.Add(-d), time.Duration(0)
	for _, x := range spans {
		if x.from.Before(began) {
			x.from = began
		}
		total += max(0, x.to.Sub(x.from))
	}
	return total
}

// watch tells the time until the function that it returns is called, which
// waits for the end of it.
func (s *standstill) watch() (stop func()) {
	s.mu.Lock()
	s.told = time.Now() // before this nothing is known
	s.mu.Unlock()
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(beat)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				s.tell(time.Now())
			case <-ended:
				return
			}
		}
	}()
	return func() {
		close(ended)
		<-done
	}
}
