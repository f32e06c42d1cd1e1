package placement

import (
	"context"
	"maps"
	"slices"
)

// Words for the state of a node in a Status; those of package wire.
const (
	stateJoining = "joining"
	stateLeaving = "leaving"
)

// Status is the cluster as this node sees it.
type Status struct {
	Nodes  []NodeStatus  // by name
	Shards []ShardStatus // by number
}

// NodeStatus is a node in a Status.
type NodeStatus struct {
	Name, RPC, HTTP, Version string
	// State is alive, suspect, dead, joining (alive, and holds nothing yet) or
	// leaving.
	State string
	Owned int // shards that it leads
}

// ShardStatus is a shard in a Status.
type ShardStatus struct {
	ID       uint16
	Owner    string // the node that leads it; empty: none that was heard of
	Term     uint64
	Replicas []string // raft's voters, or what the record says where nobody leads
}

// Status asks all living nodes what they lead, within a second.
func (p *Placement) Status(ctx context.Context) Status {
	v, live := p.View(), p.liveness()
	groups := p.gather(ctx, Situation{View: v, Alive: live})
	var st Status
	owned, holds := map[string]int{}, map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(v.shards)) {
		s := ShardStatus{ID: id, Replicas: v.shards[id].Replicas}
		if g, known := groups[id]; known {
			s.Owner, s.Term, s.Replicas = g.Leader, g.Term, g.Members.Voters
			owned[s.Owner]++
		}
		for _, r := range s.Replicas {
			holds[r] = true
		}
		st.Shards = append(st.Shards, s)
	}
	seen := map[string]Member{}
	names := map[string]bool{}
	for _, m := range p.cfg.Gossip.Members() {
		seen[m.Name] = m
		_, known := v.Record(m.Name)
		names[m.Name] = names[m.Name] || m.State != Dead && !known // who is not let in yet
	}
	for _, n := range v.Nodes() {
		names[n.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name] {
			st.Nodes = append(st.Nodes, p.nodeStatus(v, name, live, seen[name], owned[name], holds[name]))
		}
	}
	return st
}

// Moving returns how many of the shards that this node leads are not yet as
// their records say. It asks nobody.
func (p *Placement) Moving() int {
	n := 0
	for _, l := range p.led() {
		n += rank(!l.settled())
	}
	return n
}

func (p *Placement) nodeStatus(v *View, name string, live alive, m Member, owned int, holds bool) NodeStatus {
	n, known := v.Record(name)
	st := NodeStatus{Name: name, RPC: n.RPC, HTTP: n.HTTP, Version: n.Version, State: live[name].State.String(), Owned: owned}
	switch {
	case !known:
		st.RPC, st.HTTP, st.State = m.RPC, m.HTTP, stateJoining
	case live[name].State != Alive:
	case n.State == Leaving:
		st.State = stateLeaving
	case !holds && len(v.shards) > 0:
		st.State = stateJoining
	}
	return st
}
