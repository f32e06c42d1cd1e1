package placement

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// FormConfig is what a Former is made of.
type FormConfig struct {
	// Self is this node's record; its State and JoinedAt are not used.
	Self Node
	// Expect is how many nodes a new cluster begins with; 0: this node founds
	// none. It must be more than half of all nodes that are started for the first
	// time, or two halves that do not see each other found one each.
	Expect int
	// Shards is the number of shards that this node is configured for.
	Shards int
	// Proof shows which key-encryption key this node has.
	Proof []byte
	// HasData: the store holds groups from a time when the node was alone.
	HasData bool

	Gossip Gossip
	Peers  Peers
	Local  Local
	Logger *slog.Logger
	// Stable is for how long the nodes that are seen must not change before one
	// founds a cluster. Default 2 s.
	Stable time.Duration
}

const (
	// askTimeout bounds what a would-be founder waits for the others' promises,
	// and a node for being let in.
	askTimeout = 5 * time.Second
	// formRetry is the first wait after something failed; it doubles up to
	// formRetryMax, and is spread by half.
	formRetry    = 500 * time.Millisecond
	formRetryMax = 8 * time.Second
	// formTick is how often a node that waits looks again.
	formTick = time.Second
	// formWarn is how often it says what it waits for.
	formWarn = 15 * time.Second
)

// Former finds out which cluster this node belongs to, founding or joining one
// if need be. It answers other nodes' requests from NewFormer on until Close,
// also when this node has a cluster. Methods may be called concurrently, Form
// once.
type Former struct {
	cfg     FormConfig
	jobs    chan job
	stop    chan struct{}
	close   sync.Once
	stopped chan struct{}

	mu sync.Mutex
	m  Membership // as saved
}

// job changes the membership; the goroutine that runs jobs is the only one to.
type job struct {
	change func(Membership) Membership
	done   chan error // capacity 1
}

