package consensus

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// lease tells until when no other node can lead a group, so that a leader may
// answer reads without asking anybody. A follower elects nobody else for the
// heartbeat time-out after it has heard of its leader. So as long as that has not
// passed since the leader sent what a majority has answered, it is the only one.
// Time is this process's monotonic clock, which goes on while the process is
// stopped: one that goes on later finds its lease run out before it knows of
// anything else.
//
// DESIGN.md says what it does not cover. All methods are safe for concurrent use.
type lease struct {
	node  string
	span  time.Duration
	valid atomic.Pointer[validity]

	mu    sync.Mutex
	term  uint64               // in which this node leads; 0: it does not
	away  bool                 // the leadership is being given away: a voter may elect another at any time
	heard map[string]time.Time // when the newest message was sent that a node has answered
	since uint64               // the term of heard
}

// validity is how far a lease reaches.
type validity struct {
	term  uint64
	until time.Time
}

func newLease(node string, t Timing) *lease {
	// A quarter is kept back for clocks that do not go equally fast.
	return &lease{node: node, span: min(t.Lease, t.Heartbeat*3/4), heard: make(map[string]time.Time)}
}

// holds reports whether surely no other node leads the group at now, while this
// one does in term.
func (l *lease) holds(term uint64, now time.Time) bool {
	v := l.valid.Load()
	return v != nil && v.term == term && now.Before(v.until)
}

// leaseStep is how much newer an answer has to be to count, so that a stream of
// them costs nothing.
const leaseStep = 10 * time.Millisecond

// answered notes that a node follows this one in term, and has answered what was
// sent then. voters are asked for only where that is news.
func (l *lease) answered(node string, term uint64, sent time.Time, voters func() []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case term < l.since:
		return
	case term > l.since:
		clear(l.heard)
		l.since = term
	}
	if sent.Sub(l.heard[node]) < leaseStep {
		return
	}
	l.heard[node] = sent
	l.renew(voters)
}

// begin says that this node leads in term; end, that it ceased to.
func (l *lease) begin(term uint64, voters func() []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term, l.away = term, false
	l.renew(voters)
}

func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term = 0
	l.valid.Store(nil)
}

// suspend ends the lease for as long as the leadership is being given away;
// resume says that it stayed.
func (l *lease) suspend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = true
	l.valid.Store(nil)
}

func (l *lease) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = false
	clear(l.heard) // what was answered before the attempt says nothing any more
}

// alone renews the lease of a group's only voter, which has nobody to hear from,
// and reports whether it is one.
func (l *lease) alone(term uint64, now time.Time, voters func() []string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away || l.term != term || l.since > term {
		return false
	}
	if all := voters(); len(all) != 1 || all[0] != l.node {
		return false
	}
	l.valid.Store(&validity{term, now.Add(l.span)})
	return true
}

// renew reckons from what was heard in this term. l.mu is held.
func (l *lease) renew(voters func() []string) {
	if l.away || l.term == 0 || l.term != l.since {
		return
	}
	var sent []time.Time // to the other voters, newest first
	all := voters()
	for _, node := range all {
		if at, ok := l.heard[node]; ok && node != l.node {
			sent = append(sent, at)
		}
	}
	need := len(all)/2 + 1
	if slices.Contains(all, l.node) {
		need-- // itself
	}
	if need == 0 || len(sent) < need {
		return
	}
	slices.SortFunc(sent, func(a, b time.Time) int { return b.Compare(a) })
	l.valid.Store(&validity{l.term, sent[need-1].Add(l.span)})
}
