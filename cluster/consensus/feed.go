package consensus

import "sync"

// LeaderChange tells that this node began or ceased to lead a group.
type LeaderChange struct {
	Group   uint16
	Leading bool
	// Term is the term that began, or the one that is over.
	Term uint64
}

// feed carries leadership changes to one reader. It never blocks a writer and
// holds at most one change a group: a change that was not read yet is replaced
// by the group's next one, so that the last word on every group arrives. A
// reader can therefore see Leading twice in a row, with a higher term: the
// leadership of the lower one is over.
type feed struct {
	out  chan LeaderChange
	wake chan struct{} // capacity 1

	mu      sync.Mutex
	waiting map[uint16]LeaderChange
	order   []uint16 // groups in waiting, longest waiting first
}

func newFeed() *feed {
	return &feed{
		out:     make(chan LeaderChange),
		wake:    make(chan struct{}, 1),
		waiting: make(map[uint16]LeaderChange),
	}
}

// put queues a change. It does not block.
func (f *feed) put(c LeaderChange) {
	f.mu.Lock()
	if _, there := f.waiting[c.Group]; !there {
		f.order = append(f.order, c.Group)
	}
	f.waiting[c.Group] = c
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run hands changes to the reader until stop is closed, then closes the
// reader's channel.
func (f *feed) run(stop <-chan struct{}) {
	defer close(f.out)
	for {
		c, any := f.peek()
		var out chan LeaderChange
		if any {
			out = f.out
		}
		select {
		case out <- c:
			f.drop(c)
		case <-f.wake: // there is something, or something newer
		case <-stop:
			return
		}
	}
}

// peek returns the change that has waited longest.
func (f *feed) peek() (c LeaderChange, any bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.order) == 0 {
		return LeaderChange{}, false
	}
	return f.waiting[f.order[0]], true
}

// drop removes c, which was delivered, unless it was replaced meanwhile.
func (f *feed) drop(c LeaderChange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting[c.Group] != c {
		return
	}
	delete(f.waiting, c.Group)
	f.order = f.order[1:]
}
