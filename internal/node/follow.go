package node

import (
	"sync"

	"github.com/grantd/grantd/cluster/consensus"
)

// tenures hands gains and losses of leadership to the actors: those of a shard
// in order, those of different shards beside each other. Giving a shard up
// waits for its actors, and while one of them waits for a disk or a key service
// the other shards must not go without an owner. Of several changes of a shard
// that wait only the newest is handed on, which is as good: a gain ends what was
// before.
type tenures struct {
	begin func(consensus.LeaderChange)

	mu      sync.Mutex
	waiting map[uint16]consensus.LeaderChange
	busy    map[uint16]bool
	done    sync.WaitGroup
}

func newTenures(begin func(consensus.LeaderChange)) *tenures {
	return &tenures{begin: begin, waiting: make(map[uint16]consensus.LeaderChange), busy: make(map[uint16]bool)}
}

// put takes a change in. It does not wait.
func (t *tenures) put(c consensus.LeaderChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting[c.Group] = c
	if !t.busy[c.Group] {
		t.busy[c.Group] = true
		t.done.Go(func() { t.work(c.Group) })
	}
}

// work hands on the changes of one group until there are none.
func (t *tenures) work(group uint16) {
	for {
		c, any := t.next(group)
		if !any {
			return
		}
		t.begin(c)
	}
}

func (t *tenures) next(group uint16) (c consensus.LeaderChange, any bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c, any = t.waiting[group]; any {
		delete(t.waiting, group)
	} else {
		delete(t.busy, group)
	}
	return c, any
}

// follow hands gains and losses of leadership to the actors until the core is
// closed.
func (core *Core) follow(seen []consensus.LeaderChange) {
	defer close(core.follows)
	t := newTenures(core.changed)
	defer t.done.Wait()
	for _, c := range seen {
		t.put(c)
	}
	for {
		select {
		case c, ok := <-core.host.Leadership():
			if !ok {
				return
			}
			t.put(c)
		case <-core.closing:
			return
		}
	}
}

// changed acts on a gain or a loss of leadership.
func (core *Core) changed(c consensus.LeaderChange) {
	core.deliver(c)
	switch {
	case c.Group == consensus.MetaGroup:
	case c.Leading:
		core.Actors.Lead(int(c.Group), c.Term)
	default:
		core.Actors.Yield(int(c.Group))
	}
	core.led.note(c)
	if core.cluster != nil {
		core.cluster.poke()
	}
}

// lead is which groups are led here.
type lead struct {
	mu     sync.Mutex
	led    map[uint16]bool
	groups int           // there are
	all    chan struct{} // closed when all of them were led once
	once   sync.Once
}

func (l *lead) note(c consensus.LeaderChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.led == nil {
		l.led = make(map[uint16]bool)
	}
	if c.Leading {
		l.led[c.Group] = true
	} else {
		delete(l.led, c.Group)
	}
	if l.groups > 0 && len(l.led) == l.groups {
		l.once.Do(func() { close(l.all) })
	}
}

func (l *lead) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.led)
}
