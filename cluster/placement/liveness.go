package placement

import (
	"slices"
	"time"
)

// Liveness says whether a node is alive, and since when it is, or is not.
type Liveness struct {
	State State
	// Since is when the node was first found alive (or suspect), or dead, by
	// this node's own clock.
	Since time.Time
}

// alive is the liveness of all nodes by name. Nodes that are not in it were
// never seen: they are dead, and nobody knows since when.
type alive map[string]Liveness

// gone says whether a node has been dead for at least d.
func (a alive) gone(name string, now time.Time, d time.Duration) bool {
	l, ok := a[name]
	return ok && l.State == Dead && now.Sub(l.Since) >= d
}

// look returns the liveness as gossip tells it now, given what it was before.
// Every node watches all others, so that the time for which a node has been
// dead does not begin anew when another node comes to lead. A member that says
// it has another store than the one that is registered under its name is not
// the node that is meant.
func look(self string, v *View, members []Member, before alive, now time.Time) alive {
	states := map[string]State{}
	for name := range v.nodes {
		states[name] = Dead
	}
	for _, m := range members {
		n, registered := v.nodes[m.Name]
		if registered && m.DataID != "" && m.DataID != n.DataID {
			continue
		}
		states[m.Name] = m.State
	}
	states[self] = Alive
	next := make(alive, len(states))
	for name, state := range states {
		l, known := before[name]
		if !known || (l.State == Dead) != (state == Dead) {
			l.Since = now
		}
		l.State = state
		next[name] = l
	}
	return next
}

// majority says whether the nodes of a list that are alive are a majority of it.
func (a alive) majority(names []string) bool {
	n := 0
	for _, name := range names {
		if a[name].State != Dead {
			n++
		}
	}
	return n > len(names)/2
}

// without returns the names of list that are not in others.
func without(list, others []string) []string {
	var rest []string
	for _, name := range list {
		if !slices.Contains(others, name) {
			rest = append(rest, name)
		}
	}
	return rest
}

// sameSet says whether two lists without doubles hold the same names.
func sameSet(a, b []string) bool { return len(a) == len(b) && len(without(a, b)) == 0 }
