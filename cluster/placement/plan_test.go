package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// situation is a cluster in which each shard is as its record says.
func situation(nodes []Node, live alive, replicas ...string) Situation {
	var shards []Shard
	groups := map[uint16]GroupStatus{}
	for i, r := range replicas {
		s := Shard{ID: uint16(i), Found: list(r), Replicas: list(r), Epoch: 1}
		shards = append(shards, s)
		groups[s.ID] = GroupStatus{Group: s.ID, Leader: s.Replicas[0], Term: 1, Members: Members{Index: 1, Voters: s.Replicas}}
	}
	return Situation{View: newTestView(nodes, shards), Shards: len(replicas), Alive: live, Groups: groups, Now: start}
}

// always is a function to place shards that wants what it is given.
func always(targets ...string) func(int, int, []string, [][]string) [][]string {
	return func(shards, _ int, _ []string, _ [][]string) [][]string {
		lists := make([][]string, shards)
		for i := range lists {
			lists[i] = list(targets[i%len(targets)])
		}
		return lists
	}
}

// said writes a plan as text.
func said(changes []Change) string {
	var words []string
	for _, c := range changes {
		if c.Node != nil {
			words = append(words, c.Node.Name+" "+string(c.Node.State))
		} else {
			words = append(words, fmt.Sprintf("%d: %s", c.Shard.ID, strings.Join(c.Shard.Replicas, " ")))
		}
	}
	return strings.Join(words, ", ")
}

func TestPlanGoesOneReplicaAtATime(t *testing.T) {
	for _, c := range []struct {
		what        string
		now, target string
		alive       string
		leaving     string
		then        string
	}{
		{"nothing to do", "a b c", "a b c", "a b c", "", ""},
		{"another order of followers is nothing to do", "a c b", "a b c", "a b c", "", ""},
		{"another owner", "a b c", "c a b", "a b c", "", "0: c a b"},
		{"another owner, who is suspect", "a b c", "c a b", "a b c?", "", ""},
		{"another owner, who is away for a moment", "a b c", "c a b", "a b c!", "", ""},
		{"the owner is away for a moment", "a b c", "a b c", "a! b c", "", ""},
		{"one replica", "a b c", "a b d", "a b c d", "", "0: a b d"},
		{"the new owner comes first", "a b c", "d e a", "a b c d e", "", "0: d a b"},
		{"two replicas", "a b c", "a d e", "a b c d e", "", "0: a d b"},
		{"to one who is alive", "a b c", "a d e", "a b c d! e", "", "0: a e b"},
		{"to nobody who is not", "a b c", "a b d", "a b c d?", "", ""},
		{"more replicas", "a", "a b c", "a b c", "", "0: a b"},
		{"more replicas, and another owner", "a", "b c a", "a b c", "", "0: b a"},
		{"away from the leaving first", "a b c", "a d e", "a b c d e", "b", "0: a d c"},
		{"away from the dead first", "a b c", "a d e", "a b!! c d e", "", "0: a d c"},
		{"the dead stays where nobody can take its place", "a b c", "a b", "a b c!!", "", ""},
		{"the dead owner stays a replica, not the owner", "a b c", "b c", "a!! b c", "", "0: b c a"},
		{"the leaving goes also where nobody can take its place", "a b c", "a b", "a b c", "c", "0: a b"},
		{"the leaving waits for one who takes its place", "a b c", "a b d", "a b c d!", "c", ""},
		{"the leaving owner", "a b c", "b c d", "a b c d", "a", "0: b c d"},
		{"too many", "a b c d", "a b c", "a b c d", "", "0: a b c"},
		{"nowhere to go", "a b c", "", "a! b! c!", "", ""},
	} {
		nodes := active("a", "b", "c", "d", "e")
		for i := range nodes {
			if nodes[i].Name == c.leaving {
				nodes[i].State = Leaving
			}
		}
		s := situation(nodes, livingNow(list(c.alive)...), c.now)
		got := said(Plan(s, Options{Place: always(c.target)}.withDefaults()))
		if got != c.then {
			t.Errorf("%s: %q -> %q: planned %q, want %q", c.what, c.now, c.target, got, c.then)
		}
	}
}

func TestPlanWaitsForTheExpectedNodes(t *testing.T) {
	o := Options{Place: evenly, Expect: 3}.withDefaults()
	s := Situation{View: newTestView(active("a", "b"), nil), Shards: 4, Alive: livingNow("a", "b"), Now: start}
	if got := Plan(s, o); len(got) != 0 {
		t.Errorf("two of three nodes: planned %s", said(got))
	}
	s.View, s.Alive = newTestView(active("a", "b", "c"), nil), livingNow("a", "b", "c!")
	got := Plan(s, o)
	if len(got) != 4 {
		t.Fatalf("planned %s", said(got))
	}
	for _, c := range got {
		if c.Rev != 0 || !slices.Equal(c.Shard.Found, c.Shard.Replicas) || c.Shard.Owner != c.Shard.Replicas[0] || c.Shard.Epoch != 1 {
			t.Errorf("first record of shard %d: %+v", c.Shard.ID, *c.Shard)
		}
		s.View = s.View.with(c)
		// A leader that dies here leaves the rest to the next one.
		for _, rest := range Plan(s, o) {
			if rest.Rev != 0 || s.View.Replicas(rest.Shard.ID) != nil {
				t.Errorf("shard %d is placed twice", rest.Shard.ID)
			}
		}
	}
	if got := Plan(s, o); len(got) != 0 {
		t.Errorf("when all are placed: planned %s", said(got))
	}
}

