package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
)

// fast are a cluster's time-outs, with logs that are truncated every moment.
var fast = Timing{
	Heartbeat: 400 * time.Millisecond, Election: 400 * time.Millisecond, Lease: 300 * time.Millisecond,
	SnapshotInterval: 500 * time.Millisecond, SnapshotThreshold: 50, TrailingLogs: 20,
}

// reach changes the group's members one step at a time, as long as it takes,
// until these vote and nobody else is a member, and the first of them leads.
// Whatever fails is looked at anew and done again, as a reconciler does it.
func (c *cluster) reach(want ...string) {
	c.t.Helper()
	for range 20_000 {
		_, g := c.serving(0)
		if g == nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		done, err := c.step(ctx, g, want)
		cancel()
		switch {
		case done:
			return
		case err != nil:
			if !slices.ContainsFunc([]error{credential.ErrNotOwner, credential.ErrConflict, credential.ErrNoQuorum, credential.ErrUnknownOutcome}, func(e error) bool { return errors.Is(err, e) }) {
				c.t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	c.t.Fatalf("members %v are not reached", want)
}

// step does what is to be done next, and says so to c.before.
func (c *cluster) step(ctx context.Context, g *Group, want []string) (done bool, err error) {
	m, err := g.Members()
	if err != nil {
		return false, err
	}
	_, last := g.Progress()
	for _, name := range want {
		switch {
		case slices.Contains(m.Voters, name):
		case !m.Has(name):
			c.begins("add", g.node, name)
			return false, g.AddLearner(ctx, name, m.Index)
		default:
			if applied := c.applied(name); applied+20 < last {
				return false, fmt.Errorf("%w: %s lags", credential.ErrNoQuorum, name)
			}
			c.begins("promote", g.node, name)
			return false, g.Promote(ctx, name, m.Index)
		}
	}
	if g.node != want[0] {
		c.begins("transfer", g.node, want[0])
		return false, g.Transfer(ctx, want[0])
	}
	for _, name := range slices.Concat(m.Voters, m.Learners) {
		if !slices.Contains(want, name) {
			c.begins("remove", g.node, name)
			return false, g.Remove(ctx, name, m.Index)
		}
	}
	return true, nil
}

func (c *cluster) begins(step, leader, target string) {
	if c.before != nil {
		c.before(step, leader, target)
	}
}

// applied asks a node how far it is; 0: it does not answer.
func (c *cluster) applied(name string) uint64 {
	c.mu.Lock()
	n := c.nodes[name]
	c.mu.Unlock()
	if n == nil {
		return 0
	}
	g := n.host.Group(0)
	if g == nil {
		return 0
	}
	applied, _ := g.Progress()
	return applied
}

// leave closes a node's replica and destroys it once the leader has said that
// it is no member.
func (c *cluster) leave(name string) {
	c.t.Helper()
	h := c.nodes[name].host
	if err := h.CloseGroup(c.t.Context(), 0, false); err != nil {
		c.t.Fatal(err)
	}
	m, err := c.leader(0, name).ConfirmMembers(c.t.Context())
	if err != nil || m.Has(name) {
		c.t.Fatalf("members %+v (%v)", m, err)
	}
	if err := h.CloseGroup(c.t.Context(), 0, true); err != nil {
		c.t.Fatal(err)
	}
	if ids, err := h.Resident(); slices.Contains(ids, 0) || err != nil {
		c.t.Errorf("destroyed, but the store holds groups %v (%v)", ids, err)
	}
}

// awaitTruncated waits until a replica's log begins above an entry.
func awaitTruncated(t *testing.T, g *Group, above uint64) {
	t.Helper()
	eventually(t, "the log is truncated", func() bool {
		log, err := g.State().Log()
		return err == nil && log.FirstIndex() > above
	})
}

// TestReplicasAreReplacedUnderWrites: a fourth node joins, gets the state though
// the log is truncated, votes, leads; an old one goes, is destroyed, and comes
// back. No acknowledged write is lost and order holds.
func TestReplicasAreReplacedUnderWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, fast, "n1", "n2", "n3")
		defer c.stopAll()
		c.net.setDelay(time.Millisecond)
		c.startAll()
		l := c.startLoad(6)
		awaitTruncated(t, c.leader(0, ""), 100)
		c.start("n4", true)
		c.reach("n4", "n2", "n3")
		c.leave("n1")
		if _, err := c.nodes["n1"].host.OpenGroup(0, Start{Join: true}); err != nil {
			t.Fatal(err)
		}
		c.reach("n1", "n3", "n4")
		c.leave("n2")
		l.check()
		if _, _, unknown := l.outcomes(); unknown > 0 {
			t.Errorf("%d writes of unknown outcome, though nothing failed", unknown)
		}
		if gap := l.longestGap(); gap > 100*time.Millisecond {
			t.Errorf("nothing was acknowledged for %v", gap)
		}
	})
}

