package placement

import "testing"

func TestWhoFailedToTakeOverIsTriedLast(t *testing.T) {
	up := alive{}
	applied := map[string]uint64{}
	for _, name := range []string{"n1", "n2", "n3", "n4"} {
		m := up[name]
		m.State = Alive
		up[name], applied[name] = m, 100
	}
	l := led{
		want:  Want{Voters: []string{"n2", "n1", "n3"}},
		sight: Sight{Self: "n1", Members: Members{Voters: []string{"n1", "n2", "n3"}}, Last: 100, Applied: applied, Alive: up},
	}
	for _, c := range []struct {
		failed []string
		want   string
	}{
		{nil, "n2"},
		{[]string{"n2"}, "n3"},
		{[]string{"n2", "n3"}, "n2"},
		{[]string{"n3", "n2"}, "n3"},
		{[]string{"n4"}, "n2"}, // no voter, nor ever asked
	} {
		if got := successor(l, 10, c.failed); got != c.want {
			t.Errorf("after %v have failed: %q, want %q", c.failed, got, c.want)
		}
	}
	applied["n3"] = 50
	if got := successor(l, 10, []string{"n2"}); got != "n2" {
		t.Errorf("of a node that lags and one that failed: %q", got)
	}
}
