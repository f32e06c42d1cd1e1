package consensus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage/storagetest"
)

// cluster is a few nodes whose groups, shard 0 and meta, are connected in memory.
type cluster struct {
	t      *testing.T
	timing Timing
	voters []string
	net    *network
	disks  map[string]*storagetest.Disk
	mu     sync.Mutex // for those who look while nodes come and go
	nodes  map[string]*node
	dead   []*node // crashed; what is left of them in memory ends with the test
	// before is told of each step of reach; nil: nobody is.
	before func(step, leader, target string)
}

func newCluster(t *testing.T, timing Timing, names ...string) *cluster {
	return &cluster{t: t, timing: timing, voters: names, net: newNetwork(), disks: map[string]*storagetest.Disk{}, nodes: map[string]*node{}}
}

// boot runs a node without its groups.
func (c *cluster) boot(name string) *node {
	c.t.Helper()
	if c.disks[name] == nil {
		c.disks[name] = storagetest.NewDisk()
	}
	cfg := config(name, 1)
	cfg.Timing = c.timing
	cfg.Transport = c.net.transport(name)
	n := startNode(c.t, c.disks[name].FS(), cfg)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[name] = n
	return n
}

// start runs a node and its groups, which it founds with the others or joins.
func (c *cluster) start(name string, join bool) *node {
	c.t.Helper()
	n := c.boot(name)
	s := Start{Voters: c.voters}
	if join {
		s = Start{Join: true}
	}
	for _, id := range []uint16{0, MetaGroup} {
		if _, err := n.host.OpenGroup(id, s); err != nil {
			c.t.Fatal(err)
		}
	}
	return n
}

// startAll runs all voters.
func (c *cluster) startAll() {
	for _, name := range c.voters {
		c.start(name, false)
	}
}

// cut separates a node from all others, both ways, or connects it again.
func (c *cluster) cut(name string, cut bool) {
	for other := range c.disks {
		if other != name {
			c.net.setCut(name, other, cut)
			c.net.setCut(other, name, cut)
		}
	}
}

// take removes a node from those that run.
func (c *cluster) take(name string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[name]
	delete(c.nodes, name)
	return n
}

// stop closes a node; its disk stays.
func (c *cluster) stop(name string) {
	c.take(name).stop()
	synctest.Wait()
}

// crash kills a node: nobody hears of it any more, and its disk loses what was
// not synced. crashed is set before, so that nothing counts that it says later.
func (c *cluster) crash(name string, seed uint64) {
	n := c.take(name)
	n.crashed.Store(true)
	c.net.kill(name)
	c.disks[name] = c.disks[name].Crash(50, seed)
	c.dead = append(c.dead, n)
}

func (c *cluster) stopAll() {
	for name := range maps.Clone(c.nodes) {
		c.stop(name)
	}
	for _, n := range c.dead {
		n.stop()
	}
	time.Sleep(time.Minute) // messages that nobody waits for
}

// group returns a node's replica of a group.
func (c *cluster) group(name string, id uint16) *Group { return c.nodes[name].host.Group(id) }

// serving returns a running node that leads the group, and its replica.
func (c *cluster) serving(id uint16) (*node, *Group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if g := n.host.Group(id); g != nil {
			if _, ok := g.IsLeader(); ok {
				return n, g
			}
		}
	}
	return nil, nil
}

// leader waits until one of the running nodes leads the group.
func (c *cluster) leader(id uint16, except string) *Group {
	c.t.Helper()
	for range 1000 {
		if n, g := c.serving(id); g != nil && n.host.cfg.Node != except {
			return g
		}
		time.Sleep(10 * time.Millisecond) // virtual
	}
	c.t.Fatalf("nobody leads group %d", id)
	return nil
}

// eventually waits in virtual time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("in vain: %s", what)
}

