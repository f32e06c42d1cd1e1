package consensus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
)

// cluster is a few nodes whose groups are connected in memory.
type cluster struct {
	t      *testing.T
	timing Timing
	voters []Voter
	disks  map[string]vfs.FS
	nodes  map[string]*node
	wires  map[string]map[uint16]*raft.InmemTransport
}

func newCluster(t *testing.T, timing Timing, names ...string) *cluster {
	c := &cluster{t: t, timing: timing, disks: map[string]vfs.FS{}, nodes: map[string]*node{}, wires: map[string]map[uint16]*raft.InmemTransport{}}
	for _, name := range names {
		c.voters = append(c.voters, Voter{Node: name, Address: name})
		c.disks[name] = vfs.NewMem()
	}
	return c
}

// start runs a node and connects it to all that run.
func (c *cluster) start(name string, join bool) *node {
	c.t.Helper()
	if c.disks[name] == nil {
		c.disks[name] = vfs.NewMem()
	}
	c.wires[name] = map[uint16]*raft.InmemTransport{}
	for _, id := range []uint16{0, MetaGroup} {
		_, c.wires[name][id] = raft.NewInmemTransport(raft.ServerAddress(name))
	}
	for other := range c.nodes {
		c.connect(name, other)
	}
	cfg := config(name, 1)
	cfg.Timing, cfg.Voters, cfg.Join = c.timing, c.voters, join
	cfg.Transport = func(group uint16) (raft.Transport, error) { return c.wires[name][group], nil }
	c.nodes[name] = startNode(c.t, c.disks[name], cfg)
	return c.nodes[name]
}

func (c *cluster) connect(a, b string) {
	for id := range c.wires[a] {
		c.wires[a][id].Connect(raft.ServerAddress(b), c.wires[b][id])
		c.wires[b][id].Connect(raft.ServerAddress(a), c.wires[a][id])
	}
}

// cut separates a node from all others, both ways.
func (c *cluster) cut(name string) {
	for other := range c.nodes {
		if other == name {
			continue
		}
		for id := range c.wires[name] {
			c.wires[name][id].Disconnect(raft.ServerAddress(other))
			c.wires[other][id].Disconnect(raft.ServerAddress(name))
		}
	}
}

// stop closes a node; its disk stays.
func (c *cluster) stop(name string) {
	c.cut(name)
	c.nodes[name].stop()
	delete(c.nodes, name)
	synctest.Wait()
}

func (c *cluster) stopAll() {
	for name := range maps.Clone(c.nodes) {
		c.stop(name)
	}
}

// leader waits until one of the running nodes leads the group.
func (c *cluster) leader(id uint16, except string) *Group {
	c.t.Helper()
	for range 1000 {
		for name, n := range c.nodes {
			if _, ok := n.host.Group(id).IsLeader(); ok && name != except {
				return n.host.Group(id)
			}
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
		eventually(t, "the log is truncated", func() bool {
			log, err := leader.State().Log()
			return err == nil && log.FirstIndex() > 50
		})
		late, joined := c.start("n3", false), c.start("n4", true)
		if err := leader.raft.AddNonvoter("n4", "n4", 0, 0).Error(); err != nil {
			t.Fatal(err)
		}
		for _, n := range []*node{late, joined} {
			checkCaughtUp(t, leader, n.host.Group(0))
			if log, err := n.host.Group(0).State().Log(); err != nil || log.FirstIndex() != 0 && log.FirstIndex() < 50 {
				t.Errorf("%s was brought up by the log (%v), which the test is not about", n.host.cfg.Node, err)
			}
		}
		for name, disk := range c.disks {
			eventually(t, "the spool of "+name+" is empty", func() bool { return len(spooled(t, disk)) == 0 })
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
		for _, name := range []string{"n1", "n2", "n3"} {
			c.start(name, false)
		}
		old := c.leader(0, "")
		term, _ := old.IsLeader()
		changes := c.nodes[old.node].host.Leadership()
		c.cut(old.node)
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
		for other := range c.nodes {
			if other != old.node {
				c.connect(old.node, other)
			}
		}
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
		for _, name := range []string{"n1", "n2", "n3"} {
			c.start(name, false)
		}
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
		c.cut(leader.node)
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
