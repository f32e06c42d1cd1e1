package consensus

import (
	"sync"
	"sync/atomic"
	"time"
)

// transferRest is for how long at most a node that did not take the leadership
// over is not offered it again in the same term.
const transferRest = 12 * time.Second

// spurned remembers which nodes did not take the leadership over. Raft's attempt
// leaves a note for the goroutine that feeds the node with entries, who takes it
// when the node answers again. There is room for one: a second attempt would wait
// with its own for as long as the first lies there, and for ever, with one more
// of raft's goroutines, where the leadership is lost meanwhile. All methods are
// safe for concurrent use.
type spurned struct {
	some atomic.Bool // there is a node: answers cost no more than a look

	mu    sync.Mutex
	term  uint64
	since map[string]time.Time // at most one for each member
}

// add notes that a node did not take over.
func (s *spurned) add(term uint64, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.term != term || s.since == nil {
		s.term, s.since = term, make(map[string]time.Time)
	}
	s.since[node] = time.Now()
	s.some.Store(true)
}

// fed says that a node has answered a message with entries, or about them, that
// was sent then: the note is taken now, or in a moment.
func (s *spurned) fed(node string, sent time.Time) {
	if !s.some.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sent.After(s.since[node]) {
		delete(s.since, node)
		s.some.Store(len(s.since) > 0)
	}
}

// lately reports whether a node did not take over a moment ago, in this term.
func (s *spurned) lately(term uint64, node string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.since[node]
	return ok && s.term == term && time.Since(at) < transferRest
}
