package placement

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// evenly is a function to place shards that keeps what it can, and is exact
// about shares: no node has two replicas, or two ownerships, more than another.
func evenly(shards, replicas int, members []string, before [][]string) [][]string {
	size := min(replicas, len(members))
	lists := make([][]string, shards)
	held := map[string]int{}
	for i := range lists {
		if i < len(before) {
			lists[i] = without(before[i], without(before[i], members))
		}
		lists[i] = lists[i][:min(len(lists[i]), size)]
		for _, name := range lists[i] {
			held[name]++
		}
	}
	least := func(but []string, load map[string]int) string {
		return slices.MinFunc(without(members, but), func(a, b string) int {
			return cmp.Or(load[a]-load[b], cmp.Compare(a, b))
		})
	}
	for i := range lists {
		for len(lists[i]) < size {
			name := least(lists[i], held)
			lists[i] = append(lists[i], name)
			held[name]++
		}
	}
	for level := true; level && size > 0; {
		level = false
		low := least(nil, held)
		for i := range lists {
			if slices.Contains(lists[i], low) {
				continue
			}
			for j := len(lists[i]) - 1; j >= 0; j-- {
				if high := lists[i][j]; held[high] > held[low]+1 {
					lists[i][j], level = low, true
					held[high], held[low] = held[high]-1, held[low]+1
					break
				}
			}
			if level {
				break
			}
		}
	}
	own(lists, members)
	return lists
}

// own levels the ownership: along chains of shards each of which can be given
// to the next node, from the one that owns most to the one that owns least.
func own(lists [][]string, members []string) {
	for {
		owned := map[string]int{}
		for _, l := range lists {
			if len(l) > 0 {
				owned[l[0]]++
			}
		}
		improved := false
		for _, from := range members {
			way := map[string]int{from: -1} // node -> shard that came to it
			queue := []string{from}
			for len(queue) > 0 && !improved {
				at := queue[0]
				queue = queue[1:]
				if owned[from] > owned[at]+1 {
					for at != from {
						i := way[at]
						j := slices.Index(lists[i], at)
						previous := lists[i][0]
						lists[i][0], lists[i][j] = at, previous
						at = previous
					}
					improved = true
					break
				}
				for i, l := range lists {
					if len(l) == 0 || l[0] != at {
						continue
					}
					for _, to := range l[1:] {
						if _, seen := way[to]; !seen {
							way[to] = i
							queue = append(queue, to)
						}
					}
				}
			}
			if improved {
				break
			}
		}
		if !improved {
			return
		}
	}
}

func TestEvenlyIsEven(t *testing.T) {
	var before [][]string
	for _, members := range [][]string{{"a"}, {"a", "b", "c"}, {"a", "b", "c", "d", "e"}, {"b", "c", "e"}, {}} {
		before = evenly(32, 3, members, before)
		checkShares(t, before, members)
	}
}

// checkShares fails where two nodes differ by more than one.
func checkShares(t *testing.T, lists [][]string, members []string) {
	t.Helper()
	held, owned := map[string]int{}, map[string]int{}
	for _, m := range members {
		held[m], owned[m] = 0, 0
	}
	for _, l := range lists {
		for i, name := range l {
			held[name]++
			owned[name] += rank(i == 0)
		}
	}
	for what, count := range map[string]map[string]int{"replicas": held, "ownership": owned} {
		if len(count) > len(members) {
			t.Errorf("%s of others than members: %v", what, count)
		}
		if len(count) == 0 {
			continue
		}
		counts := slices.Sorted(maps.Values(count))
		if counts[len(counts)-1] > counts[0]+1 {
			t.Errorf("%s are not even: %v", what, count)
		}
	}
}

// newTestView makes a View of records.
func newTestView(nodes []Node, shards []Shard) *View {
	v := newView()
	for _, n := range nodes {
		v.nodes[n.Name] = &n
	}
	for _, s := range shards {
		if s.Owner == "" && len(s.Replicas) > 0 {
			s.Owner = s.Replicas[0]
		}
		v.shards[s.ID] = &s
	}
	v.sort()
	return v
}

// with returns the View with a change written.
func (v *View) with(c Change) *View {
	next := v.clone()
	if c.Node != nil {
		n := *c.Node
		n.rev++
		next.nodes[n.Name] = &n
	} else {
		s := *c.Shard
		s.rev++
		next.shards[s.ID] = &s
	}
	next.sort()
	return next
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func active(names ...string) (nodes []Node) {
	for _, n := range names {
		nodes = append(nodes, Node{Name: n, DataID: n + "-data", State: Active})
	}
	return nodes
}

// livingNow makes a liveness: "a" is alive, "a?" suspect, "a!" dead for a
// moment, "a!!" for an hour.
func livingNow(names ...string) alive {
	a := alive{}
	for _, n := range names {
		l := Liveness{State: Alive, Since: start.Add(-time.Hour)}
		name := n
		for len(name) > 0 && (name[len(name)-1] == '!' || name[len(name)-1] == '?') {
			name = name[:len(name)-1]
		}
		switch n[len(name):] {
		case "?":
			l.State = Suspect
		case "!":
			l = Liveness{State: Dead, Since: start.Add(-time.Second)}
		case "!!":
			l = Liveness{State: Dead, Since: start.Add(-time.Hour)}
		}
		a[name] = l
	}
	return a
}