// TestCrashInAnyStepOfAReplacementLosesNothing: in each step the leader, or the
// node that the step is about, is killed at a random moment, and comes back.
func TestCrashInAnyStepOfAReplacementLosesNothing(t *testing.T) {
	for _, at := range []string{"add", "promote", "transfer", "remove"} {
		for _, who := range []string{"leader", "target"} {
			for range 2 {
				seed := rand.Uint64()
				t.Run(fmt.Sprintf("%s/%s/seed=%d", at, who, seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { crashInStep(t, at, who, rand.New(rand.NewPCG(seed, 1))) })
				})
			}
		}
	}
}

func crashInStep(t *testing.T, at, who string, rng *rand.Rand) {
	c := newCluster(t, fast, "n1", "n2", "n3")
	defer c.stopAll()
	c.net.setDelay(time.Millisecond)
	c.startAll()
	l := c.startLoad(4)
	awaitTruncated(t, c.leader(0, ""), 20)
	c.start("n4", true)
	crashed := make(chan struct{})
	var once sync.Once
	c.before = func(step, leader, target string) {
		if step != at {
			return
		}
		once.Do(func() {
			victim := map[string]string{"leader": leader, "target": target}[who]
			after, away := time.Duration(rng.Int64N(int64(6*time.Millisecond))), time.Duration(rng.Int64N(int64(2*time.Second)))
			go func() {
				defer close(crashed)
				time.Sleep(after)
				c.crash(victim, rng.Uint64())
				time.Sleep(away)
				c.start(victim, victim == "n4")
			}()
		})
	}
	c.reach("n4", "n2", "n3")
	<-crashed
	c.reach("n4", "n2", "n3")
	c.leave("n1")
	l.check()
}

