package consensus

import "time"

// transferRest is for how long a node that did not take the leadership over is
// not offered it again in the same term. It is more than the longest pause that
// raft makes between two messages to a node that does not answer, some 10 s.
const transferRest = 12 * time.Second

// spurned remembers which nodes did not take the leadership over. Raft's attempt
// leaves a note for the goroutine that sends entries to the node, who takes it
// when the node answers again. There is room for one: a second attempt would wait
// with its own for as long as the first lies there, and for ever, with one more
// of raft's goroutines, where the leadership is lost meanwhile.
type spurned struct {
	term  uint64
	until map[string]time.Time // at most one for each member
}

// add notes that a node did not take over.
func (s *spurned) add(term uint64, node string) {
	if s.term != term || s.until == nil {
		s.term, s.until = term, make(map[string]time.Time)
	}
	s.until[node] = time.Now().Add(transferRest)
}

// lately reports whether a node did not take over a moment ago, in this term.
func (s *spurned) lately(term uint64, node string) bool {
	return s.term == term && time.Now().Before(s.until[node])
}
