package placement

import "slices"

// Want is what a group's membership should become.
type Want struct {
	Voters   []string // none: unknown, so that nothing is done
	Learners []string
	// Owner is the voter that should lead; empty: any.
	Owner string
}

// want returns what the record of a shard asks for.
func (s Shard) want() Want { return Want{Voters: s.Replicas, Owner: s.Owner} }

// Sight is a group as its leader sees it.
type Sight struct {
	Self    string // the leader
	Members Members
	Last    uint64 // index of the last entry of its log
	// Applied is how far other members say they have come. Those that did not
	// say, or are shutting down, are not in it or at 0.
	Applied map[string]uint64
	Alive   alive
}

// Kind is a kind of Action.
type Kind uint8

// Kinds of an Action.
const (
	Nothing Kind = iota
	AddLearner
	Promote
	Transfer
	Remove
)

// String returns the word for the kind.
func (k Kind) String() string {
	return [...]string{"nothing", "add learner", "promote", "transfer", "remove"}[k]
}

// Action is one step of a group towards what is wanted.
type Action struct {
	Kind Kind
	Node string
}

// Step returns the next thing that the leader of a group should do, so that
// the group becomes what is wanted. It adds before it takes away: a member that
// is not wanted goes only when all that are have a vote, and a living one only
// when they are all alive and have caught up. Neither a promotion nor a removal leaves fewer than
// a majority of voters alive. A learner is promoted, and a voter made leader,
// only when it is at most lag entries behind, and the former only when no living
// voter is farther behind, or unaware of the membership of now.
func Step(w Want, s Sight, lag uint64) Action {
	if len(w.Voters) == 0 || !slices.Contains(s.Members.Voters, s.Self) {
		return Action{}
	}
	for _, next := range []func(Want, Sight, uint64) (string, Kind){
		promote, add, handOver, remove,
	} {
		if node, kind := next(w, s, lag); node != "" {
			return Action{kind, node}
		}
	}
	return Action{}
}

// close says whether a member has nearly all of the log.
func (s Sight) close(node string, lag uint64) bool {
	applied := s.Applied[node]
	return applied != 0 && applied+lag >= s.Last
}

func (s Sight) living(node string) bool { return node == s.Self || s.Alive[node].State == Alive }

// present says whether a voter is alive and takes part: it has nearly all of
// the log, and knows the membership of now.
func (s Sight) present(node string, lag uint64) bool {
	return node == s.Self || s.living(node) && s.close(node, lag) && s.Applied[node] >= s.Members.Index
}

// majority says whether, of voters, a majority is alive.
func (s Sight) majority(voters []string) bool {
	n := 0
	for _, v := range voters {
		if s.living(v) {
			n++
		}
	}
	return n > len(voters)/2
}

// promote waits for a living voter that is behind. Raft's voters vote for nobody
// whom they do not know as a voter; one that has not heard of a promotion would
// refuse the new voter, which may be the only one with the newest entries, and
// with another voter dead the group would have no leader until that one is back.
func promote(w Want, s Sight, lag uint64) (string, Kind) {
	for _, v := range s.Members.Voters {
		if s.living(v) && !s.present(v, lag) {
			return "", Nothing
		}
	}
	for _, node := range w.Voters {
		if slices.Contains(s.Members.Learners, node) && s.living(node) && s.close(node, lag) &&
			s.majority(append(slices.Clone(s.Members.Voters), node)) {
			return node, Promote
		}
	}
	return "", Nothing
}

// add brings in one node at a time: the next one waits until the one before
// has caught up, unless that one is dead.
func add(w Want, s Sight, _ uint64) (string, Kind) {
	catching := slices.ContainsFunc(w.Voters, func(node string) bool {
		return slices.Contains(s.Members.Learners, node) && s.living(node)
	})
	wanted := w.Learners
	if !catching {
		wanted = append(slices.Clone(w.Voters), w.Learners...)
	}
	for _, node := range without(without(wanted, s.Members.Voters), s.Members.Learners) {
		if s.living(node) {
			return node, AddLearner
		}
	}
	return "", Nothing
}

// handOver moves leadership to the preferred owner, or, where this node is to
// go and everything else is done, to any voter that stays.
func handOver(w Want, s Sight, lag uint64) (string, Kind) {
	able := func(node string) bool {
		return node != s.Self && slices.Contains(s.Members.Voters, node) && s.living(node) && s.close(node, lag)
	}
	if w.Owner != "" && w.Owner != s.Self && able(w.Owner) {
		return w.Owner, Transfer
	}
	if slices.Contains(w.Voters, s.Self) || len(without(w.Voters, s.Members.Voters)) > 0 {
		return "", Nothing
	}
	for _, node := range w.Voters {
		if able(node) {
			return node, Transfer
		}
	}
	return "", Nothing
}

func remove(w Want, s Sight, lag uint64) (string, Kind) {
	for _, node := range without(without(s.Members.Learners, w.Voters), w.Learners) {
		return node, Remove
	}
	if len(without(w.Voters, s.Members.Voters)) > 0 {
		return "", Nothing
	}
	all := !slices.ContainsFunc(w.Voters, func(v string) bool { return !s.present(v, lag) })
	surplus := without(s.Members.Voters, w.Voters)
	slices.SortStableFunc(surplus, func(a, b string) int { return rank(s.living(a)) - rank(s.living(b)) })
	for _, node := range surplus {
		if node != s.Self && (all || !s.living(node)) && s.majority(without(s.Members.Voters, []string{node})) {
			return node, Remove
		}
	}
	return "", Nothing
}

// rank sorts what is true behind what is not.
func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}