// TestChangeOfMembersSaysWhatBecameOfIt: each error, and what it promises.
func TestChangeOfMembersSaysWhatBecameOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, fast, "n1", "n2", "n3")
		defer c.stopAll()
		c.startAll()
		leader := c.leader(0, "")
		var others []string
		for _, name := range c.voters {
			if name != leader.node {
				others = append(others, name)
			}
		}
		before, err := leader.Members()
		if err != nil || !slices.Equal(before.Voters, c.voters) || len(before.Learners) > 0 || before.Index != 1 {
			t.Fatalf("members %+v (%v)", before, err)
		}
		follower := c.group(others[0], 0)
		ctx := t.Context()
		for name, err := range map[string]error{
			"add, not led here":      follower.AddLearner(ctx, "n4", 1),
			"promote, not led here":  follower.Promote(ctx, "n4", 1),
			"remove, not led here":   follower.Remove(ctx, leader.node, 1),
			"transfer, not led here": follower.Transfer(ctx, leader.node),
		} {
			if !errors.Is(err, credential.ErrNotOwner) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, err := range map[string]error{
			"add at another entry":     leader.AddLearner(ctx, "n4", 7),
			"add at no entry":          leader.AddLearner(ctx, "n4", 0),
			"remove at another entry":  leader.Remove(ctx, others[0], 2),
			"promote who is no member": leader.Promote(ctx, "n4", 1),
			"transfer to no member":    leader.Transfer(ctx, "n4"),
		} {
			if !errors.Is(err, credential.ErrConflict) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, err := range map[string]error{
			"remove the leader":  leader.Remove(ctx, leader.node, 1),
			"add a nameless one": leader.AddLearner(ctx, "", 1),
		} {
			if !errors.Is(err, credential.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, err := range map[string]error{
			"add who votes":         leader.AddLearner(ctx, others[0], 1),
			"promote who votes":     leader.Promote(ctx, others[0], 1),
			"remove who is not in":  leader.Remove(ctx, "n4", 1),
			"transfer to who leads": leader.Transfer(ctx, leader.node),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if after, err := leader.Members(); err != nil || after.Index != 1 {
			t.Errorf("something was changed: %+v (%v)", after, err)
		}
		changed := follower.MembersChanged()
		c.start("n4", true)
		if err := leader.AddLearner(ctx, "n4", 1); err != nil {
			t.Fatal(err)
		}
		<-changed
		m, err := leader.ConfirmMembers(ctx)
		if err != nil || !slices.Equal(m.Learners, []string{"n4"}) {
			t.Errorf("members %+v (%v)", m, err)
		}
		if err := leader.Remove(ctx, others[1], 1); !errors.Is(err, credential.ErrConflict) {
			t.Errorf("decided from members that were: %v", err)
		}
		// Without a majority nobody can know.
		c.cut(leader.node, true)
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if err := leader.Promote(short, "n4", m.Index); !errors.Is(err, credential.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no majority, and the time is up: %v", err)
		}
		if err := leader.Remove(ctx, others[0], m.Index); !errors.Is(err, credential.ErrUnknownOutcome) {
			t.Errorf("no majority until the leadership is lost: %v", err)
		}
		if _, err := leader.ConfirmMembers(ctx); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("members confirmed by one who was the leader: %v", err)
		}
	})
}

// TestOneOfTwoChangesFromTheSameMembersIsDone: the other one is a conflict.
func TestOneOfTwoChangesFromTheSameMembersIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, fast, "n1", "n2", "n3")
		defer c.stopAll()
		c.net.setDelay(time.Millisecond)
		c.startAll()
		leader := c.leader(0, "")
		errs := make(chan error, 20)
		for i := range cap(errs) {
			go func() { errs <- leader.AddLearner(t.Context(), fmt.Sprintf("x%d", i), 1) }()
		}
		won := 0
		for range cap(errs) {
			switch err := <-errs; {
			case err == nil:
				won++
			case !errors.Is(err, credential.ErrConflict):
				t.Error(err)
			}
		}
		if m, err := leader.Members(); won != 1 || err != nil || len(m.Learners) != 1 {
			t.Errorf("%d changes were done, the members are %+v (%v)", won, m, err)
		}
	})
}

