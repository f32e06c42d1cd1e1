package outbox

import "sync"

// permits bound the attempts that this node has under way to each end point,
// whatever group they are of.
type permits struct {
	limit int

	mu      sync.Mutex
	taken   map[string]int
	waiting map[string]map[chan<- struct{}]struct{}
}

func newPermits(limit int) *permits {
	return &permits{limit: limit, taken: make(map[string]int), waiting: make(map[string]map[chan<- struct{}]struct{})}
}

// take gets a permit. Where there is none, wake gets a value as soon as there may
// be one; it has a capacity.
func (p *permits) take(webhook string, wake chan<- struct{}) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[webhook] < p.limit {
		p.taken[webhook]++
		return true
	}
	if p.waiting[webhook] == nil {
		p.waiting[webhook] = make(map[chan<- struct{}]struct{})
	}
	p.waiting[webhook][wake] = struct{}{}
	return false
}

// give returns a permit, and wakes all that wait for one.
func (p *permits) give(webhook string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[webhook]--; p.taken[webhook] == 0 {
		delete(p.taken, webhook)
	}
	for wake := range p.waiting[webhook] {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	delete(p.waiting, webhook)
}

// underWay is how many attempts are under way.
func (p *permits) underWay() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, taken := range p.taken {
		n += taken
	}
	return n
}
