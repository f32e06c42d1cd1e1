package placement

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memLocal keeps local records in memory.
type memLocal struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (l *memLocal) Load(name string) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.values[name]), nil
}

func (l *memLocal) Save(name string, value []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.values == nil {
		l.values = map[string][]byte{}
	}
	l.values[name] = bytes.Clone(value)
	return nil
}

// town is a set of nodes that have no cluster yet, between which messages are
// lost and late, which see each other or not, and crash at any save.
type town struct {
	t      *testing.T
	mu     sync.Mutex // guards all below
	rng    *rand.Rand
	people map[string]*person
	// rough: things go wrong.
	rough bool
}

// person is a node of a town over its lives.
type person struct {
	town    *town
	name    string
	expect  int
	disk    memLocal
	life    int // counts starts
	former  *Former
	up      bool
	sees    map[string]bool // whom gossip shows to it
	changed chan struct{}
	cluster string // that it tells by gossip
	end     context.CancelFunc
	done    chan struct{} // closed when the life is over
}

func newTown(t *testing.T, seed uint64, n, expect int) *town {
	w := &town{t: t, rng: rand.New(rand.NewPCG(seed, 2)), people: map[string]*person{}}
	for i := range n {
		name := string(rune('a' + i))
		w.people[name] = &person{town: w, name: name, expect: expect, sees: map[string]bool{}, changed: make(chan struct{}, 1)}
	}
	return w
}

func (w *town) chance(percent int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rough && w.rng.IntN(100) < percent
}

func (w *town) upTo(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.rng.Int64N(int64(d)))
}

var errCrash = errors.New("the process died")

// life is one start of a node: what it does reaches the world only while it is
// the current one.
type life struct {
	*person
	n int
}

func (l life) alive() bool {
	l.town.mu.Lock()
	defer l.town.mu.Unlock()
	return l.up && l.life == l.n
}

// Load implements Local.
func (l life) Load(name string) ([]byte, error) { return l.disk.Load(name) }

// Save implements Local. The process may die before it, or after.
func (l life) Save(name string, value []byte) error {
	if !l.alive() {
		return errCrash
	}
	if l.town.chance(4) {
		l.die()
		return errCrash
	}
	if err := l.disk.Save(name, value); err != nil {
		return err
	}
	if l.town.chance(4) {
		l.die()
		return errCrash
	}
	return nil
}

func (l life) die() {
	l.town.mu.Lock()
	defer l.town.mu.Unlock()
	if l.life == l.n {
		l.up = false
		l.cluster = ""
		l.end()
	}
}

// Members implements Gossip.
func (l life) Members() []Member {
	w := l.town
	w.mu.Lock()
	defer w.mu.Unlock()
	members := []Member{{Name: l.name, State: Alive, Cluster: l.cluster}}
	for name, p := range w.people {
		if name != l.name && l.sees[name] {
			s := Alive
			if !p.up {
				s = Dead
			}
			members = append(members, Member{Name: name, State: s, Cluster: p.cluster})
		}
	}
	return members
}

// Changed implements Gossip.
func (l life) Changed() <-chan struct{} { return l.changed }

// call carries a request and its answer, each of which may be late or lost.
func (l life) call(ctx context.Context, to string, fn func(f *Former) error) error {
	w := l.town
	deliver := func() error {
		if w.chance(20) || !sleep(ctx, w.upTo(time.Second)) {
			return errors.New("lost")
		}
		return nil
	}
	if err := deliver(); err != nil {
		return err
	}
	if w.chance(10) {
		// The caller gives up, and the request arrives all the same, much later.
		late, cancel := context.WithTimeout(context.Background(), time.Minute)
		go func() {
			defer cancel()
			if sleep(late, w.upTo(20*time.Second)) {
				_ = l.answer(late, to, fn)
			}
		}()
		return errors.New("no answer in time")
	}
	if err := l.answer(ctx, to, fn); err != nil {
		return err
	}
	if err := deliver(); err != nil || !l.alive() {
		return errors.New("the answer is lost")
	}
	return nil
}

