package placement

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/registry/registrytest"
)

func TestAnOlderNodeKeepsWhatItDoesNotKnow(t *testing.T) {
	stored := `{"format":1,"id":7,"found":["a"],"replicas":["a","b"],"owner":"a","epoch":4,"weight":{"of":[1,2]}}`
	s, err := decodeShard("shard/7", []byte(stored), 12)
	if err != nil {
		t.Fatal(err)
	}
	c := s.moved(list("b a"))
	if c.Rev != 12 || c.Shard.Epoch != 5 || c.Shard.Owner != "b" || !slices.Equal(s.Replicas, list("a b")) {
		t.Errorf("moved: %+v, from %+v", *c.Shard, s)
	}
	value, err := c.Shard.encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(value); got != `{"epoch":5,"format":1,"found":["a"],"id":7,"owner":"b","replicas":["b","a"],"weight":{"of":[1,2]}}` {
		t.Errorf("written: %s", got)
	}
	n, err := decodeNode("node/a", []byte(`{"format":1,"name":"a","data_id":"d","state":"active","zone":"z1"}`), 3)
	if err != nil {
		t.Fatal(err)
	}
	n.State = Leaving
	value, err = n.encode()
	if err != nil || !strings.Contains(string(value), `"zone":"z1"`) || !strings.Contains(string(value), `"state":"leaving"`) {
		t.Errorf("written: %s, %v", value, err)
	}
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	n := Node{Name: "n1", DataID: "d", State: Active, JoinedAt: start, RPC: "h:1", HTTP: "h:2", Version: "1.0"}
	value, err := n.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeNode("node/n1", value, 1)
	if got.rest = nil; err != nil || !got.JoinedAt.Equal(n.JoinedAt) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAWrongRecordIsNotUsed(t *testing.T) {
	for key, value := range map[string]string{
		"shard/1":  `{"format":2,"id":1,"found":["a"],"replicas":["a"]}`,
		"shard/2":  `{"id":2,"found":["a"],"replicas":["a"]}`,
		"shard/3":  `{"format":1,"id":2,"found":["a"],"replicas":["a"]}`,
		"shard/4":  `{"format":1,"id":4,"found":["a"],"replicas":[]}`,
		"shard/5":  `{"format":1,"id":5,"found":[],"replicas":["a"]}`,
		"shard/6":  `nonsense`,
		"shard/7":  `null`,
		"node/a":   `{"format":1,"name":"b"}`,
		"node/b/c": `{"format":1,"name":"b/c"}`,
		"node/d":   `{"format":1,"name":"d","joined_at":7}`,
		"node/e":   `{"format":9,"name":"e"}`,
	} {
		v := newView()
		if err := v.set(key, []byte(value), 1); err == nil || len(v.nodes)+len(v.shards) > 0 || !v.closed[key] {
			t.Errorf("%s: %v, %+v", key, err, v)
		}
	}
	if _, err := decodeShard("shard/1", []byte(`{"format":2}`), 1); !errors.Is(err, errNewer) {
		t.Errorf("of a newer version: %v", err)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add("shard/7", []byte(`{"format":1,"id":7,"found":["a"],"replicas":["a"],"owner":"a","epoch":1,"x":{}}`))
	f.Add("node/a", []byte(`{"format":1,"name":"a","state":"active","joined_at":"2026-03-01T12:00:00Z"}`))
	f.Add("shard/07", []byte(`{"FORMAT":1,"format":1}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		v := newView()
		if v.set(key, value, 1) != nil {
			return
		}
		for id, s := range v.shards {
			again, err := s.encode()
			if err != nil {
				t.Fatal(err)
			}
			o, err := decodeShard(shardKey(id), again, 1)
			if err != nil || o.Epoch != s.Epoch || !slices.Equal(o.Replicas, s.Replicas) || len(o.rest) < len(s.rest) {
				t.Errorf("%s -> %s: %v", value, again, err)
			}
		}
		for name, n := range v.nodes {
			again, err := n.encode()
			if err != nil {
				t.Fatal(err)
			}
			if o, err := decodeNode(nodeKey(name), again, 1); err != nil || o.State != n.State {
				t.Errorf("%s -> %s: %v", value, again, err)
			}
		}
	})
}

func TestAViewFollowsTheRecordsAndStaysAsItWas(t *testing.T) {
	kv := &registrytest.KV{}
	write := func(c Change) {
		t.Helper()
		if err := put(t.Context(), kv, c); err != nil {
			t.Fatal(err)
		}
	}
	s := Shard{ID: 3, Found: list("a"), Replicas: list("a"), Owner: "a", Epoch: 1}
	write(Change{Key: shardKey(3), Shard: &s})
	f, err := newFollower(kv, quiet)
	if err != nil {
		t.Fatal(err)
	}
	old := f.view.Load()
	if !slices.Equal(old.Replicas(3), list("a")) || old.Replicas(4) != nil {
		t.Errorf("at first: %v", old.Replicas(3))
	}
	changed := f.changed()
	now, _ := old.Shard(3)
	write(now.moved(list("b a")))
	n := active("b")[0]
	write(Change{Key: nodeKey("b"), Node: &n})
	removed := Node{Name: "c", State: Removed}
	write(Change{Key: nodeKey("c"), Node: &removed})
	if _, err := kv.Put(t.Context(), "integration/x", 0, nil); err != nil {
		t.Fatal(err)
	}
	<-f.signal
	if err := f.catchUp(); err != nil {
		t.Fatal(err)
	}
	<-changed
	v := f.view.Load()
	if !slices.Equal(v.Replicas(3), list("b a")) || len(v.Nodes()) != 1 || v.Nodes()[0].Name != "b" {
		t.Errorf("afterwards: %v, %v", v.Replicas(3), v.Nodes())
	}
	if _, known := v.Record("c"); !known {
		t.Error("a removed node is forgotten")
	}
	if !slices.Equal(old.Replicas(3), list("a")) || len(old.Nodes()) != 0 {
		t.Error("a View has changed under its reader")
	}
	// Anything may have changed: all is read.
	_, rev, err := kv.Get(nodeKey("b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), nodeKey("b"), rev); err != nil {
		t.Fatal(err)
	}
	f.note(nil)
	if err := f.catchUp(); err != nil {
		t.Fatal(err)
	}
	if v := f.view.Load(); len(v.Nodes()) != 0 {
		t.Errorf("after all was read: %v", v.Nodes())
	}
}

func TestAViewThatCannotBeReadIsReadAgain(t *testing.T) {
	broken := false
	kv := &registrytest.KV{BeforeGet: func(string) error {
		if broken {
			return errors.New("disk")
		}
		return nil
	}}
	f, err := newFollower(kv, quiet)
	if err != nil {
		t.Fatal(err)
	}
	n := active("b")[0]
	if err := put(t.Context(), kv, Change{Key: nodeKey("b"), Node: &n}); err != nil {
		t.Fatal(err)
	}
	broken = true
	if err := f.catchUp(); err == nil {
		t.Error("nobody noticed")
	}
	broken = false
	if err := f.catchUp(); err != nil || len(f.view.Load().Nodes()) != 1 {
		t.Errorf("afterwards: %v, %v", f.view.Load().Nodes(), err)
	}
}

func TestLivenessIsOfTheNodeThatIsMeant(t *testing.T) {
	v := newTestView(active("a", "b", "c"), nil)
	seen := func(now time.Time, before alive, members ...Member) alive {
		return look("a", v, members, before, now)
	}
	b := Member{Name: "b", State: Alive, DataID: "b-data"}
	l := seen(start, nil, b)
	if l["a"].State != Alive || l["b"].State != Alive || l["c"].State != Dead || !l["c"].Since.Equal(start) {
		t.Errorf("at first: %v", l)
	}
	// Suspect is not dead: the time does not begin anew.
	b.State = Suspect
	l = seen(start.Add(time.Minute), l, b)
	if l["b"].State != Suspect || !l["b"].Since.Equal(start) {
		t.Errorf("suspect: %v", l["b"])
	}
	// Another store under its name is not that node.
	other := Member{Name: "b", State: Alive, DataID: "other"}
	l = seen(start.Add(2*time.Minute), l, other)
	if l["b"].State != Dead || !l["b"].Since.Equal(start.Add(2*time.Minute)) {
		t.Errorf("an impostor: %v", l["b"])
	}
	if l.gone("b", start.Add(6*time.Minute), 5*time.Minute) || !l.gone("b", start.Add(7*time.Minute), 5*time.Minute) {
		t.Error("it is gone too soon, or never")
	}
	if !l.gone("c", start.Add(5*time.Minute), 5*time.Minute) || l.gone("nobody", start.Add(time.Hour), time.Minute) {
		t.Error("c is gone, and of nobody nothing is known")
	}
	l = seen(start.Add(8*time.Minute), l, Member{Name: "b", State: Alive})
	if l["b"].State != Alive || !l["b"].Since.Equal(start.Add(8*time.Minute)) {
		t.Errorf("back, its data unknown: %v", l["b"])
	}
}

func TestOnlyTheLeadersWordEndsAReplica(t *testing.T) {
	good := GroupStatus{Group: 1, Leader: "b", Term: 5, Applied: 20, Last: 25, Members: Members{Index: 20, Voters: list("b c"), Learners: list("d")}}
	if !lets("a", good, 5) || !lets("a", good, 0) {
		t.Error("the leader has said it")
	}
	for what, spoil := range map[string]func(g *GroupStatus){
		"a voter":                        func(g *GroupStatus) { g.Members.Voters = list("b a") },
		"a learner":                      func(g *GroupStatus) { g.Members.Learners = list("a") },
		"not committed":                  func(g *GroupStatus) { g.Applied = 19 },
		"shutting down":                  func(g *GroupStatus) { g.Applied = 0 },
		"a leader of before":             func(g *GroupStatus) { g.Term = 4 },
		"it does not know of any member": func(g *GroupStatus) { g.Members = Members{} },
	} {
		g := good
		spoil(&g)
		if lets("a", g, 5) {
			t.Errorf("%s: released", what)
		}
	}
	if lets("a", GroupStatus{}, 0) {
		t.Error("released by nobody")
	}
}

func TestAGroupBeginsHereAsTheRecordSays(t *testing.T) {
	for _, c := range []struct {
		what            string
		found, replicas string
		known           bool
		then            string
	}{
		{"a first voter", "a b c", "a b c", false, "voters a b c"},
		{"a first voter, long after", "a b c", "d a e", false, "voters a b c"},
		{"a first voter that missed everything", "a b c", "b c d", false, "voters a b c"},
		{"a first voter that was destroyed", "a b c", "a b c", true, "join"},
		{"a first voter that was destroyed, and is not wanted", "a b c", "b c d", true, ""},
		{"added later", "b c d", "a b c", false, "join"},
		{"added again", "b c d", "a b c", true, "join"},
		{"not wanted", "b c d", "b c d", false, ""},
	} {
		s, ok := Shard{ID: 1, Found: list(c.found), Replicas: list(c.replicas)}.start("a", c.known)
		got := ""
		switch {
		case !ok:
		case s.Join:
			got = "join"
		default:
			got = "voters " + strings.Join(s.Voters, " ")
		}
		if got != c.then {
			t.Errorf("%s: %q, want %q", c.what, got, c.then)
		}
	}
}

func TestOfTwoLeadersTheNewerIsBelieved(t *testing.T) {
	old := []GroupStatus{{Group: 1, Leader: "a", Term: 4}, {Group: 2, Leader: "a", Term: 9}, {Group: 3, Leader: "b", Term: 9}}
	newer := []GroupStatus{{Group: 1, Leader: "b", Term: 5}, {Group: 2, Leader: "a", Term: 9}}
	for _, order := range []bool{false, true} {
		groups := map[uint16]GroupStatus{}
		if order {
			hear(groups, "b", newer)
		}
		hear(groups, "a", old)
		hear(groups, "b", newer)
		if len(groups) != 2 || groups[1].Leader != "b" || groups[2].Leader != "a" {
			t.Errorf("%+v", groups)
		}
	}
}