func TestPlanMovesFewShardsAtOnceAndTheEndangeredFirst(t *testing.T) {
	nodes, live := active("a", "b", "c", "d"), livingNow("a", "b", "c!!", "d")
	s := situation(nodes, live, "a b d", "a b d", "a b d", "a b c", "a b c", "a b c", "a b d", "a b d")
	o := Options{Place: always("b a d"), MaxMoving: 2}.withDefaults()
	if got := said(Plan(s, o)); got != "3: b a d, 4: b a d" {
		t.Errorf("planned %q", got)
	}
	// One is in motion: its members differ.
	g := s.Groups[7]
	g.Members.Learners = []string{"c"}
	s.Groups[7] = g
	if got := said(Plan(s, o)); got != "3: b a d" {
		t.Errorf("with one in motion planned %q", got)
	}
	// Another one, whose leader is not the owner.
	g = s.Groups[6]
	g.Leader = "b"
	s.Groups[6] = g
	if got := said(Plan(s, o)); got != "" {
		t.Errorf("with two in motion planned %q", got)
	}
	// One without a leader, which will have one soon.
	s = situation(nodes, live, "a b d", "a b c", "a b c")
	delete(s.Groups, 0)
	if got := said(Plan(s, o)); got != "1: b a d" {
		t.Errorf("with one that has no leader planned %q", got)
	}
}

func TestPlanLeavesAShardWithoutALeaderAsItIs(t *testing.T) {
	s := situation(active("a", "b", "c", "d"), livingNow("a", "b!!", "c!!", "d"), "a b c", "a d b")
	delete(s.Groups, 0)
	o := Options{Place: always("a d"), Replicas: 2, MaxMoving: 1}.withDefaults()
	if got := said(Plan(s, o)); got != "1: a d" {
		t.Errorf("planned %q", got)
	}
}

func TestPlanCallsOffAMoveToANodeThatDied(t *testing.T) {
	for _, c := range []struct {
		what, replicas, voters, learners, alive, leaving, then string
	}{
		{"it goes on", "a b d", "a b c", "d", "a b c d", "", ""},
		{"it goes on when the target is suspect", "a b d", "a b c", "d", "a b c d?", "", ""},
		{"the target died before it had a vote", "a b d", "a b c", "d", "a b c d!", "", "0: a b c"},
		{"the target died with a vote", "a b d", "a b c d", "", "a b c d!", "", "0: a b c"},
		{"the target was the owner to be", "d a b", "a b c", "d", "a b c d!", "", "0: a b c"},
		{"there is nobody to go back to", "a b d", "a b d c", "", "a b c! d!", "", ""},
		{"a new replica died", "a b", "a", "b", "a b!", "", "0: a"},
		{"another replica dies meanwhile", "a b d", "a b c", "d", "a b! c d", "", "0: a d c"},
		{"the target leaves", "a b d", "a b c", "d", "a b c d", "d", "0: a b c"},
		{"what it moves away from leaves", "a b d", "a b c", "d", "a b c d", "c", ""},
		{"and the target died", "a b d", "a b c", "d", "a b c d!", "c", "0: a b"},
	} {
		nodes := active("a", "b", "c", "d")
		for i := range nodes {
			if nodes[i].Name == c.leaving {
				nodes[i].State = Leaving
			}
		}
		s := situation(nodes, livingNow(list(c.alive)...), c.replicas)
		s.Groups[0] = GroupStatus{Leader: "a", Term: 1, Members: Members{Index: 1, Voters: list(c.voters), Learners: list(c.learners)}}
		got := said(Plan(s, Options{Place: always("a b d")}.withDefaults()))
		if got != c.then {
			t.Errorf("%s: planned %q, want %q", c.what, got, c.then)
		}
	}
}

func TestPlanRemovesANodeOnlyWhenNothingIsLeftOnIt(t *testing.T) {
	nodes := active("a", "b", "c", "d")
	nodes[3].State = Leaving
	o := Options{Place: always("a b c")}.withDefaults()
	s := situation(nodes, livingNow("a", "b", "c", "d"), "a b c")
	if got := said(Plan(s, o)); got != "d removed" {
		t.Errorf("planned %q", got)
	}
	g := s.Groups[0]
	for what, members := range map[string]Members{
		"a voter":   {Index: 1, Voters: list("a b c d")},
		"a learner": {Index: 1, Voters: list("a b c"), Learners: list("d")},
	} {
		g.Members = members
		s.Groups[0] = g
		if got := said(Plan(s, o)); got != "" {
			t.Errorf("while it is %s: planned %q", what, got)
		}
	}
	delete(s.Groups, 0)
	if got := said(Plan(s, o)); got != "" {
		t.Errorf("while nobody knows: planned %q", got)
	}
}