// TestGroupOfOneGrowsAndShrinks: a lone voter's quick election is for lone
// voters only, and the time-outs are the configured ones in any case.
func TestGroupOfOneGrowsAndShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, fast, "n1")
		defer c.stopAll()
		begun := time.Now()
		c.start("n1", false)
		leader := c.leader(0, "")
		if took := time.Since(begun); took > 10*time.Millisecond { // the test's own pause
			t.Errorf("a lone voter was elected after %v", took)
		}
		if beat := leader.raft.ReloadableConfig().HeartbeatTimeout; beat != fast.Heartbeat {
			t.Errorf("its heartbeat time-out is %v", beat)
		}
		l := c.startLoad(1)
		c.start("n2", true)
		c.start("n3", true)
		c.reach("n1", "n2", "n3")

		// Each of them, killed and started again, finds the others leading: it
		// must not call an election at once.
		term := func() uint64 { _, term := c.leader(0, "").Leader(); return term }
		var calls atomic.Int64
		c.net.lose(func(_, _ string, command any) bool {
			if _, ok := command.(*raft.RequestPreVoteRequest); ok {
				calls.Add(1)
			}
			return false
		})
		for _, name := range []string{"n2", "n3"} {
			before := term()
			c.crash(name, 1)
			time.Sleep(time.Second)
			c.start(name, true)
			time.Sleep(2 * time.Second)
			if after := term(); after != before {
				t.Errorf("%s came back, and the term went from %d to %d", name, before, after)
			}
		}
		if n := calls.Load(); n > 0 {
			t.Errorf("%d calls for an election that nobody needs", n)
		}
		// The leader killed: the others need their time-outs, and no more.
		c.crash("n1", 1)
		begun = time.Now()
		c.leader(0, "")
		if took := time.Since(begun); took < fast.Heartbeat-fast.Lease || took > 3*time.Second {
			t.Errorf("a new leader after %v", took)
		}
		c.start("n1", false)
		c.reach("n1")
		l.check()

		// The only voter again, with one who learns: nobody to wait for.
		if err := c.leader(0, "").AddLearner(t.Context(), "n2", membersIndex(t, c.leader(0, ""))); err != nil {
			t.Fatal(err)
		}
		c.stop("n1")
		begun = time.Now()
		c.start("n1", false)
		c.leader(0, "")
		if took := time.Since(begun); took > 10*time.Millisecond {
			t.Errorf("the only voter was elected after %v", took)
		}
	})
}

func membersIndex(t *testing.T, g *Group) uint64 {
	t.Helper()
	m, err := g.Members()
	if err != nil {
		t.Fatal(err)
	}
	return m.Index
}

// TestDestroyedGroupIsNeverFoundedAgain: two of three founders who have
// forgotten the group and found it again would be a majority without memory.
func TestDestroyedGroupIsNeverFoundedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, fast, "n1", "n2", "n3")
		defer c.stopAll()
		c.startAll()
		if _, err := c.leader(0, "").Propose(t.Context(), set(t, "k", "v")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"n1", "n2"} {
			if err := c.nodes[name].host.CloseGroup(t.Context(), 0, true); err != nil {
				t.Fatal(err)
			}
		}
		c.stop("n3") // the last one who remembers
		for _, name := range []string{"n1", "n2"} {
			g, err := c.nodes[name].host.OpenGroup(0, Start{Voters: c.voters})
			if err != nil {
				t.Fatal(err)
			}
			if m, err := g.Members(); m.Index != 0 || err != nil {
				t.Errorf("%s begins with members %+v (%v)", name, m, err)
			}
		}
		c.checkNobodyLeads(time.Minute)
	})
}

// checkNobodyLeads watches that no node leads the group, for a while.
func (c *cluster) checkNobodyLeads(while time.Duration) {
	c.t.Helper()
	for begun := time.Now(); time.Since(begun) < while; time.Sleep(10 * time.Millisecond) {
		if _, g := c.serving(0); g != nil {
			m, _ := g.Members()
			c.t.Fatalf("%s leads, with members %+v", g.node, m)
		}
	}
}

