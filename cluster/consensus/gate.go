package consensus

import "sync"

// gate counts the callers inside and can be closed for good. Raft starts a few
// goroutines that its shutdown does not wait for (the one that measures the
// log's age, handlers of the transport); the gate keeps them from a database
// that is closed. The zero gate is open.
type gate struct {
	mu     sync.Mutex
	inside int
	empty  chan struct{} // set once closed; closed when the last caller left
}

// enter lets the caller in and reports true, or reports false once the gate is
// closed. After true, the caller must call leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.empty != nil {
		return false
	}
	g.inside++
	return true
}

// leave ends what enter began.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.empty != nil {
		close(g.empty)
	}
}

// shut closes the gate. The channel that it returns is closed when nobody is
// inside any more. It may be called more than once.
func (g *gate) shut() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.empty == nil {
		g.empty = make(chan struct{})
		if g.inside == 0 {
			close(g.empty)
		}
	}
	return g.empty
}