// TestReplicaThatMissedTheLogGetsASnapshot: the log that a node missed is
// truncated, so that only the state itself can bring it up.
func TestReplicaThatMissedTheLogGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Timing{SnapshotInterval: time.Second, SnapshotThreshold: 20, TrailingLogs: 5}, "n1", "n2", "n3")
		defer c.stopAll()
		c.start("n1", false)
		c.start("n2", false)
		leader := c.leader(0, "")
		for i := range 100 {
			if _, err := leader.Propose(t.Context(), set(t, fmt.Sprintf("k%03d", i), "v")); err != nil {
				t.Fatal(err)
			}
		}
		awaitTruncated(t, leader, 50)
		late, joined := c.start("n3", false), c.start("n4", true)
		m, err := leader.Members()
		if err == nil {
			err = leader.AddLearner(t.Context(), "n4", m.Index)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []*node{late, joined} {
			checkCaughtUp(t, leader, n.host.Group(0))
			if log, err := n.host.Group(0).State().Log(); err != nil || log.FirstIndex() != 0 && log.FirstIndex() < 50 {
				t.Errorf("%s was brought up by the log (%v), which the test is not about", n.host.cfg.Node, err)
			}
		}
		for name, disk := range c.disks {
			eventually(t, "the spool of "+name+" is empty", func() bool { return len(spooled(t, disk.FS())) == 0 })
		}
		// It must stand on its own, too: after a restart, and as a leader's majority.
		c.stop("n3")
		late = c.start("n3", false)
		first := leader.node
		c.stop(first)
		leader = c.leader(0, first)
		if _, err := leader.Propose(t.Context(), set(t, "last", "v")); err != nil {
			t.Fatal(err)
		}
		checkCaughtUp(t, leader, late.host.Group(0))
	})
}

// checkCaughtUp waits until a replica's state is the leader's, key by key and
// revision by revision.
func checkCaughtUp(t *testing.T, leader, replica *Group) {
	t.Helper()
	dump := func(g *Group) map[string]uint64 {
		all := map[string]uint64{}
		if err := g.State().Scan(nil, nil, func(key, value []byte, rev uint64) (bool, error) {
			all[fmt.Sprintf("%s=%s", key, value)] = rev
			return true, nil
		}); err != nil {
			t.Error(err)
		}
		return all
	}
	want := dump(leader)
	if len(want) < 100 {
		t.Errorf("the leader has %d keys only", len(want))
	}
	eventually(t, "replica catches up", func() bool { return maps.Equal(dump(replica), want) })
}

// TestLeaderCutOffLosesItsLeadership: it is told at once, what was under way is
// unknown, and nothing new is taken.
func TestLeaderCutOffLosesItsLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Timing{}, "n1", "n2", "n3")
		defer c.stopAll()
		c.startAll()
		old := c.leader(0, "")
		term, _ := old.IsLeader()
		changes := c.nodes[old.node].host.Leadership()
		c.cut(old.node, true)
		if _, err := old.Propose(t.Context(), set(t, "k", "cut off")); !errors.Is(err, credential.ErrUnknownOutcome) {
			t.Errorf("under way when leadership was lost: %v", err)
		}
		if _, ok := old.IsLeader(); ok {
			t.Error("the proposer knows of the loss before IsLeader does")
		}
		if _, err := old.Propose(t.Context(), set(t, "k", "too late")); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("proposed after the loss: %v", err)
		}
		if err := old.Barrier(t.Context()); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("barrier after the loss: %v", err)
		}
		for ch := range changes {
			if want := (LeaderChange{Group: 0, Term: term}); ch == want {
				break
			}
		}
		next := c.leader(0, old.node)
		if newTerm, _ := next.IsLeader(); newTerm <= term {
			t.Errorf("term %d after term %d", newTerm, term)
		}
		if node, _ := next.Leader(); node != next.node {
			t.Errorf("the leader takes %q for the leader", node)
		}
		if _, err := next.Propose(t.Context(), set(t, "k", "majority")); err != nil {
			t.Error(err)
		}
		c.cut(old.node, false)
		eventually(t, "the old leader follows", func() bool { return read(old, "k") == "majority" })
	})
}

