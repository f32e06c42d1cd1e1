package placement

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Options are the rules of placement; the zero value of each means its default.
type Options struct {
	// Place proposes where shards should be: see ring.Place. It must be given.
	Place func(shards, replicas int, members []string, before [][]string) [][]string
	// Replicas is how many nodes hold a shard, where there are that many.
	// Default 3.
	Replicas int
	// Expect is the number of nodes that have to be registered before shards are
	// placed for the first time. Default 1.
	Expect int
	// RebuildAfter is how long a node may be dead before its replicas are
	// rebuilt on others. Default 5 minutes.
	RebuildAfter time.Duration
	// MaxMoving bounds the shards in motion at once. Default 4.
	MaxMoving int
	// Lag is how many entries a replica may be behind and still be given a vote
	// or the lead. Default 256.
	Lag uint64
}

func (o Options) withDefaults() Options {
	o.Replicas = cmp.Or(o.Replicas, 3)
	o.Expect = cmp.Or(o.Expect, 1)
	o.RebuildAfter = cmp.Or(o.RebuildAfter, 5*time.Minute)
	o.MaxMoving = cmp.Or(o.MaxMoving, 4)
	o.Lag = cmp.Or(o.Lag, 256)
	return o
}

// Situation is what a plan is made from.
type Situation struct {
	View   *View
	Shards int // how many there are
	Alive  alive
	// Groups is what the leaders of groups have said just now. A shard that is
	// not in it has no leader that could be asked.
	Groups map[uint16]GroupStatus
	Now    time.Time
}

// Change is a record to be written, if it is still at the revision that the
// plan was made from.
type Change struct {
	Key string
	Rev uint64 // 0: it does not exist
	// One of them is set.
	Node  *Node
	Shard *Shard
}

// Plan returns the records that the leader of the meta group should write now.
// It places all shards at once when the expected nodes have registered. After
// that it goes in steps: a step changes one replica, or the owner, of a shard
// that is settled; at most o.MaxMoving shards are in motion at once; and a
// shard without a leader, which could not follow, is left as it is. Shards move
// only to nodes that are alive, and away from nodes that leave, that have been
// dead for o.RebuildAfter and can be replaced, or that hold more than their
// share. A move to a node that dies meanwhile is called off.
//
// It is pure; the same situation gives the same plan. o must have its defaults.
func Plan(s Situation, o Options) []Change {
	p := planner{Situation: s, Options: o}
	var changes []Change
	changes = append(changes, p.removals()...)
	changes = append(changes, p.stay()...)
	if len(p.View.shards) == 0 && len(p.View.nodes) < o.Expect {
		return changes
	}
	p.target = p.place()
	changes = append(changes, p.first()...)
	return append(changes, p.steps()...)
}

type planner struct {
	Situation
	Options
	target [][]string
}

func (p *planner) active(name string) bool {
	n, ok := p.View.nodes[name]
	return ok && n.State == Active
}

// eligible says whether a node is to hold shards.
func (p *planner) eligible(name string) bool {
	return p.active(name) && !p.Alive.gone(name, p.Now, p.RebuildAfter)
}

func (p *planner) living(name string) bool { return p.active(name) && p.Alive[name].State == Alive }

// removals lets nodes go that were asked to leave and hold nothing any more, by
// the records and by the word of every group.
func (p *planner) removals() []Change {
	var changes []Change
	for _, name := range p.View.names {
		n := *p.View.nodes[name]
		if n.State != Leaving || p.holds(name) {
			continue
		}
		n.State = Removed
		changes = append(changes, Change{Key: nodeKey(name), Rev: n.rev, Node: &n})
	}
	return changes
}

// stay keeps one node where all were asked to leave: each while another was
// still to stay. Nobody could take their shards.
func (p *planner) stay() []Change {
	if len(p.View.closed) > 0 || len(p.View.all(Active)) > 0 {
		return nil
	}
	for _, name := range p.View.all(Leaving) {
		if p.Alive[name].State != Alive {
			continue
		}
		n := *p.View.nodes[name]
		n.State = Active
		return []Change{{Key: nodeKey(name), Rev: n.rev, Node: &n}}
	}
	return nil
}

