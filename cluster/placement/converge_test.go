package placement

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world is a model of a cluster: records, groups as raft would keep them, and
// nodes that are alive or not. It plays the loops with Plan, Council and Step,
// and checks each thing that they do.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time
	view   *View
	alive  alive
	groups map[uint16]*modelGroup
	opts   Options
	log    []string
}

type modelGroup struct {
	members Members
	leader  string
	term    uint64
	applied map[string]bool // who has caught up
}

const modelShards = 12

func newWorld(t *testing.T, seed uint64) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: start, view: newView(), alive: alive{},
		groups: map[uint16]*modelGroup{}, opts: Options{Place: evenly, Expect: 1, MaxMoving: 3}.withDefaults(),
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	for _, l := range w.log[max(0, len(w.log)-60):] {
		w.t.Log(l)
	}
	w.t.Fatalf(format, args...)
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, w.now.Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

func (w *world) register(name string) {
	w.note("%s joins", name)
	n := active(name)[0]
	w.view = w.view.with(Change{Key: nodeKey(name), Node: &n})
	w.set(name, Alive)
	if len(w.view.nodes) == 1 {
		w.groups[MetaGroup] = &modelGroup{members: Members{Index: 1, Voters: []string{name}}, leader: name, term: 1, applied: map[string]bool{name: true}}
	}
}

func (w *world) set(name string, s State) {
	if w.alive[name].State != s || w.alive[name].Since.IsZero() {
		w.note("%s is %v", name, s)
		w.alive[name] = Liveness{State: s, Since: w.now}
	}
}

// elect gives groups that lost their leader another one, if a majority of their
// voters is alive.
func (w *world) elect() {
	for _, id := range slices.Sorted(maps.Keys(w.groups)) {
		g := w.groups[id]
		if g.leader != "" && w.alive[g.leader].State == Alive && slices.Contains(g.members.Voters, g.leader) && w.alive.majority(g.members.Voters) {
			continue
		}
		g.leader = ""
		var able []string
		for _, v := range g.members.Voters {
			if w.alive[v].State == Alive {
				able = append(able, v)
			}
		}
		if len(able) > len(g.members.Voters)/2 {
			g.leader = able[w.rng.IntN(len(able))]
			g.term++
		}
	}
}

// seen is what the leaders say.
func (w *world) seen() map[uint16]GroupStatus {
	all := map[uint16]GroupStatus{}
	for id, g := range w.groups {
		if g.leader != "" {
			all[id] = GroupStatus{Group: id, Leader: g.leader, Term: g.term, Members: g.members, Applied: 9, Last: 9}
		}
	}
	return all
}

func (w *world) situation() Situation {
	return Situation{View: w.view, Shards: modelShards, Alive: w.alive, Groups: w.seen(), Now: w.now}
}

func (w *world) inMotion() map[uint16]bool {
	p := planner{Situation: w.situation()}
	moving := map[uint16]bool{}
	for id, s := range w.view.shards {
		if g, known := p.Groups[id]; known && p.moving(s, g) {
			moving[id] = true
		}
	}
	return moving
}

// round plays one round of all loops. busy: something was done.
func (w *world) round() (busy bool) {
	w.now = w.now.Add(10 * time.Second)
	w.elect()
	meta := w.groups[MetaGroup]
	if meta != nil && meta.leader != "" {
		want := Council(w.situation(), meta.members, w.opts)
		busy = w.step(MetaGroup, meta, want) || busy
		before := w.inMotion()
		changes := Plan(w.situation(), w.opts)
		for _, c := range changes {
			busy = true
			w.write(c)
		}
		w.checkMotion(before)
	}
	for id := range uint16(modelShards) {
		s, known := w.view.Shard(id)
		if g := w.groups[id]; known && g != nil && g.leader != "" {
			busy = w.step(id, g, s.want()) || busy
		}
	}
	for _, g := range w.groups {
		for _, n := range slices.Concat(g.members.Learners, g.members.Voters) {
			if w.alive[n].State == Alive && g.leader != "" && w.rng.IntN(3) > 0 {
				g.applied[n] = true
			}
		}
	}
	return busy
}

func (w *world) write(c Change) {
	w.note("plan: %s", said([]Change{c}))
	if s := c.Shard; s != nil {
		old := w.view.shards[s.ID]
		if old == nil {
			g := &modelGroup{members: Members{Index: 1, Voters: s.Found}, term: 1, applied: map[string]bool{}}
			for _, n := range s.Found {
				g.applied[n] = true
			}
			w.groups[s.ID] = g
		} else {
			if !slices.Equal(old.Found, s.Found) || s.Epoch != old.Epoch+1 || s.Owner != s.Replicas[0] || c.Rev != old.rev {
				w.fail("shard %d: %+v after %+v", s.ID, *s, *old)
			}
			w.checkPlanned(s)
		}
		if len(slices.Compact(slices.Sorted(slices.Values(s.Replicas)))) != len(s.Replicas) {
			w.fail("shard %d has doubles: %v", s.ID, s.Replicas)
		}
	}
	w.view = w.view.with(c)
}

// checkPlanned: no more than one of the voters that are fit to stay is planned
// away.
func (w *world) checkPlanned(s *Shard) {
	g := w.groups[s.ID]
	var fit []string
	for _, v := range g.members.Voters {
		if n := w.view.nodes[v]; n.State == Active && w.alive[v].State == Alive {
			fit = append(fit, v)
		}
	}
	if away := without(fit, s.Replicas); len(away) > max(1, len(fit)-len(s.Replicas)) {
		w.fail("shard %d: %v of voters %v are planned away at once", s.ID, away, g.members.Voters)
	}
}