func TestPlanKeepsANodeWhereAllWereAskedToLeave(t *testing.T) {
	for _, c := range []struct{ active, leaving, alive, then string }{
		{"", "a b", "a b", "a active"},
		{"", "a b", "a! b", "b active"},
		{"", "a b", "a! b!", ""},
		{"a", "b", "a! b", ""}, // it may be back
	} {
		nodes := active(list(c.active + " " + c.leaving)...)
		for i := range nodes {
			if slices.Contains(list(c.leaving), nodes[i].Name) {
				nodes[i].State = Leaving
			}
		}
		s := situation(nodes, livingNow(list(c.alive)...), "a b")
		if got := said(Plan(s, Options{Place: always("")}.withDefaults())); got != c.then {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestPlanTouchesNoRecordThatItCannotRead(t *testing.T) {
	s := situation(active("a", "b", "c"), livingNow("a", "b", "c"), "a b c", "a b c")
	delete(s.View.shards, 1)
	s.View.closed[shardKey(1)] = true
	if got := said(Plan(s, Options{Place: always("a b c")}.withDefaults())); got != "" {
		t.Errorf("planned %q", got)
	}
}

func TestCouncilIsOddAndSteady(t *testing.T) {
	for _, c := range []struct {
		what, nodes, voters, leaving, alive string
		then, follow                        string
	}{
		{"one node", "a", "a", "", "a", "a", ""},
		{"two nodes", "a b", "a", "", "a b", "a b", ""},
		{"four nodes", "a b c d", "a b c", "", "a b c d", "a b c", "d"},
		{"five nodes", "a b c d e", "a b c", "", "a b c d e", "a b c d e", ""},
		{"seven nodes", "a b c d e f g", "c d e f g", "", "a b c d e f g", "c d e f g", "a b"},
		{"nobody becomes a voter while it is away", "a b c", "a", "", "a b! c", "a c", "b"},
		{"a voter that is away for a moment", "a b c d", "a b c", "", "a b c! d", "a b c", "d"},
		{"a voter that is gone is replaced", "a b c d", "a b c", "", "a b c!! d", "a b d", "c"},
		{"a voter that is gone and cannot be replaced", "a b c", "a b c", "", "a b c!!", "a b c", ""},
		{"two that cannot", "a b c d e", "a b c d e", "", "a b c d!! e!!", "a b c d e", ""},
		{"a voter that leaves", "a b c d", "a b c", "b", "a b c d", "a c d", "b"},
		{"a leader that leaves, nobody replaces it", "a b c", "a b c", "a", "a b c", "b c", "a"},
		{"no voter is sent away for being the fourth", "a b c d", "a b c d", "", "a b c d", "a b c d", ""},
	} {
		nodes := active(list(c.nodes)...)
		for i := range nodes {
			if nodes[i].Name == c.leaving {
				nodes[i].State = Leaving
			}
		}
		nodes = append(nodes, Node{Name: "z", State: Removed})
		s := Situation{View: newTestView(nodes, nil), Alive: livingNow(list(c.alive)...), Now: start}
		w := Council(s, Members{Index: 1, Voters: list(c.voters)}, Options{}.withDefaults())
		if !sameSet(w.Voters, list(c.then)) || !sameSet(w.Learners, list(c.follow)) {
			t.Errorf("%s: voters %v, followers %v; want %q, %q", c.what, w.Voters, w.Learners, c.then, c.follow)
		}
	}
}

func FuzzPlanKeepsWhatIsAlive(f *testing.F) {
	f.Add(uint64(1), uint16(0b111), uint16(0b111), uint16(0), uint8(0))
	f.Add(uint64(99), uint16(0b11110), uint16(0b101), uint16(0b1000), uint8(4))
	f.Fuzz(func(t *testing.T, seed uint64, living, registered, leaving uint16, gone uint8) {
		w := newWorld(t, seed)
		names := list("a b c d e f g")
		for i, n := range names {
			if registered&(1<<i) != 0 {
				w.register(n)
				if living&(1<<i) == 0 {
					w.alive[n] = Liveness{State: Dead, Since: w.now.Add(-time.Duration(gone) * time.Minute)}
				}
			}
		}
		for range 3 {
			w.round()
		}
		for i, n := range names {
			if rec, ok := w.view.nodes[n]; ok && leaving&(1<<i) != 0 {
				rec := *rec
				rec.State = Leaving
				w.view = w.view.with(Change{Key: nodeKey(n), Node: &rec})
			}
		}
		for range 5 {
			w.round() // checks each change
		}
	})
}
