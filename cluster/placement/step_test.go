package placement

import (
	"slices"
	"strings"
	"testing"
)

func list(s string) []string { return strings.Fields(s) }

func TestStepAddsBeforeItTakesAway(t *testing.T) {
	for _, c := range []struct {
		what             string
		voters, learners string
		want, owner      string
		wantLearners     string
		alive            string
		behind           string // members that have not caught up
		silent           string // members that did not say how far they are
		self             string // default a
		then             Action
	}{
		{what: "all as it should be", voters: "a b c", want: "a b c", owner: "a", alive: "a b c", then: Action{}},
		{what: "unknown record", voters: "a b c", alive: "a b c", then: Action{}},
		{what: "self has no vote", voters: "b c", want: "a b c", alive: "a b c", then: Action{}},
		{what: "a replica is missing", voters: "a b c", want: "a b d", owner: "a", alive: "a b c d", then: Action{AddLearner, "d"}},
		{what: "the missing one is dead", voters: "a b c", want: "a b d", owner: "a", alive: "a b c d!", then: Action{}},
		{what: "the missing one is suspect", voters: "a b c", want: "a b d", owner: "a", alive: "a b c d?", then: Action{}},
		{what: "one learner at a time", voters: "a", learners: "b", want: "a b c", owner: "a", alive: "a b c", behind: "b", then: Action{}},
		{what: "a dead learner holds up nobody", voters: "a", learners: "b", want: "a b c", owner: "a", alive: "a b! c", then: Action{AddLearner, "c"}},
		{what: "a learner has caught up", voters: "a b c", learners: "d", want: "a b d", owner: "a", alive: "a b c d", then: Action{Promote, "d"}},
		{what: "a learner has caught up, and a voter is dead", voters: "a b c", learners: "d", want: "a b d", owner: "a", alive: "a b c! d", then: Action{Promote, "d"}},
		{what: "a learner has caught up, and a voter has not", voters: "a b c", learners: "d", want: "a b d", owner: "a", alive: "a b c d", behind: "c", then: Action{}},
		{what: "a learner has caught up, and a voter does not say", voters: "a b c", learners: "d", want: "a b d", owner: "a", alive: "a b c d", silent: "c", then: Action{}},
		{what: "a learner lags", voters: "a b c", learners: "d", want: "a b d", owner: "a", alive: "a b c d", behind: "d", then: Action{}},
		{what: "a learner did not say", voters: "a b c", learners: "d", want: "a b d", owner: "a", alive: "a b c d", silent: "d", then: Action{}},
		{what: "a learner is suspect", voters: "a b c", learners: "d", want: "a b d", owner: "a", alive: "a b c d?", then: Action{}},
		{what: "a promotion would leave no majority", voters: "a b c", learners: "d e", want: "a d e", owner: "a", alive: "a b! c! d e", then: Action{}},
		{what: "a new owner has a vote", voters: "a b c d", want: "d a b", owner: "d", alive: "a b c d", then: Action{Transfer, "d"}},
		{what: "the owner lags", voters: "a b c", want: "b a c", owner: "b", alive: "a b c", behind: "b", then: Action{}},
		{what: "the owner shuts down", voters: "a b c", want: "b a c", owner: "b", alive: "a b c", silent: "b", then: Action{}},
		{what: "the owner is suspect", voters: "a b c", want: "b a c", owner: "b", alive: "a b? c", then: Action{}},
		{what: "the owner is dead", voters: "a b c", want: "b a c", owner: "b", alive: "a b! c", then: Action{}},
		{what: "the owner has no vote yet", voters: "a c", learners: "b", want: "b a c", owner: "b", alive: "a b c", behind: "b", then: Action{}},
		{what: "a surplus voter", voters: "a b c d", want: "a b d", owner: "a", alive: "a b c d", then: Action{Remove, "c"}},
		{what: "a surplus voter stays while a wanted one is dead", voters: "a b c d", want: "a b d", owner: "a", alive: "a b c d!", then: Action{}},
		{what: "a surplus voter stays while a wanted one has no vote", voters: "a b c", learners: "d", want: "a b d", owner: "a", alive: "a b c d", behind: "d", then: Action{}},
		{what: "a surplus voter stays while a wanted one lags", voters: "a b c d", want: "a b d", owner: "a", alive: "a b c d", behind: "b", then: Action{}},
		{what: "a surplus voter stays while a wanted one says nothing", voters: "a b c d", want: "a b d", owner: "a", alive: "a b c d", silent: "b", then: Action{}},
		{what: "a dead surplus voter", voters: "a b c d", want: "a b d", owner: "a", alive: "a b c! d", then: Action{Remove, "c"}},
		{what: "a dead surplus voter goes even if a wanted one is dead", voters: "a b c d e", want: "a b d", owner: "a", alive: "a b c! d! e", then: Action{Remove, "c"}},
		{what: "the dead before the living", voters: "a b c d e", want: "a b c", owner: "a", alive: "a b c d e!", then: Action{Remove, "e"}},
		{what: "a removal would leave no majority", voters: "a b c d", want: "a c d", owner: "a", alive: "a b c! d!", then: Action{}},
		{what: "a surplus learner", voters: "a b c", learners: "e", want: "a b c", owner: "a", alive: "a b c e", then: Action{Remove, "e"}},
		{what: "a dead surplus learner", voters: "a b c", learners: "e", want: "a b c", owner: "a", alive: "a b c e!", then: Action{Remove, "e"}},
		{what: "self is to go, the owner is ready", voters: "a b c d", want: "b c d", owner: "b", alive: "a b c d", then: Action{Transfer, "b"}},
		{what: "self is to go, the owner is dead", voters: "a b c d", want: "b c d", owner: "b", alive: "a b! c d", then: Action{Transfer, "c"}},
		{what: "self is to go, nobody is ready", voters: "a b", want: "b", owner: "b", alive: "a b", behind: "b", then: Action{}},
		{what: "self is to go, but not yet", voters: "a b c", want: "b c d", owner: "b", alive: "a b! c d", then: Action{AddLearner, "d"}},
		{what: "the only voter moves", voters: "a", want: "b", owner: "b", alive: "a b", then: Action{AddLearner, "b"}},
		{what: "two of two, one surplus", voters: "a b", want: "a", owner: "a", alive: "a b", then: Action{Remove, "b"}},
		{what: "a learner that is to stay one", voters: "a b c", learners: "d", want: "a b c", wantLearners: "d", alive: "a b c d", then: Action{}},
		{what: "a learner is missing", voters: "a b c", want: "a b c", wantLearners: "d e", alive: "a b c d! e", then: Action{AddLearner, "e"}},
		{what: "a voter becomes a learner", voters: "a b c d", want: "a b c", wantLearners: "d", alive: "a b c d", then: Action{Remove, "d"}},
		{what: "learners do not wait for voters", voters: "a", learners: "b", want: "a b", wantLearners: "c", alive: "a b c", behind: "b", then: Action{AddLearner, "c"}},
	} {
		s := Sight{
			Self: "a", Last: 1000, Applied: map[string]uint64{}, Alive: livingNow(list(c.alive)...),
			Members: Members{Index: 7, Voters: list(c.voters), Learners: list(c.learners)},
		}
		for _, m := range slices.Concat(s.Members.Voters, s.Members.Learners) {
			s.Applied[m] = 990
		}
		for _, m := range list(c.behind) {
			s.Applied[m] = 700
		}
		for _, m := range list(c.silent) {
			s.Applied[m] = 0
		}
		got := Step(Want{Voters: list(c.want), Learners: list(c.wantLearners), Owner: c.owner}, s, 256)
		if got != c.then {
			t.Errorf("%s: %v %s, want %v %s", c.what, got.Kind, got.Node, c.then.Kind, c.then.Node)
		}
	}
}