// TestDestroyedReplicaElectsNobodyWhoMissedItsRemoval: a fourth node joined, and
// n1 was removed and destroyed, while n2 was cut off. To n2 the members are n1,
// n2 and n3: with an n1 that has forgotten what it knew, n2 would be elected
// beside the leader of n3 and n4.
func TestDestroyedReplicaElectsNobodyWhoMissedItsRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, fast, "n1", "n2", "n3")
		defer c.stopAll()
		c.startAll()
		c.reach("n3", "n1", "n2")
		c.start("n4", true)
		c.cut("n2", true)
		c.reach("n4", "n3", "n1", "n2")
		m, err := c.leader(0, "").Members()
		if err == nil {
			err = c.leader(0, "").Remove(t.Context(), "n1", m.Index)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.leave("n1")
		if _, err := c.nodes["n1"].host.OpenGroup(0, Start{Join: true}); err != nil {
			t.Fatal(err)
		}
		c.stop("n3")
		c.stop("n4")
		c.net.setCut("n1", "n2", false)
		c.net.setCut("n2", "n1", false)
		c.checkNobodyLeads(time.Minute)
		c.cut("n2", false)
		c.start("n3", false)
		c.start("n4", true)
		c.reach("n4", "n3", "n1") // and n1 becomes a member like any other
		c.stop("n3")
		if _, err := c.leader(0, "").Propose(t.Context(), set(t, "k", "v")); err != nil {
			t.Errorf("with n1's word: %v", err)
		}
	})
}

// TestDestroyedFounderDoesNotElectItself: once it was the only voter, and the
// others' logs reach back to that time. If it got them from there, it would lead
// beside the others as soon as it stopped hearing of them.
func TestDestroyedFounderDoesNotElectItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := fast
		slow.TrailingLogs = 10_000 // logs reach back to the beginning
		c := newCluster(t, slow, "n1")
		defer c.stopAll()
		founder := c.start("n1", false)
		for i := range 200 {
			if _, err := c.leader(0, "").Propose(t.Context(), set(t, fmt.Sprint(i), "v")); err != nil {
				t.Fatal(err)
			}
		}
		c.start("n2", true)
		c.start("n3", true)
		c.reach("n2", "n3")
		c.leave("n1")
		again, err := founder.host.OpenGroup(0, Start{Join: true})
		if err != nil {
			t.Fatal(err)
		}
		c.net.lose(func(_, to string, command any) bool { // all but the first entries
			a, ok := command.(*raft.AppendEntriesRequest)
			return ok && to == "n1" && len(a.Entries) > 0 && a.Entries[0].Index > 2
		})
		leader := c.leader(0, "")
		if err := leader.AddLearner(t.Context(), "n1", membersIndex(t, leader)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "n1 has something", func() bool { return again.raft.LastIndex() > 0 })
		c.stop("n2")
		c.stop("n3")
		c.checkNobodyLeads(time.Minute)
		c.stop("n1")
		c.start("n1", true)
		c.checkNobodyLeads(time.Minute)
		c.net.lose(nil)
		c.start("n2", true)
		c.start("n3", true)
		c.reach("n1", "n2", "n3")
	})
}

// TestGroupIsOpenedOnce, however many ask for it at the same time.
func TestGroupIsOpenedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, fast, "n1")
		defer c.stopAll()
		h := c.boot("n1").host
		type result struct {
			g   *Group
			err error
		}
		results := make(chan result, 20)
		for range cap(results) {
			go func() {
				g, err := h.OpenGroup(0, Start{Voters: c.voters})
				results <- result{g, err}
			}()
		}
		var opened *Group
		for range cap(results) {
			r := <-results
			switch {
			case r.err != nil && !errors.Is(r.err, credential.ErrConflict):
				t.Error(r.err)
			case r.err == nil && opened != nil && r.g != opened:
				t.Error("opened twice")
			case r.err == nil:
				opened = r.g
			}
		}
		if opened == nil || h.Group(0) != opened || len(h.Groups()) != 1 {
			t.Errorf("opened %v, running %v", opened, h.Groups())
		}
	})
}

func TestGroupIsOpenedAndClosedAsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config("n1", 2)
		cfg.Timing = fast
		net := newNetwork()
		cfg.Transport = net.transport("n1")
		disk := vfs.NewMem()
		n := startNode(t, disk, cfg)
		h := n.host
		if ids, err := h.Resident(); len(ids) > 0 || err != nil || len(h.Groups()) > 0 {
			t.Errorf("a new host holds %v (%v) and runs %v", ids, err, h.Groups())
		}
		if h.Group(0) != nil || h.Shard(0) != nil || h.Store(0) == nil || h.Store(2) != nil || h.Store(MetaGroup) != nil {
			t.Error("groups before any is open")
		}
		if _, err := h.Store(0).Due(time.Now(), credential.Due{}, 1); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("reading what is not open: %v", err)
		}
		if _, _, err := h.KV().Get("k"); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("reading meta before it is open: %v", err)
		}
		if _, err := h.KV().Put(t.Context(), "k", 0, nil); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("writing meta before it is open: %v", err)
		}
		for what, c := range map[string]struct {
			id   uint16
			s    Start
			want error
		}{
			"no such group":    {2, Start{Join: true}, credential.ErrInvalid},
			"nothing said":     {0, Start{}, credential.ErrNotFound},
			"both":             {0, Start{Voters: []string{"n1"}, Join: true}, credential.ErrInvalid},
			"not a founder":    {0, Start{Voters: []string{"n2"}}, credential.ErrInvalid},
			"a founder twice":  {0, Start{Voters: []string{"n1", "n2", "n1"}}, credential.ErrInvalid},
			"a nameless voter": {0, Start{Voters: []string{"n1", ""}}, credential.ErrBadName},
		} {
			if _, err := h.OpenGroup(c.id, c.s); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
		var seen []string
		h.KV().OnChange(func(keys []string) { seen = append(seen, keys...) })
		g, err := h.OpenGroup(MetaGroup, Start{Voters: []string{"n1"}})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := h.OpenGroup(MetaGroup, Start{}); again != g || err != nil {
			t.Errorf("opened twice: %v", err)
		}
		change := <-h.Leadership()
		if change.Group != MetaGroup || !change.Leading {
			t.Errorf("change %+v", change)
		}
		rev, err := h.KV().Put(t.Context(), "k", 0, []byte("v"))
		if err != nil || !slices.Equal(seen, []string{"k"}) {
			t.Errorf("written: %v; noticed %v", err, seen)
		}
		if err := h.CloseGroup(t.Context(), MetaGroup, false); err != nil {
			t.Fatal(err)
		}
		if lost := <-h.Leadership(); lost != (LeaderChange{Group: MetaGroup, Term: change.Term}) {
			t.Errorf("change %+v", lost)
		}
		if h.Group(MetaGroup) != nil {
			t.Error("closed and still there")
		}
		if _, err := g.Propose(t.Context(), set(t, "k", "late")); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("proposed to a closed group: %v", err)
		}
		if err := g.Transfer(t.Context(), "n1"); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("transfer of a closed group: %v", err)
		}
		if ids, err := h.Resident(); !slices.Equal(ids, []uint16{MetaGroup}) || err != nil {
			t.Errorf("resident %v (%v)", ids, err)
		}
		if _, err := h.OpenGroup(MetaGroup, Start{Join: true}); err != nil { // not heeded
			t.Fatal(err)
		}
		if again := <-h.Leadership(); !again.Leading || again.Term <= change.Term {
			t.Errorf("change %+v", again)
		}
		if _, got, err := h.KV().Get("k"); got != rev || err != nil {
			t.Errorf("after closing and opening: revision %d (%v), want %d", got, err, rev)
		}
		if err := h.CloseGroup(t.Context(), MetaGroup, true); err != nil {
			t.Fatal(err)
		}
		if err := h.CloseGroup(t.Context(), MetaGroup, true); err != nil {
			t.Errorf("destroying what is not there: %v", err)
		}
		if _, err := h.OpenGroup(MetaGroup, Start{}); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("opening what was destroyed: %v", err)
		}
		n.stop()
		if _, err := h.OpenGroup(0, Start{Join: true}); !errors.Is(err, credential.ErrConflict) {
			t.Errorf("opening on a closed host: %v", err)
		}
	})
}
