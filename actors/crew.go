package actors

import "sync"

// maxIdle bounds how many goroutines of a crew wait for work.
const maxIdle = 1024

// crew runs functions on goroutines that it keeps. A step of a refresh needs
// some KB of stack, and a new goroutine begins with two: growing and copying it
// at each step was a tenth of what a refresh costs.
type crew struct {
	mu     sync.Mutex
	idle   []chan func() // each with room for one
	closed bool
	all    sync.WaitGroup
}

// do runs fn on a goroutine of its own and returns at once.
func (c *crew) do(fn func()) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		work := c.idle[n-1] // the one whose stack is most likely still in the processor's cache
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		work <- fn
		return
	}
	c.mu.Unlock()
	c.all.Go(func() { c.work(fn) })
}

func (c *crew) work(fn func()) {
	next := make(chan func(), 1)
	for ok := true; ok; fn, ok = <-next {
		fn()
		if !c.rest(next) {
			return
		}
	}
}

// rest makes the goroutine wait for work; false: it is not needed any more.
func (c *crew) rest(next chan func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= maxIdle {
		return false
	}
	c.idle = append(c.idle, next)
	return true
}

// close ends the goroutines that wait, and waits for those that work.
func (c *crew) close() {
	c.mu.Lock()
	c.closed = true
	for _, work := range c.idle {
		close(work)
	}
	c.idle = nil
	c.mu.Unlock()
	c.all.Wait()
}

// throughput is how many messages an actor handles before it lets others run;
// it is the actor library's default.
const throughput = 300

// Schedule implements actor.Dispatcher.
func (c *crew) Schedule(fn func()) { c.do(fn) }

// Throughput implements actor.Dispatcher.
func (c *crew) Throughput() int { return throughput }