// checkMotion: nothing is set in motion beyond the bound.
func (w *world) checkMotion(before map[uint16]bool) {
	after := w.inMotion()
	started := 0
	for id := range after {
		if g := w.groups[id]; !before[id] && g.leader != "" && w.view.shards[id].Epoch > 1 {
			started++
		}
	}
	if started > 0 && len(after) > w.opts.MaxMoving {
		w.fail("%d shards are in motion, %d of them since now", len(after), started)
	}
}

// step plays one step of the leader of a group.
func (w *world) step(id uint16, g *modelGroup, want Want) bool {
	s := Sight{Self: g.leader, Members: g.members, Last: 1000, Applied: map[string]uint64{}, Alive: w.alive}
	for n := range g.applied {
		s.Applied[n] = 1000
	}
	a := Step(want, s, w.opts.Lag)
	if a.Kind == Nothing {
		return false
	}
	w.note("group %d (%v | %v, led by %s): %v %s", id, g.members.Voters, g.members.Learners, g.leader, a.Kind, a.Node)
	if w.alive[a.Node].State != Alive && a.Kind != Remove {
		w.fail("group %d: %v %s, which is %v", id, a.Kind, a.Node, w.alive[a.Node].State)
	}
	m := Members{Index: g.members.Index + 1, Voters: slices.Clone(g.members.Voters), Learners: slices.Clone(g.members.Learners)}
	switch a.Kind {
	case AddLearner:
		m.Learners = append(m.Learners, a.Node)
		delete(g.applied, a.Node)
	case Promote:
		m.Learners = without(m.Learners, []string{a.Node})
		m.Voters = append(m.Voters, a.Node)
	case Remove:
		m.Learners, m.Voters = without(m.Learners, []string{a.Node}), without(m.Voters, []string{a.Node})
	case Transfer:
		g.leader, m.Index = a.Node, g.members.Index
		g.term++
	}
	g.members = m
	if a.Kind == Promote || a.Kind == Remove {
		if !w.alive.majority(m.Voters) {
			w.fail("group %d: %v %s leaves no majority alive of %v", id, a.Kind, a.Node, m.Voters)
		}
	}
	return true
}

// calm lets everything settle, with all nodes alive, and checks the result.
func (w *world) calm() {
	for _, name := range slices.Sorted(maps.Keys(w.view.nodes)) {
		w.set(name, Alive)
	}
	quiet := 0
	for i := 0; quiet < 12; i++ {
		if w.round() {
			quiet = 0
		} else {
			quiet++
		}
		if i > 3000 {
			w.fail("it does not come to rest")
		}
	}
	if moving := w.inMotion(); len(moving) > 0 {
		w.fail("in motion for ever: %v", moving)
	}
	members := w.view.all(Active)
	if left := w.view.all(Leaving); len(left) > 0 {
		w.fail("%v cannot leave", left)
	}
	lists := make([][]string, modelShards)
	for id := range lists {
		s, g := w.view.shards[uint16(id)], w.groups[uint16(id)]
		if s == nil || g == nil {
			w.fail("shard %d is nowhere", id)
		}
		if !sameSet(s.Replicas, g.members.Voters) || len(g.members.Learners) > 0 || g.leader != s.Owner {
			w.fail("shard %d should be %v and is %+v led by %s", id, s.Replicas, g.members, g.leader)
		}
		if len(s.Replicas) != min(3, len(members)) {
			w.fail("shard %d has replicas %v, nodes are %v", id, s.Replicas, members)
		}
		lists[id] = s.Replicas
	}
	checkShares(w.t, lists, members)
	meta := w.groups[MetaGroup].members
	if n := len(meta.Voters); n > maxVoters || n < min(len(members), 3) || !sameSet(slices.Concat(meta.Voters, meta.Learners), members) {
		w.fail("the meta group is %+v, nodes are %v", meta, members)
	}
	if w.t.Failed() {
		w.fail("after all that")
	}
}

// TestPlacementConvergesWhateverHappens plays random joins, deaths, returns and
// departures, and lets the cluster come to rest now and then.
func TestPlacementConvergesWhateverHappens(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		w := newWorld(t, uint64(seed))
		w.opts.Expect = 1 + w.rng.IntN(3)
		next := 0
		join := func() {
			w.register(fmt.Sprintf("n%02d", next))
			next++
		}
		for range max(w.opts.Expect, 1+w.rng.IntN(5)) {
			join()
		}
		for range 4 {
			for range 30 + w.rng.IntN(60) {
				w.happen(join)
				w.round()
			}
			w.calm()
		}
	}
}

// happen lets something happen, or not.
func (w *world) happen(join func()) {
	nodes := w.view.all(Active, Leaving)
	node := nodes[w.rng.IntN(len(nodes))]
	switch w.rng.IntN(20) {
	case 0:
		if len(w.view.all(Active)) < 8 {
			join()
		}
	case 1:
		w.set(node, Dead)
	case 2:
		w.set(node, Suspect)
	case 3, 4, 5:
		w.set(node, Alive)
	case 6:
		n := *w.view.nodes[node]
		if n.State == Active && len(w.view.all(Active)) > 2 {
			w.note("%s is to leave", node)
			n.State = Leaving
			w.view = w.view.with(Change{Key: nodeKey(node), Node: &n})
		}
	case 7:
		w.now = w.now.Add(time.Duration(w.rng.IntN(8)) * time.Minute)
	}
}
