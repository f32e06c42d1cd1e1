package placement

import (
	"slices"
	"strings"
	"testing"
)

func TestDecideFoundsJoinsOrWaits(t *testing.T) {
	for _, c := range []struct {
		what     string
		m        Membership
		seen     string // name, with =cluster where it has one, and the marks of livingNow
		unstable bool
		data     bool
		expect   int
		course   course
		nodes    string
	}{
		{what: "a member", m: Membership{Cluster: "x"}, seen: "b=y", expect: 1, course: courseDone},
		{what: "alone, expecting one", seen: "a", expect: 1, course: courseAsk},
		{what: "alone, gossip does not show even itself", expect: 1, course: courseAsk},
		{what: "alone, expecting three", seen: "a", expect: 3, course: courseWait},
		{what: "three, the smallest", seen: "a b c", expect: 3, course: courseAsk, nodes: "b c"},
		{what: "five of three, the smallest", seen: "a b c d e", expect: 3, course: courseAsk, nodes: "b c d e"},
		{what: "three, still coming", seen: "a b c", unstable: true, expect: 3, course: courseWait},
		{what: "three, not the smallest", seen: "0 a b", expect: 3, course: courseWait},
		{what: "one of three is suspect", seen: "a b c?", expect: 3, course: courseWait},
		{what: "one of three is dead", seen: "a b c!", expect: 3, course: courseWait},
		{what: "expecting none", seen: "a b c", expect: 0, course: courseWait},
		{what: "a cluster is there", seen: "a b c=x d=x", expect: 3, course: courseJoin, nodes: "c d"},
		{what: "a cluster is there, expecting none", seen: "a c=x", expect: 0, course: courseJoin, nodes: "c"},
		{what: "a dead one had a cluster", seen: "a b c=x! d", expect: 3, course: courseAsk, nodes: "b d"},
		{what: "a suspect one has a cluster", seen: "a b c=x?", expect: 2, course: courseJoin, nodes: "c"},
		{what: "two clusters", seen: "a b=x c=y", expect: 1, course: courseWait},
		{what: "promised", m: Membership{Promise: &Promise{Cluster: "x", Founder: "b"}}, seen: "a b c", expect: 3, course: courseStill, nodes: "b"},
		{what: "promised, and founded", m: Membership{Promise: &Promise{Cluster: "x", Founder: "b"}}, seen: "a b=x c=x", expect: 3, course: courseJoin, nodes: "b c"},
		{what: "promised, and another cluster is there", m: Membership{Promise: &Promise{Cluster: "x", Founder: "b"}}, seen: "a b c=y", expect: 3, course: courseStill, nodes: "b"},
		{what: "with data, alone", seen: "a", data: true, expect: 3, course: courseAlone},
		{what: "with data, alone so far", seen: "a", unstable: true, data: true, expect: 3, course: courseWait},
		{what: "with data, among new nodes", seen: "a b c", data: true, expect: 3, course: courseAlone},
		{what: "with data, and a cluster is there", seen: "a b=x", data: true, expect: 3, course: courseRefuse},
	} {
		var members []Member
		for _, word := range list(c.seen) {
			name, state := strings.TrimRight(word, "?!"), Alive
			switch word[len(name):] {
			case "?":
				state = Suspect
			case "!":
				state = Dead
			}
			name, cluster, _ := strings.Cut(name, "=")
			members = append(members, Member{Name: name, State: state, Cluster: cluster})
		}
		d := decide(c.m, "a", members, !c.unstable, c.data, c.expect)
		if d.course != c.course || !slices.Equal(d.nodes, list(c.nodes)) {
			t.Errorf("%s: course %d with %v, want %d with %q", c.what, d.course, d.nodes, c.course, c.nodes)
		}
		if d.course == courseWait && d.why == "" {
			t.Errorf("%s: it does not say why it waits", c.what)
		}
	}
}

