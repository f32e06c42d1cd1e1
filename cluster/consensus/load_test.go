package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// load appends to one list of shard 0 from several callers, always at the
// leader, and notes what each was told. The list shows afterwards what is true:
// nothing acknowledged may be missing, nothing refused may be there, nothing
// may be there twice, and what was acknowledged before something else was begun
// must stand before it.
type load struct {
	c    *cluster
	stop chan struct{}
	all  sync.WaitGroup

	mu    sync.Mutex
	clock int // orders beginnings and ends
	ops   []*op
}

// op is one append.
type op struct {
	name       string
	begun, end int // on the load's clock
	at         time.Time
	told       error // nil: acknowledged
}

// theList is the list's key.
const theList = "list"

func appendTo(t testing.TB, value string) []byte {
	t.Helper()
	b, err := storage.Batch{Appends: []storage.Append{{Prefix: []byte(theList), Value: []byte(value)}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// listed returns the list as a replica has it.
func listed(t testing.TB, g *Group) (values []string) {
	t.Helper()
	if err := g.State().Scan([]byte(theList), prefixEnd([]byte(theList)), func(key, value []byte, _ uint64) (bool, error) {
		if len(key) > len(theList) {
			values = append(values, string(value))
		}
		return true, nil
	}); err != nil {
		t.Error(err)
	}
	return values
}

// startLoad begins to write, each caller with short pauses.
func (c *cluster) startLoad(callers int) *load {
	l := &load{c: c, stop: make(chan struct{})}
	for i := range callers {
		l.all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				case <-time.After(rand.N(3 * time.Millisecond)):
				}
				l.append(fmt.Sprintf("%d/%d", i, n))
			}
		})
	}
	return l
}

func (l *load) append(name string) {
	n, g := l.c.serving(0)
	if g == nil {
		return
	}
	o := &op{name: name, begun: l.tick(nil)}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, o.told = g.Propose(ctx, appendTo(l.c.t, name))
	if n.crashed.Load() {
		o.told = credential.ErrUnknownOutcome // nobody heard the answer
	}
	o.at = time.Now()
	l.tick(o)
}

// tick moves the clock on, noting an operation that has ended.
func (l *load) tick(o *op) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	if o != nil {
		o.end = l.clock
		l.ops = append(l.ops, o)
	}
	return l.clock
}

// acked returns how many appends were acknowledged.
func (l *load) acked() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.ops {
		if o.told == nil {
			n++
		}
	}
	return n
}

// longestGap returns the longest time within which nothing was acknowledged.
func (l *load) longestGap() (gap time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var last time.Time
	for _, o := range l.ops {
		if o.told != nil {
			continue
		}
		if !last.IsZero() {
			gap = max(gap, o.at.Sub(last))
		}
		last = o.at
	}
	return gap
}

// outcomes counts what callers were told.
func (l *load) outcomes() (acked, refused, unknown int) {
	for _, o := range l.ops {
		switch {
		case o.told == nil:
			acked++
		case errors.Is(o.told, credential.ErrUnknownOutcome):
			unknown++
		default:
			refused++
		}
	}
	return acked, refused, unknown
}

// check ends the load and compares what callers were told with what stands.
func (l *load) check() {
	t := l.c.t
	t.Helper()
	close(l.stop)
	l.all.Wait()
	leader := l.c.leader(0, "")
	if err := leader.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := listed(t, leader)
	place := map[string]int{}
	for i, name := range list {
		if _, twice := place[name]; twice {
			t.Errorf("%s stands twice", name)
		}
		place[name] = i
	}
	standing := make([]*op, len(list))
	for _, o := range l.ops {
		i, stands := place[o.name]
		switch {
		case o.told == nil && !stands:
			t.Errorf("%s was acknowledged and is lost", o.name)
		case errors.Is(o.told, credential.ErrNotOwner) || errors.Is(o.told, credential.ErrNoQuorum):
			if stands {
				t.Errorf("%s stands, its caller was told %v", o.name, o.told)
			}
		case o.told != nil && !errors.Is(o.told, credential.ErrUnknownOutcome):
			t.Errorf("%s: %v", o.name, o.told)
		}
		if stands {
			standing[i] = o
		}
	}
	first := l.clock // the earliest end of all that stand later
	for _, o := range slices.Backward(standing) {
		if o == nil {
			t.Fatal("the list holds what nobody wrote")
		}
		if o.begun > first {
			t.Errorf("%s stands before what was acknowledged before it began", o.name)
		}
		if o.told == nil {
			first = min(first, o.end)
		}
	}
	m, err := leader.Members()
	if err != nil {
		t.Error(err)
	}
	for name, n := range l.c.nodes {
		if g := n.host.Group(0); g != nil && m.Has(name) {
			eventually(t, name+" has what the leader has", func() bool { return slices.Equal(listed(t, g), list) })
		}
	}
	acked, refused, unknown := l.outcomes()
	t.Logf("%d acknowledged, %d refused, %d unknown; longest gap %v", acked, refused, unknown, l.longestGap())
}
