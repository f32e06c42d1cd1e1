package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/cluster/gossip/gossiptest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	// A probe of memberlist's may have to wait for its answer, as Close says:
	// goleak looks for half a second, so it looks more than once.
	var err error
	for range 20 {
		if err = goleak.Find(); err == nil {
			break
		}
	}
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// logbook is a logger's output.
type logbook struct {
	mu   sync.Mutex
	b    bytes.Buffer
	news chan struct{}
}

func newLogbook() *logbook { return &logbook{news: make(chan struct{}, 1)} }

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ring(l.news)
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// awaitLine waits until the log has a text.
func awaitLine(t *testing.T, l *logbook, text string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for !strings.Contains(l.String(), text) {
		select {
		case <-l.news:
		case <-late:
			t.Fatalf("%q is not in the log:\n%s", text, l)
		}
	}
}

// lab is a network in a bubble, with nodes n1, n2 and so on at 10.0.0.1:7946,
// 10.0.0.2:7946 and so on.
type lab struct {
	t   *testing.T
	net *gossiptest.Network

	mu   sync.Mutex
	cuts map[[2]string]bool
}

// inLab runs f in virtual time.
func inLab(t *testing.T, f func(t *testing.T, l *lab)) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, cuts: map[[2]string]bool{}}
		l.net = gossiptest.NewNetwork(func(from, to string) bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return !l.cuts[[2]string{from, to}]
		})
		f(t, l)
	})
}

func addr(i int) string { return fmt.Sprintf("10.0.0.%d:7946", i) }

// cut keeps from each other what a has and what b has, or no longer.
func (l *lab) cut(cut bool, a, b []int) {
	for _, i := range a {
		for _, j := range b {
			l.cutOneWay(cut, i, j)
			l.cutOneWay(cut, j, i)
		}
	}
}

func (l *lab) cutOneWay(cut bool, from, to int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts[[2]string{addr(from), addr(to)}] = cut
}

// config is the one of node i, which may join nodes 1 to 3.
func (l *lab) config(i int) Config {
	return Config{
		Name:      fmt.Sprintf("n%d", i),
		Join:      []string{addr(1), addr(2), addr(3)},
		Meta:      Meta{Boot: fmt.Sprintf("boot-%d", i), RPC: fmt.Sprintf("10.0.0.%d:7947", i)},
		Transport: l.net.Listen(addr(i)),
	}
}

// start starts a node. It is closed at the end of the test.
func (l *lab) start(c Config) *Gossip {
	l.t.Helper()
	g, err := Start(c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { mustClose(l.t, g) })
	return g
}

// node starts node i as it is by default.
func (l *lab) node(i int) *Gossip {
	l.t.Helper()
	return l.start(l.config(i))
}

// trio starts nodes 1 to 3 and waits until they have found each other.
func (l *lab) trio() []*Gossip {
	l.t.Helper()
	all := []*Gossip{l.node(1), l.node(2), l.node(3)}
	for _, g := range all {
		await(l.t, g, time.Minute, "n1 alive, n2 alive, n3 alive")
	}
	return all
}

func mustClose(t *testing.T, g *Gossip) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := g.Close(ctx); err != nil {
		t.Error(err)
	}
}

// states is what a node knows, in words.
func states(g *Gossip) string {
	var words []string
	for _, m := range g.Members() {
		words = append(words, m.Name+" "+m.State.String())
	}
	return strings.Join(words, ", ")
}

// awaitThat waits until a node's members are as wanted, and returns how long
// that took.
func awaitThat(t *testing.T, g *Gossip, within time.Duration, what string, ok func([]Member) bool) time.Duration {
	t.Helper()
	began, late := time.Now(), time.After(within)
	for !ok(g.Members()) {
		select {
		case <-g.Changed():
		case <-late:
			t.Fatalf("%s does not see %s within %v, but %s", g.conf.Name, what, within, states(g))
		}
	}
	return time.Since(began)
}

// await waits until a node knows the given states.
func await(t *testing.T, g *Gossip, within time.Duration, want string) time.Duration {
	t.Helper()
	return awaitThat(t, g, within, want, func([]Member) bool { return states(g) == want })
}

// member returns what a node knows of another one.
func member(t *testing.T, g *Gossip, name string) Member {
	t.Helper()
	members := g.Members()
	i := slices.IndexFunc(members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("%s does not know %s, but %s", g.conf.Name, name, states(g))
	}
	return members[i]
}

// stays checks that a node sees nothing but the given states for a while.
func stays(t *testing.T, g *Gossip, d time.Duration, want string) {
	t.Helper()
	over := time.After(d)
	for {
		if got := states(g); got != want {
			t.Fatalf("%s sees %s, want %s all the time", g.conf.Name, got, want)
		}
		select {
		case <-g.Changed():
		case <-over:
			return
		}
	}
}