func (l life) answer(ctx context.Context, to string, fn func(f *Former) error) error {
	w := l.town
	w.mu.Lock()
	p := w.people[to]
	f, n, up := p.former, p.life, p.up
	w.mu.Unlock()
	if !up || f == nil {
		return errors.New("nobody there")
	}
	if err := fn(f); err != nil {
		return err
	}
	if !(life{p, n}).alive() {
		return errors.New("it died meanwhile")
	}
	return ctx.Err()
}

func (l life) Promise(ctx context.Context, node string, p Promise) (a Answer, err error) {
	var mu sync.Mutex
	var got Answer
	err = l.call(ctx, node, func(f *Former) error {
		a, err := f.Promise(ctx, p)
		mu.Lock()
		defer mu.Unlock()
		got = a
		return err
	})
	mu.Lock()
	defer mu.Unlock()
	return got, err
}

func (l life) Release(ctx context.Context, node string, p Promise) error {
	return l.call(ctx, node, func(f *Former) error { return f.Release(ctx, p) })
}

func (l life) Join(ctx context.Context, node string, j Joining) (w Welcome, err error) {
	err = l.call(ctx, node, func(f *Former) error {
		if m := f.Membership(); m.Cluster == "" || m.Cluster != j.Cluster {
			return errors.New("not a member")
		}
		return nil
	})
	return Welcome{Cluster: j.Cluster}, err
}

func (l life) Status(context.Context, string, []uint16) ([]GroupStatus, error) { return nil, nil }

// begin starts the node.
func (p *person) begin() {
	w := p.town
	w.mu.Lock()
	p.life++
	p.up = true
	ctx, end := context.WithCancel(context.Background())
	p.end, p.former, p.done = end, nil, make(chan struct{})
	l, done := life{p, p.life}, p.done
	w.mu.Unlock()
	go func() {
		defer close(done)
		p.live(ctx, l)
	}()
}

func (p *person) live(ctx context.Context, l life) {
	defer l.die()
	f, err := NewFormer(FormConfig{Self: Node{Name: p.name, DataID: p.name}, Expect: p.expect, Gossip: l, Peers: l, Local: l})
	if err != nil {
		return
	}
	defer f.Close()
	p.town.mu.Lock()
	if p.life == l.n {
		p.former = f
	}
	p.town.mu.Unlock()
	m, err := f.Form(ctx)
	if err != nil || !sleep(ctx, p.town.upTo(5*time.Second)) { // until it serves
		return
	}
	p.town.mu.Lock()
	if p.life == l.n && p.up {
		p.cluster = m.Cluster
	}
	for _, q := range p.town.people {
		poke(q.changed)
	}
	p.town.mu.Unlock()
	<-ctx.Done() // it answers others from now on
}

// kill ends the node and waits until nothing of it runs.
func (p *person) kill() {
	w := p.town
	w.mu.Lock()
	l := life{p, p.life}
	done := p.done
	w.mu.Unlock()
	l.die()
	<-done
}

// clusters returns what is on the disks: which clusters there are.
func (w *town) clusters() (ids []string, founders int, without int) {
	found := map[string]bool{}
	for _, p := range w.people {
		m, err := loadMembership(&p.disk)
		if err != nil {
			w.t.Fatal(err)
		}
		founders += rank(m.Founded)
		if m.Cluster == "" {
			without++
		} else {
			found[m.Cluster] = true
		}
	}
	return slices.Collect(maps.Keys(found)), founders, without
}