// holds says whether a node may hold a replica.
func (p *planner) holds(name string) bool {
	if len(p.View.closed) > 0 {
		return true
	}
	for id, s := range p.View.shards {
		g, known := p.Groups[id]
		if !known || slices.Contains(s.Replicas, name) ||
			slices.Contains(g.Members.Voters, name) || slices.Contains(g.Members.Learners, name) {
			return true
		}
	}
	return false
}

// place asks where all shards should be.
func (p *planner) place() [][]string {
	var members []string
	for _, name := range p.View.names {
		if p.eligible(name) {
			members = append(members, name)
		}
	}
	before := make([][]string, p.Shards)
	for id, s := range p.View.shards {
		if int(id) < p.Shards {
			before[id] = s.Replicas
		}
	}
	return p.Place(p.Shards, p.Replicas, members, before)
}

// first places shards that have no record: all of them, unless a leader died
// while it wrote them.
func (p *planner) first() []Change {
	var changes []Change
	for id, target := range p.target {
		key := shardKey(uint16(id))
		if _, placed := p.View.shards[uint16(id)]; placed || p.View.closed[key] || len(target) == 0 {
			continue
		}
		changes = append(changes, Change{Key: key, Shard: &Shard{
			ID: uint16(id), Found: target, Replicas: target, Owner: target[0], Epoch: 1,
		}})
	}
	return changes
}

// steps returns the next step of as many shards as may move.
func (p *planner) steps() []Change {
	var changes []Change
	moving := 0
	var settled []uint16
	for _, id := range slices.Sorted(maps.Keys(p.View.shards)) {
		s := p.View.shards[id]
		g, known := p.Groups[id]
		switch {
		case int(id) >= p.Shards:
		case !known:
			// It will have a leader, and go on, if a majority is alive.
			moving += rank(p.Alive.majority(s.Replicas))
		case !p.moving(s, g):
			settled = append(settled, id)
		default:
			moving++
			if replicas := p.callOff(s, g); replicas != nil {
				changes = append(changes, s.moved(replicas))
			}
		}
	}
	// What is in danger goes first.
	slices.SortStableFunc(settled, func(a, b uint16) int {
		return rank(p.sound(p.View.shards[a])) - rank(p.sound(p.View.shards[b]))
	})
	for _, id := range settled {
		if moving >= p.MaxMoving {
			break
		}
		s := p.View.shards[id]
		if replicas := p.next(s.Replicas, p.target[id]); replicas != nil {
			changes = append(changes, s.moved(replicas))
			moving++
		}
	}
	return changes
}

// moving says whether a group is still on its way to what its record says.
func (p *planner) moving(s *Shard, g GroupStatus) bool {
	return !sameSet(s.Replicas, g.Members.Voters) || len(g.Members.Learners) > 0 ||
		g.Leader != s.Owner && p.Alive[s.Owner].State == Alive
}

// sound says whether a shard's replicas are as many as there should be, and
// none of them is lost or leaves.
func (p *planner) sound(s *Shard) bool {
	return len(s.Replicas) >= p.Replicas && !slices.ContainsFunc(s.Replicas, func(r string) bool { return !p.eligible(r) })
}

// callOff returns the replicas that a shard in motion should rather have: where
// a node that it moves to died or leaves, those that have a vote already and
// can serve. nil: it should go on.
func (p *planner) callOff(s *Shard, g GroupStatus) []string {
	lost := func(r string) bool { return p.Alive[r].State == Dead || !p.active(r) }
	able := func(r string) bool { return slices.Contains(g.Members.Voters, r) && !lost(r) }
	var spare []string
	for _, v := range g.Members.Voters {
		if !slices.Contains(s.Replicas, v) && able(v) {
			spare = append(spare, v)
		}
	}
	slices.Sort(spare)
	var replicas, away []string
	for _, r := range s.Replicas {
		switch {
		case !lost(r):
			replicas = append(replicas, r)
		case len(spare) > 0:
			away, spare = append(away, spare[0]), spare[1:]
		case slices.Contains(g.Members.Voters, r):
			away = append(away, r) // nobody to replace it with
		}
	}
	if replicas = append(replicas, away...); len(replicas) == 0 || sameSet(replicas, s.Replicas) {
		return nil
	}
	return replicas
}