// TestNewLeaderHasAllThatWasCommitted: at the moment when a node is told that it
// leads, its state holds all that earlier leaders have acknowledged. The last
// entries of a leader that stops are committed but not yet applied elsewhere.
func TestNewLeaderHasAllThatWasCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Timing{}, "n1", "n2", "n3")
		defer c.stopAll()
		var acked atomic.Int64
		watch := func(n *node) {
			go func() {
				for ch := range n.host.Leadership() {
					if want := acked.Load(); ch.Leading && ch.Group == 0 && want > 0 {
						if got := read(n.host.Group(0), "k"); got != fmt.Sprint(want) {
							t.Errorf("told that it leads in term %d, %s reads %s, %d was acknowledged", ch.Term, n.host.cfg.Node, got, want)
						}
					}
				}
			}()
		}
		for _, name := range []string{"n1", "n2", "n3"} {
			watch(c.start(name, false))
		}
		for range 10 {
			leader := c.leader(0, "")
			for range 20 {
				if _, err := leader.Propose(t.Context(), set(t, "k", fmt.Sprint(acked.Load()+1))); err != nil {
					t.Fatal(err)
				}
				acked.Add(1)
			}
			c.stop(leader.node)
			c.leader(0, "")
			watch(c.start(leader.node, false))
		}
	})
}

// TestOneOfManyEqualProposalsWins: proposals from the same revision, at the
// same time, on the leader: exactly one is taken, on every replica the same.
func TestOneOfManyEqualProposalsWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Timing{}, "n1", "n2", "n3")
		defer c.stopAll()
		c.startAll()
		leader := c.leader(0, "")
		rev := uint64(0)
		for round := range 10 {
			type win struct {
				value string
				rev   uint64
			}
			wins := make(chan win, 200)
			for i := range cap(wins) {
				value := fmt.Sprintf("%d/%d", round, i)
				go func() {
					r, err := leader.Propose(t.Context(), put(t, "k", rev, value))
					switch {
					case err == nil:
						wins <- win{value, r.Index}
					case !errors.Is(err, credential.ErrConflict):
						t.Error(err)
					}
				}()
			}
			synctest.Wait()
			time.Sleep(time.Minute)
			if len(wins) != 1 {
				t.Fatalf("round %d: %d proposals of one revision won", round, len(wins))
			}
			w := <-wins
			rev = w.rev
			for _, n := range c.nodes {
				eventually(t, "replicas agree", func() bool { return read(n.host.Group(0), "k") == w.value })
			}
		}
	})
}

// TestCloseEndsProposalsThatCannotBeCommitted: without a majority nothing else
// would, for a leader with a long lease.
func TestCloseEndsProposalsThatCannotBeCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := Timing{Heartbeat: time.Hour, Election: time.Hour, Lease: time.Hour}
		c := newCluster(t, long, "n1", "n2")
		defer c.stopAll()
		c.start("n1", false)
		c.start("n2", false)
		time.Sleep(3 * time.Hour)
		leader := c.leader(0, "")
		c.cut(leader.node, true)
		errs := make(chan error, 300)
		for i := range cap(errs) {
			go func() {
				_, err := leader.Propose(context.Background(), set(t, fmt.Sprint(i), "v"))
				errs <- err
			}()
		}
		synctest.Wait()
		if len(errs) > 0 {
			t.Fatal(<-errs)
		}
		begun := time.Now()
		c.stop(leader.node)
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("closing took %v", took)
		}
		for range cap(errs) {
			if err := <-errs; !errors.Is(err, credential.ErrUnknownOutcome) && !errors.Is(err, credential.ErrNotOwner) {
				t.Errorf("proposal ended with %v", err)
			}
		}
		if _, err := leader.Propose(t.Context(), set(t, "k", "v")); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("proposed to a closed host: %v", err)
		}
	})
}