// TestNodesThatStartTogetherFoundOneCluster lets nodes start, see each other or
// not, lose messages and crash at any save, by seed; when they can talk for
// long enough, all of them are in one cluster.
func TestNodesThatStartTogetherFoundOneCluster(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { foundOnce(t, uint64(seed)) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func foundOnce(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	n := 1 + rng.IntN(6)
	expect := n/2 + 1 + rng.IntN(n-n/2)
	w := newTown(t, seed, n, expect)
	w.rough = true
	names := slices.Sorted(maps.Keys(w.people))
	for _, name := range names {
		if rng.IntN(4) > 0 {
			w.people[name].begin()
		}
	}
	check := func() {
		if ids, founders, _ := w.clusters(); len(ids) > 1 || founders > 1 {
			t.Fatalf("seed %d: %d nodes, %d expected: %d founders, clusters %v", seed, n, expect, founders, ids)
		}
	}
	for range 40 {
		time.Sleep(time.Duration(rng.Int64N(int64(4 * time.Second))))
		p := w.people[names[rng.IntN(n)]]
		w.mu.Lock()
		up, started := p.up, p.life > 0
		if q := names[rng.IntN(n)]; rng.IntN(3) > 0 {
			p.sees[q] = rng.IntN(3) > 0 // also one way only
		}
		poke(p.changed)
		w.mu.Unlock()
		switch {
		case !up && rng.IntN(3) == 0:
			if started {
				p.kill() // what is left of the life before
			}
			p.begin()
		case up && rng.IntN(10) == 0:
			p.kill()
		}
		check()
	}
	w.mu.Lock()
	w.rough = false
	for _, p := range w.people {
		for _, q := range names {
			p.sees[q] = true
		}
	}
	w.mu.Unlock()
	for _, name := range names {
		p := w.people[name]
		w.mu.Lock()
		up, started := p.up, p.life > 0
		w.mu.Unlock()
		if !up {
			if started {
				p.kill()
			}
			p.begin()
		}
	}
	time.Sleep(2 * time.Minute)
	check()
	ids, founders, without := w.clusters()
	if len(ids) != 1 || founders != 1 || without != 0 {
		for _, name := range names {
			m, _ := loadMembership(&w.people[name].disk)
			t.Logf("%s: %+v, promise %+v", name, m, m.Promise)
		}
		t.Errorf("%d nodes, %d expected: clusters %v, %d founders, %d nodes in none", n, expect, ids, founders, without)
	}
	for _, name := range names {
		w.people[name].kill()
	}
	time.Sleep(2 * time.Minute) // late messages
}

// TestAFounderThatCrashesAtAnySaveLeavesNobodyBound ends the founder before and
// after each of its saves in turn.
func TestAFounderThatCrashesAtAnySaveLeavesNobodyBound(t *testing.T) {
	for at := range 8 {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, 1, 3, 3)
			for _, p := range w.people {
				for q := range w.people {
					p.sees[q] = true
				}
			}
			f := w.people["a"]
			c := &crashAt{life: life{f, 1}, left: at}
			f.life, f.up = 1, true
			ctx, cancel := context.WithCancel(t.Context())
			f.end, f.done = cancel, make(chan struct{})
			w.people["b"].begin()
			w.people["c"].begin()
			former, err := NewFormer(FormConfig{Self: Node{Name: "a", DataID: "a"}, Expect: 3, Gossip: c.life, Peers: c.life, Local: c})
			if err == nil {
				w.mu.Lock()
				f.former = former
				w.mu.Unlock()
				_, _ = former.Form(ctx)
				former.Close()
			}
			c.die()
			time.Sleep(5 * time.Second) // the others are bound to it, and wait
			if ids, _, _ := w.clusters(); len(ids) > 1 {
				t.Fatalf("crash %d: clusters %v", at, ids)
			}
			f.begin()
			time.Sleep(time.Minute)
			if ids, founders, without := w.clusters(); len(ids) != 1 || founders != 1 || without != 0 {
				t.Errorf("crash %d: clusters %v, %d founders, %d nodes in none", at, ids, founders, without)
			}
			for _, p := range w.people {
				p.kill()
			}
		})
	}
}

// crashAt is a Local that dies at a save: at even numbers before it, at odd
// ones after it.
type crashAt struct {
	life
	left int
}

func (c *crashAt) Save(name string, value []byte) error {
	c.left -= 2
	if c.left == -2 {
		c.die()
		return errCrash
	}
	err := c.life.Save(name, value)
	if c.left == -1 {
		c.die()
		return errCrash
	}
	return err
}

func TestANodeWithDataIsAClusterOfOneAndIsNotMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1, 2, 2)
		a := w.people["a"]
		a.life, a.up, a.end = 1, true, func() {}
		l := life{a, 1}
		c := FormConfig{Self: Node{Name: "a", DataID: "a"}, Expect: 2, HasData: true, Gossip: l, Peers: l, Local: l}
		f, err := NewFormer(c)
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.Form(t.Context())
		if err != nil || m.Cluster == "" || !m.Founded || !m.OwnData {
			t.Errorf("Form = %+v, %v", m, err)
		}
		f.Close()
		// Another one that sees a cluster.
		w.people["b"].up, w.people["b"].cluster = true, "other"
		a.sees["b"] = true
		a.disk = memLocal{}
		if f, err = NewFormer(c); err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Form(t.Context()); !errors.Is(err, ErrRefused) {
			t.Errorf("beside a cluster: %v", err)
		}
	})
}

func TestARefusedNodeIsToldWhyAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1, 2, 1)
		a, b := w.people["a"], w.people["b"]
		a.life, a.up, a.end = 1, true, func() {}
		b.up, b.cluster, a.sees["b"] = true, "x", true
		l := refusing{life{a, 1}}
		f, err := NewFormer(FormConfig{Self: Node{Name: "a"}, Gossip: l, Peers: l, Local: l})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Form(t.Context()); !errors.Is(err, ErrRefused) || fmt.Sprint(err) != "the cluster refuses this node: wrong key" {
			t.Errorf("Form: %v", err)
		}
		if m, _ := loadMembership(&a.disk); m.Cluster != "" {
			t.Errorf("it took itself for a member: %+v", m)
		}
	})
}

func TestANodeOfAnotherAuthorityIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1, 3, 1)
		a := w.people["a"]
		a.life, a.up, a.end = 1, true, func() {}
		for _, name := range []string{"b", "c"} {
			p := w.people[name]
			p.up, p.cluster, a.sees[name] = true, "x", true
		}
		l := distrusting{life{a, 1}, []error{ErrUntrusted, errors.New("busy"), ErrUntrusted, ErrUntrusted}, new(int)}
		f, err := NewFormer(FormConfig{Self: Node{Name: "a"}, Gossip: l, Peers: l, Local: l})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Form(t.Context()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "cluster.tls") || *l.asked != 4 {
			t.Errorf("Form, after it asked %d times: %v", *l.asked, err)
		}
	})
}

func TestANodeThatWasRemovedHearsOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for what, c := range map[string]struct {
			said    []Welcome // by whoever is asked, in turn; the zero value: nothing
			refused bool
		}{
			"removed":            {[]Welcome{{}, {}, {Refused: "it was removed", Expelled: true}}, true},
			"refused, but in":    {[]Welcome{{}, {Refused: "another key"}}, false},
			"in":                 {[]Welcome{{Cluster: "x"}}, false},
			"in, says the third": {[]Welcome{{}, {}, {Cluster: "x"}}, false},
		} {
			w := newTown(t, 1, 3, 1)
			a := w.people["a"]
			a.life, a.up, a.end = 1, true, func() {}
			for _, name := range []string{"b", "c"} {
				p := w.people[name]
				p.up, p.cluster, a.sees[name] = true, map[string]string{"b": "x", "c": "other"}[name], true
			}
			if err := saveMembership(&a.disk, Membership{Format: format, Cluster: "x", Complete: true}); err != nil {
				t.Fatal(err)
			}
			l := answering{life{a, 1}, c.said, new(int)}
			f, err := NewFormer(FormConfig{Self: Node{Name: "a"}, Gossip: l, Peers: l, Local: l})
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Confirm(t.Context()); errors.Is(err, ErrRefused) != c.refused || !c.refused && err != nil || *l.asked != len(c.said) {
				t.Errorf("%s: asked %d times: %v", what, *l.asked, err)
			}
			f.Close()
			if *l.asked = 0; len(c.said) > 1 { // whose first one asked does not answer
				if err := f.Confirm(t.Context()); !errors.Is(err, errClosed) {
					t.Errorf("%s: closed, and %v", what, err)
				}
			}
		}
	})
}

// answering answers requests to join with what is next, of node b only.
type answering struct {
	life
	said  []Welcome
	asked *int
}

func (a answering) Join(_ context.Context, node string, j Joining) (Welcome, error) {
	w := a.said[*a.asked]
	*a.asked++
	if node != "b" || j.Cluster != "x" || w == (Welcome{}) {
		return w, errors.New("no answer")
	}
	return w, nil
}

// distrusting refuses to be asked, each time for the next reason.
type distrusting struct {
	life
	why   []error
	asked *int
}

func (d distrusting) Join(context.Context, string, Joining) (Welcome, error) {
	*d.asked++
	return Welcome{}, d.why[*d.asked-1]
}

type refusing struct{ life }

func (refusing) Join(context.Context, string, Joining) (Welcome, error) {
	return Welcome{Refused: "wrong key"}, nil
}