func TestStepIsTheSameWhateverTheShortLogSays(t *testing.T) {
	// A group with fewer entries than the lag: who said nothing is not close.
	s := Sight{
		Self: "a", Last: 3, Alive: livingNow("a", "b"), Applied: map[string]uint64{},
		Members: Members{Index: 3, Voters: list("a"), Learners: list("b")},
	}
	if got := Step(Want{Voters: list("a b")}, s, 256); got.Kind != Nothing {
		t.Errorf("a learner that said nothing: %v", got)
	}
	s.Applied["b"] = 1
	if got := Step(Want{Voters: list("a b")}, s, 256); got.Kind != Promote {
		t.Errorf("a learner that is two entries behind: %v", got)
	}
}

// FuzzStep checks, for any membership, what must hold of a single step.
func FuzzStep(f *testing.F) {
	f.Add(uint16(7), uint16(8), uint16(13), uint16(0), uint16(15), uint16(15), uint8(1))
	f.Add(uint16(1), uint16(0), uint16(2), uint16(4), uint16(3), uint16(3), uint8(0))
	f.Fuzz(func(t *testing.T, voters, learners, want, wantLearners, living, ready uint16, owner uint8) {
		names := list("a b c d e f g h")
		pick := func(bits uint16) (some []string) {
			for i, n := range names {
				if bits&(1<<i) != 0 {
					some = append(some, n)
				}
			}
			return some
		}
		living |= 1
		s := Sight{
			Self: "a", Last: 1000, Applied: map[string]uint64{}, Alive: livingNow(pick(living)...),
			Members: Members{Index: 1, Voters: pick(voters | 1), Learners: pick(learners &^ (voters | 1))},
		}
		for _, n := range pick(ready) {
			s.Applied[n] = 1000
		}
		w := Want{Voters: pick(want), Learners: pick(wantLearners &^ want), Owner: names[owner%8]}
		got := Step(w, s, 256)
		now := s.Members
		switch got.Kind {
		case Nothing:
			if got.Node != "" {
				t.Errorf("%v", got)
			}
		case AddLearner:
			if slices.Contains(now.Voters, got.Node) || slices.Contains(now.Learners, got.Node) {
				t.Errorf("%s is a member already", got.Node)
			}
		case Promote:
			if !slices.Contains(now.Learners, got.Node) || !slices.Contains(w.Voters, got.Node) || s.Applied[got.Node] == 0 {
				t.Errorf("promotes %s", got.Node)
			}
			for _, v := range now.Voters {
				if v != s.Self && s.living(v) && s.Applied[v] == 0 {
					t.Errorf("promotes %s although %s is not there", got.Node, v)
				}
			}
			now.Voters = append(slices.Clone(now.Voters), got.Node)
		case Transfer:
			if !slices.Contains(now.Voters, got.Node) || got.Node == s.Self || s.Applied[got.Node] == 0 || !s.living(got.Node) {
				t.Errorf("hands over to %s", got.Node)
			}
		case Remove:
			if got.Node == s.Self || slices.Contains(w.Voters, got.Node) {
				t.Errorf("removes %s", got.Node)
			}
			if slices.Contains(now.Voters, got.Node) && len(without(w.Voters, now.Voters)) > 0 {
				t.Errorf("removes %s before all that are wanted have a vote", got.Node)
			}
			now.Voters = without(now.Voters, []string{got.Node})
		}
		if got.Kind == Promote || got.Kind == Remove && slices.Contains(s.Members.Voters, got.Node) {
			if !s.majority(now.Voters) {
				t.Errorf("%v %s leaves no majority of %v", got.Kind, got.Node, now.Voters)
			}
		}
	})
}