// next returns a list of replicas one step nearer to the target; nil: there is
// nothing to do, or nothing that can be done now.
func (p *planner) next(now, target []string) []string {
	if len(target) == 0 {
		return nil
	}
	var in string
	for _, name := range without(target, now) {
		if p.living(name) {
			in = name
			break
		}
	}
	// What is to go, the worst first: the leaving, the dead, the last preferred.
	surplus := without(now, target)
	slices.Reverse(surplus)
	slices.SortStableFunc(surplus, func(a, b string) int {
		return cmp.Or(rank(p.active(a))-rank(p.active(b)), rank(p.eligible(a))-rank(p.eligible(b)))
	})
	next := now
	switch {
	case in != "" && (len(now) < len(target) || len(surplus) == 0):
		next = append(slices.Clone(now), in)
	case in != "":
		next = append(without(now, surplus[:1]), in)
	case len(surplus) > 0 && len(now) > len(target) && (!p.active(surplus[0]) || len(now) > p.Replicas):
		// A dead node's replica stays where it cannot be replaced: should the
		// node come back, it counts at once.
		next = without(now, surplus[:1])
	}
	// In the target's order, behind the owner.
	ordered := append(without(target, without(target, next)), without(next, target)...)
	owner := p.owner(now[0], ordered)
	if sameSet(next, now) && owner == now[0] {
		return nil
	}
	return append([]string{owner}, without(ordered, []string{owner})...)
}

// owner returns who should own a shard whose replicas are ordered by
// preference: the first one if it is alive; else it stays where it is, as long
// as it can.
func (p *planner) owner(now string, ordered []string) string {
	if p.living(ordered[0]) || now == ordered[0] {
		return ordered[0]
	}
	if slices.Contains(ordered, now) && p.eligible(now) {
		return now
	}
	if i := slices.IndexFunc(ordered, p.living); i >= 0 {
		return ordered[i]
	}
	return ordered[0]
}

// moved is the change that gives a shard other replicas.
func (s Shard) moved(replicas []string) Change {
	s.Replicas, s.Owner = replicas, replicas[0]
	s.Epoch++
	return Change{Key: shardKey(s.ID), Rev: s.rev, Shard: &s}
}

// maxVoters is how many nodes vote in the meta group at most. More would make
// each write slower and no failure likelier to be survived.
const maxVoters = 5

// Council returns who should vote in the meta group, and who should follow it:
// all other nodes. Voters stay as long as they are alive and active; there is an
// odd number of them where there are three nodes or more. A voter that has been
// dead for o.RebuildAfter is replaced when there is a node to replace it with.
func Council(s Situation, now Members, o Options) Want {
	p := planner{Situation: s, Options: o}
	var eligible, gone []string
	for _, name := range p.View.names {
		switch {
		case p.eligible(name):
			eligible = append(eligible, name)
		case p.active(name):
			gone = append(gone, name)
		}
	}
	size := min(len(eligible), maxVoters)
	if size > 2 && size%2 == 0 {
		size--
	}
	voters := without(eligible, without(eligible, now.Voters)) // who votes stays
	slices.SortStableFunc(voters, func(a, b string) int { return rank(p.living(b)) - rank(p.living(a)) })
	voters = voters[:min(len(voters), maxVoters)]
	for _, name := range without(eligible, voters) {
		if len(voters) < size && p.living(name) {
			voters = append(voters, name)
		}
	}
	full := 3
	if len(eligible)+len(gone) >= maxVoters {
		full = maxVoters
	}
	for _, name := range gone {
		if len(voters) < full && slices.Contains(now.Voters, name) {
			voters = append(voters, name) // nobody replaces it
		}
	}
	w := Want{Voters: voters}
	for _, name := range p.View.names {
		if p.View.nodes[name].State != Removed && !slices.Contains(voters, name) {
			w.Learners = append(w.Learners, name)
		}
	}
	return w
}
