package consensus

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func TestLeaseReachesAsFarAsAMajorityHasHeardOfTheLeader(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	type answer struct {
		node string
		term uint64
		sent int
	}
	for what, c := range map[string]struct {
		voters  []string
		answers []answer
		until   int // of span 300, in ms; -1: no lease
	}{
		"nobody has answered":            {[]string{"n1", "n2", "n3"}, nil, -1},
		"one of three":                   {[]string{"n1", "n2", "n3"}, []answer{{"n2", 5, 100}}, 400},
		"the newer of two":               {[]string{"n1", "n2", "n3"}, []answer{{"n2", 5, 100}, {"n3", 5, 180}}, 480},
		"the second newest of four":      {[]string{"n1", "n2", "n3", "n4", "n5"}, []answer{{"n2", 5, 100}, {"n3", 5, 180}, {"n5", 5, 40}}, 400},
		"too few of four":                {[]string{"n1", "n2", "n3", "n4", "n5"}, []answer{{"n2", 5, 100}}, -1},
		"a learner does not count":       {[]string{"n1", "n2"}, []answer{{"n3", 5, 100}}, -1},
		"both of two":                    {[]string{"n1", "n2"}, []answer{{"n2", 5, 100}}, 400},
		"an older term does not count":   {[]string{"n1", "n2", "n3"}, []answer{{"n2", 4, 100}}, -1},
		"nor does what came before it":   {[]string{"n1", "n2", "n3"}, []answer{{"n2", 5, 100}, {"n3", 4, 200}}, 400},
		"a newer one ends it":            {[]string{"n1", "n2", "n3"}, []answer{{"n2", 6, 100}}, -1},
		"a leader without a vote":        {[]string{"n2", "n3", "n4"}, []answer{{"n2", 5, 100}, {"n3", 5, 150}}, 400},
		"answers out of order":           {[]string{"n1", "n2", "n3"}, []answer{{"n2", 5, 200}, {"n2", 5, 100}}, 500},
		"a voter of whom nothing is due": {[]string{"n1"}, nil, -1},
	} {
		l := newLease("n1", fast)
		voters := func() []string { return c.voters }
		l.begin(5, voters)
		for _, a := range c.answers {
			l.answered(a.node, a.term, at(a.sent), voters)
		}
		if c.until < 0 {
			if l.holds(5, at(-1000)) {
				t.Errorf("%s: there is a lease", what)
			}
			continue
		}
		if !l.holds(5, at(c.until-1)) || l.holds(5, at(c.until)) || l.holds(4, at(0)) || l.holds(6, at(0)) {
			t.Errorf("%s: it does not reach up to %d ms of term 5", what, c.until)
		}
		l.suspend()
		l.answered("n2", 5, at(900), voters)
		l.answered("n3", 5, at(900), voters)
		if l.holds(5, at(901)) {
			t.Errorf("%s: it goes on while the leadership is given away", what)
		}
		l.resume()
		if l.holds(5, at(901)) {
			t.Errorf("%s: it is back without an answer", what)
		}
		l.end()
		l.answered("n2", 5, at(1000), voters)
		if l.holds(5, at(1001)) {
			t.Errorf("%s: it goes on without the leadership", what)
		}
	}
}

// While one node's lease holds no other leads, whatever is cut and moved; and a
// leader that nothing happens to has one.
func TestNobodyElseLeadsWhileALeaseHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, _, _ := trio(t, 4)
		defer c.stopAll()
		rng := rand.New(rand.NewPCG(1, 2))
		held, looks := 0, 0
		watch := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
				var holder *Group
				for _, name := range c.voters {
					g := c.group(name, 0)
					term, _ := g.IsLeader()
					if !g.Holds(term, time.Now()) {
						continue
					}
					if holder != nil {
						t.Fatalf("%s and %s hold leases", holder.node, g.node)
					}
					holder = g
				}
				looks++
				if holder == nil {
					continue
				}
				held++
				mine, _ := holder.IsLeader()
				for _, name := range c.voters {
					if term, leads := c.group(name, 0).IsLeader(); leads && term > mine {
						t.Fatalf("%s leads in term %d while the lease of %s for term %d holds", name, term, holder.node, mine)
					}
				}
			}
		}
		watch(2 * time.Second)
		if held < looks*9/10 {
			t.Errorf("at %d of %d quiet moments there was a lease", held, looks)
		}
		for range 20 {
			leader := c.leader(0, "")
			other := c.voters[rng.IntN(3)]
			if rng.IntN(2) == 0 {
				c.cut(leader.node, true)
				watch(time.Second)
				c.cut(leader.node, false)
			} else {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				moved := make(chan struct{})
				go func() { _ = leader.Transfer(ctx, other); close(moved) }()
				watch(50 * time.Millisecond)
				<-moved
				cancel()
			}
			watch(time.Duration(rng.IntN(500)) * time.Millisecond)
		}
		l.check()
	})
}

func TestProveTellsOfALeadershipThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, leader, others := trio(t, 1)
		defer c.stopAll()
		term, _ := leader.IsLeader()
		if err := leader.Prove(t.Context(), term); err != nil {
			t.Error(err)
		}
		if err := leader.Transfer(t.Context(), others[0]); err != nil {
			t.Fatal(err)
		}
		if err := leader.Prove(t.Context(), term); err == nil {
			t.Error("a node that moved its leadership away proved that it leads")
		}
		back := c.leader(0, "")
		if err := back.Transfer(t.Context(), leader.node); err != nil {
			t.Fatal(err)
		}
		c.leader(0, back.node)
		if err := leader.Prove(t.Context(), term); err == nil {
			t.Error("it proved a term that is over")
		}
		l.check()
	})
}