func TestAPromiseIsGivenOnceAndKept(t *testing.T) {
	x, y := Promise{Cluster: "x", Founder: "b"}, Promise{Cluster: "y", Founder: "c"}
	for _, c := range []struct {
		what   string
		m      Membership
		p      Promise
		data   bool
		others []string
		held   bool
		after  string // the cluster it is promised to
	}{
		{what: "the first", p: x, held: true, after: "x"},
		{what: "the same again", m: Membership{Promise: &x}, p: x, held: true, after: "x"},
		{what: "another one", m: Membership{Promise: &x}, p: y, after: "x"},
		{what: "another one of the same founder", m: Membership{Promise: &x}, p: Promise{Cluster: "x2", Founder: "b"}, after: "x"},
		{what: "while it founds itself", m: Membership{Promise: &Promise{Cluster: "z", Founder: "a"}}, p: x, after: "z"},
		{what: "by a member", m: Membership{Cluster: "z"}, p: x},
		{what: "by a member of that cluster", m: Membership{Cluster: "x"}, p: x},
		{what: "by a node with data", p: x, data: true},
		{what: "by a node that sees a cluster", p: x, others: []string{"w"}},
		{what: "to itself", p: Promise{Cluster: "x", Founder: "a"}},
		{what: "to nobody", p: Promise{Cluster: "x"}},
		{what: "to nothing", p: Promise{Founder: "b"}},
	} {
		m, a := c.m.promise("a", c.p, c.data, c.others)
		if a.Held != c.held || !a.Held && a.Reason == "" {
			t.Errorf("%s: answered %+v", c.what, a)
		}
		after := ""
		if m.Promise != nil {
			after = m.Promise.Cluster
		}
		if after != c.after {
			t.Errorf("%s: promised to %q afterwards, want %q", c.what, after, c.after)
		}
	}
}

func TestAFounderSaysWhetherItStillFounds(t *testing.T) {
	still := Promise{Cluster: "x", Founder: "a", Still: true}
	for what, c := range map[string]struct {
		m    Membership
		held bool
	}{
		"asking for promises": {Membership{Promise: &Promise{Cluster: "x", Founder: "a"}}, true},
		"founded":             {Membership{Cluster: "x", Founded: true}, true},
		"given up":            {Membership{}, false},
		"another attempt":     {Membership{Promise: &Promise{Cluster: "x2", Founder: "a"}}, false},
		"in another cluster":  {Membership{Cluster: "y"}, false},
	} {
		if m, a := c.m.promise("a", still, false, nil); a.Held != c.held || m != c.m {
			t.Errorf("%s: answered %+v", what, a)
		}
	}
}

func TestAPromiseBindsUntilItIsReleased(t *testing.T) {
	bound := Membership{Promise: &Promise{Cluster: "x", Founder: "b"}}
	if m, ok := bound.enter("y"); ok || m != bound {
		t.Errorf("entered another cluster: %+v", m)
	}
	if m, ok := bound.enter("x"); !ok || m.Cluster != "x" || m.Promise != nil {
		t.Errorf("did not enter the promised cluster: %+v", m)
	}
	if m := bound.release("y"); m != bound {
		t.Errorf("released by another founding: %+v", m)
	}
	m, ok := bound.release("x").enter("y")
	if !ok || m.Cluster != "y" {
		t.Errorf("released, and still bound: %+v", m)
	}
	if m, ok := m.enter("x"); ok || m.Cluster != "y" {
		t.Errorf("changed the cluster: %+v", m)
	}
}

func TestMembershipIsSavedWhole(t *testing.T) {
	l := &memLocal{}
	if m, err := loadMembership(l); err != nil || m.Cluster != "" || m.Promise != nil {
		t.Errorf("of a new store: %+v, %v", m, err)
	}
	want := Membership{Format: format, Cluster: "x", Founded: true, OwnData: true, Complete: true, Promise: &Promise{Cluster: "x", Founder: "a"}}
	if err := saveMembership(l, want); err != nil {
		t.Fatal(err)
	}
	got, err := loadMembership(l)
	if err != nil || *got.Promise != *want.Promise {
		t.Fatalf("%+v, %v", got, err)
	}
	if got.Promise = want.Promise; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for what, value := range map[string]string{"a newer one": `{"format":2,"cluster":"x"}`, "garbage": `{`} {
		if err := l.Save(recordMembership, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if m, err := loadMembership(l); err == nil {
			t.Errorf("%s was read as %+v", what, m)
		}
	}
}

func TestAStoreKeepsItsID(t *testing.T) {
	l := &memLocal{}
	id, err := DataID(l)
	if err != nil || len(id) != 32 {
		t.Fatalf("%q, %v", id, err)
	}
	if again, err := DataID(l); again != id || err != nil {
		t.Errorf("later: %q, %v", again, err)
	}
	if other, err := DataID(&memLocal{}); other == id || err != nil {
		t.Errorf("of another store: %q, %v", other, err)
	}
}