// NewFormer reads what the node knows of its cluster and begins to answer.
func NewFormer(c FormConfig) (*Former, error) {
	c.Stable = cmp.Or(c.Stable, 2*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := loadMembership(c.Local)
	if err != nil {
		return nil, err
	}
	// A founding that a crash has ended is given up, before anybody can hear
	// that it goes on: the next attempt has another id.
	if m.promised() && m.Promise.Founder == c.Self.Name {
		m = m.release(m.Promise.Cluster)
		if err := saveMembership(c.Local, m); err != nil {
			return nil, err
		}
	}
	f := &Former{cfg: c, jobs: make(chan job), stop: make(chan struct{}), stopped: make(chan struct{}), m: m}
	go f.run()
	return f, nil
}

// Close ends the answering.
func (f *Former) Close() {
	f.close.Do(func() { close(f.stop) })
	<-f.stopped
}

// Membership returns what is saved now.
func (f *Former) Membership() Membership {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m
}

// run makes changes of the membership one after the other.
func (f *Former) run() {
	defer close(f.stopped)
	for {
		select {
		case j := <-f.jobs:
			j.done <- f.apply(j.change)
		case <-f.stop:
			return
		}
	}
}

func (f *Former) apply(change func(Membership) Membership) error {
	before := f.Membership()
	m := change(before)
	if m == before { // a Promise is replaced, never changed
		return nil
	}
	if err := saveMembership(f.cfg.Local, m); err != nil {
		return err
	}
	f.mu.Lock()
	f.m = m
	f.mu.Unlock()
	return nil
}

var errClosed = errors.New("node is shutting down")

// change makes a change, and returns when it is synced.
func (f *Former) change(ctx context.Context, fn func(Membership) Membership) error {
	j := job{fn, make(chan error, 1)}
	select {
	case f.jobs <- j:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.stop:
		return errClosed
	}
	// It is being done; to leave now would leave the caller's fn in use.
	return <-j.done
}

// Promise answers another node that wants to found a cluster, or that asks
// whether this one still does.
func (f *Former) Promise(ctx context.Context, p Promise) (Answer, error) {
	var a Answer
	err := f.change(ctx, func(m Membership) Membership {
		m, a = m.promise(f.cfg.Self.Name, p, f.cfg.HasData, f.clusters())
		return m
	})
	return a, err
}

// Release frees this node from a promise whose founder has given up.
func (f *Former) Release(ctx context.Context, p Promise) error {
	return f.change(ctx, func(m Membership) Membership {
		if m.promised() && m.Promise.Founder == f.cfg.Self.Name {
			return m // its own
		}
		return m.release(p.Cluster)
	})
}

// clusters returns the clusters that gossip shows on other nodes.
func (f *Former) clusters() (ids []string) {
	for _, m := range f.cfg.Gossip.Members() {
		if m.Name != f.cfg.Self.Name && m.State != Dead && m.Cluster != "" {
			ids = append(ids, m.Cluster)
		}
	}
	return ids
}

// Form returns when the node belongs to a cluster. It founds one, joins the one
// that gossip shows, or waits; an error is ErrRefused, of the disk, or of ctx.
func (f *Former) Form(ctx context.Context) (Membership, error) {
	var (
		seen   string // who was alive at the last look
		since  = time.Now()
		warned = time.Now()
		retry  = formRetry
	)
	for {
		members := f.cfg.Gossip.Members()
		if now := living(members); now != seen {
			seen, since = now, time.Now()
		}
		m := f.Membership()
		d := decide(m, f.cfg.Self.Name, members, time.Since(since) >= f.cfg.Stable, f.cfg.HasData, f.cfg.Expect)
		if d.course == courseDone {
			return m, nil
		}
		acted, err := f.act(ctx, d)
		if err != nil {
			return m, err
		}
		wait := formTick / 4
		if acted {
			wait, retry = retry/2+mathrand.N(retry), min(2*retry, formRetryMax)
		}
		if d.why != "" && time.Since(warned) >= formWarn {
			warned = time.Now()
			f.cfg.Logger.Warn("no cluster yet", "why", d.why)
		}
		if f.Membership().Cluster != "" {
			continue
		}
		if err := f.wait(ctx, wait, !acted); err != nil {
			return m, err
		}
	}
}

// living is the names of the members that are alive, to be compared.
func living(members []Member) string {
	var names []string
	for _, m := range members {
		if m.State == Alive {
			names = append(names, m.Name+"="+m.DataID)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// wait waits for a time or, with early, for a change of gossip.
func (f *Former) wait(ctx context.Context, d time.Duration, early bool) error {
	var changed <-chan struct{}
	if early {
		changed = f.cfg.Gossip.Changed()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.stop:
		return errClosed
	}
}

// act does what was decided. acted: others were asked, so that a wait should
// follow.
func (f *Former) act(ctx context.Context, d decision) (acted bool, err error) {
	switch d.course {
	case courseRefuse:
		return false, fmt.Errorf("%w: %s", ErrRefused, d.why)
	case courseAlone:
		return false, f.change(ctx, func(m Membership) Membership {
			if m.Cluster == "" {
				m.Cluster, m.Founded, m.OwnData = newID(), true, true
			}
			return m
		})
	case courseAsk:
		return true, f.ask(ctx, d.nodes)
	case courseJoin:
		return true, f.join(ctx, d.nodes, d.cluster)
	case courseStill:
		return true, f.still(ctx, d.nodes[0], d.cluster)
	default:
		return false, nil
	}
}

// newID returns a random id for a cluster.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// ask tries to found a cluster with other nodes: it does if each of them
// promises to join it. Else the attempt is given up, which is saved before
// anybody is told, and no later attempt has its id.
func (f *Former) ask(ctx context.Context, nodes []string) error {
	p := Promise{Cluster: newID(), Founder: f.cfg.Self.Name}
	mine := false
	err := f.change(ctx, func(m Membership) Membership {
		if mine = m.Cluster == "" && m.Promise == nil; mine {
			m.Promise = &p
		}
		return m
	})
	if err != nil || !mine {
		return err
	}
	refused := f.gather(ctx, nodes, p)
	founded := false
	// Not with ctx: what was begun is finished or given up.
	err = f.change(context.WithoutCancel(ctx), func(m Membership) Membership {
		if refused == "" && len(f.clusters()) == 0 {
			m, founded = m.enter(p.Cluster)
			m.Founded = founded
			return m
		}
		return m.release(p.Cluster)
	})
	if err != nil || founded {
		return err
	}
	f.cfg.Logger.Info("founding a cluster was put off", "why", refused)
	f.each(ctx, nodes, func(ctx context.Context, node string) {
		_ = f.cfg.Peers.Release(ctx, node, p) // who does not hear it will ask
	})
	return nil
}

// gather asks all nodes for the promise and says why one of them does not hold
// it; empty: all do.
func (f *Former) gather(ctx context.Context, nodes []string, p Promise) string {
	reasons := make([]string, len(nodes))
	f.each(ctx, nodes, func(ctx context.Context, node string) {
		a, err := f.cfg.Peers.Promise(ctx, node, p)
		switch i := slices.Index(nodes, node); {
		case err != nil:
			reasons[i] = fmt.Sprintf("node %s did not answer: %v", node, err)
		case !a.Held:
			reasons[i] = cmp.Or(a.Reason, "node "+node+" refused")
		}
	})
	for _, r := range reasons {
		if r != "" {
			return r
		}
	}
	return ""
}

// each calls fn for all nodes at once and returns when all have returned.
func (f *Former) each(ctx context.Context, nodes []string, fn func(ctx context.Context, node string)) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, node := range nodes {
		all.Go(func() { fn(ctx, node) })
	}
	all.Wait()
}

// still asks the founder that this node is bound to whether it goes on.
func (f *Former) still(ctx context.Context, founder, cluster string) error {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	a, err := f.cfg.Peers.Promise(asking, founder, Promise{Cluster: cluster, Founder: founder, Still: true})
	if err != nil || a.Held {
		return nil // in doubt it is bound
	}
	return f.change(ctx, func(m Membership) Membership { return m.release(cluster) })
}

// Confirm asks the members of this node's cluster, until one answers, whether
// the node still belongs to it: one that was removed while it was away hears of
// that from nobody else. The error is ErrRefused then, and of ctx or Close where
// these ended the asking. It is for a node that has a cluster.
func (f *Former) Confirm(ctx context.Context) error {
	j := Joining{Node: f.cfg.Self, Shards: f.cfg.Shards, Proof: f.cfg.Proof, Cluster: f.Membership().Cluster}
	for retry := formRetry; ; retry = min(2*retry, formRetryMax) {
		for _, m := range f.cfg.Gossip.Members() {
			if m.Name == f.cfg.Self.Name || m.State != Alive || m.Cluster != j.Cluster {
				continue
			}
			asking, done := context.WithTimeout(ctx, askTimeout)
			w, err := f.cfg.Peers.Join(asking, m.Name, j)
			done()
			if err == nil && w.Expelled {
				return fmt.Errorf("%w: %s", ErrRefused, w.Refused)
			}
			if err == nil {
				return nil
			}
		}
		if err := f.wait(ctx, retry/2+mathrand.N(retry), false); err != nil {
			return err
		}
	}
}

// join asks members of a cluster, one after the other, to be let in. Where none
// of them is to be trusted, that is for an operator to mend.
func (f *Former) join(ctx context.Context, nodes []string, cluster string) error {
	mathrand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	j := Joining{Node: f.cfg.Self, Shards: f.cfg.Shards, Proof: f.cfg.Proof, Cluster: cluster}
	strangers := 0
	for _, node := range nodes {
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		w, err := f.cfg.Peers.Join(asking, node, j)
		cancel()
		if err != nil {
			f.cfg.Logger.Info("could not join the cluster yet", "through", node, "err", err)
			if errors.Is(err, ErrUntrusted) {
				strangers++
			}
			continue
		}
		if w.Refused != "" {
			return fmt.Errorf("%w: %s", ErrRefused, w.Refused)
		}
		return f.change(ctx, func(m Membership) Membership {
			m, _ = m.enter(cluster) // else it is bound elsewhere since
			return m
		})
	}
	if strangers > 0 && strangers == len(nodes) {
		return fmt.Errorf("%w: node %s shows a certificate that this node's authority has not signed; give this node the cluster's authority and a certificate of it (cluster.tls)", ErrRefused, nodes[0])
	}
	return nil
}
