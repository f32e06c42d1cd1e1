package placement

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// openParallel bounds how many groups are opened at once: each waits for a few
// syncs, which the store merges where they come together.
const openParallel = 16

// start says how a shard's group begins here, if the record asks this node to
// run it. A first voter that has never run the group begins it, however late: to
// the others it was merely away. known: it has; then it goes on, or, if it has
// destroyed its replica, joins like any other node.
func (s Shard) start(self string, known bool) (Start, bool) {
	switch {
	case slices.Contains(s.Found, self) && !known:
		return Start{Voters: s.Found}, true
	case slices.Contains(s.Replicas, self):
		return Start{Join: true}, true
	}
	return Start{}, false
}

// localRound opens groups that should run here and ends those that should not.
func (p *Placement) localRound(ctx context.Context) (time.Duration, error) {
	resident, err := p.cfg.Groups.Resident()
	if err != nil {
		return 0, err
	}
	v := p.View()
	next := slowTick
	starts := map[uint16]Start{}
	for id, s := range v.shards {
		known, err := p.cfg.Groups.Known(id)
		if err != nil {
			return 0, err
		}
		if start, ok := s.start(p.cfg.Self.Name, known); ok {
			starts[id] = start
		}
	}
	for _, id := range resident {
		if _, ok := starts[id]; !ok && id != MetaGroup {
			starts[id] = Start{Join: true} // it goes on where it stood
		}
	}
	err = p.openAll(starts)
	for _, id := range slices.Sorted(maps.Keys(starts)) {
		s, known := v.Shard(id)
		if !known || slices.Contains(s.Replicas, p.cfg.Self.Name) || ctx.Err() != nil {
			continue
		}
		// What the record does not list stays until the group says the same.
		next = tick
		err = errors.Join(err, p.retire(ctx, s))
	}
	if late := p.announce(ctx, v); late != nil {
		p.log.Debug("this node's record could not be brought up to date yet", "err", late)
		next = tick
	}
	return next, err
}

func (p *Placement) openAll(starts map[uint16]Start) error {
	var all errgroup.Group
	all.SetLimit(openParallel)
	for id, start := range starts {
		if _, running := p.cfg.Groups.Group(id); running {
			continue
		}
		all.Go(func() error {
			if err := p.cfg.Groups.OpenGroup(id, start); err != nil {
				return fmt.Errorf("open shard %d: %w", id, err)
			}
			poke(p.owner.wake)
			return nil
		})
	}
	err := all.Wait()
	if err != nil {
		p.log.Error("a shard could not be opened", "err", err)
	}
	return err
}

// retire ends and destroys the replica of a shard that this node is not to
// hold, if the shard's leader says that it is no member. The last word is asked
// for when the replica is closed: from then on it cannot be made a member that
// votes. Where anything is in doubt the next round opens the replica again. That
// the record may be an old one does no harm: the group is asked, not the record.
func (p *Placement) retire(ctx context.Context, s Shard) error {
	g, running := p.cfg.Groups.Group(s.ID)
	if !running {
		return nil
	}
	if _, leads := g.IsLeader(); leads {
		return nil
	}
	leader, term := g.Leader()
	nodes := without(slices.Concat([]string{leader}, s.Replicas, s.Found), []string{p.cfg.Self.Name, ""})
	if _, ok := p.released(ctx, nodes, s.ID, term); !ok {
		return nil
	}
	closing, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if err := p.cfg.Groups.CloseGroup(closing, s.ID, false); err != nil {
		return err
	}
	_, term = g.Leader()
	said, ok := p.released(ctx, nodes, s.ID, term)
	if !ok {
		return nil
	}
	p.log.Info("a replica that moved away is destroyed", "shard", s.ID, "leader", said.Leader, "term", said.Term)
	return p.cfg.Groups.CloseGroup(closing, s.ID, true)
}

// released asks a group's leader, among nodes, whether this node is no member
// any more, and its voters whether they all have come to know that. term is the
// newest that this node's replica has seen.
func (p *Placement) released(ctx context.Context, nodes []string, id uint16, term uint64) (said GroupStatus, ok bool) {
	said, ok = p.ask(ctx, nodes, id)
	if !ok || !lets(p.cfg.Self.Name, said, term) {
		return said, false
	}
	for _, voter := range without(said.Members.Voters, []string{said.Leader}) {
		if !slices.ContainsFunc(p.status(ctx, voter, []uint16{id}), func(g GroupStatus) bool {
			return g.Group == id && g.Applied >= said.Members.Index
		}) {
			return said, false
		}
	}
	return said, true
}

// lets says whether what a leader says of its group proves that a node is no
// member of it: the membership is committed, and no newer leader is known to the
// node, which might have made it one again.
func lets(self string, g GroupStatus, term uint64) bool {
	return g.Members.Index != 0 && g.Applied >= g.Members.Index && g.Term >= term && g.Term != 0 &&
		!slices.Contains(g.Members.Voters, self) && !slices.Contains(g.Members.Learners, self)
}

// ask asks nodes, one after the other, for the group's leader's word of it.
func (p *Placement) ask(ctx context.Context, nodes []string, id uint16) (GroupStatus, bool) {
	live := p.liveness()
	var asked []string
	for _, node := range nodes {
		if live[node].State == Dead || slices.Contains(asked, node) {
			continue
		}
		asked = append(asked, node)
		for _, g := range p.status(ctx, node, []uint16{id}) {
			if g.Group == id && g.Leader == node {
				return g, true
			}
		}
	}
	return GroupStatus{}, false
}

// status asks a node; none where it does not answer in time.
func (p *Placement) status(ctx context.Context, node string, ids []uint16) []GroupStatus {
	if node == p.cfg.Self.Name {
		return p.Report(ctx, ids)
	}
	asking, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	groups, err := p.cfg.Peers.Status(asking, node, ids)
	if err != nil {
		p.log.Debug("a node did not tell its status", "node", node, "err", err)
		return nil
	}
	return groups
}

// Report is this node's answer to Status: its replicas of groups; nil: of all.
// Of a group that it was asked for by name and leads, it first proves that it
// still does, and leaves it out where it cannot.
func (p *Placement) Report(ctx context.Context, ids []uint16) []GroupStatus {
	named := ids != nil
	if !named {
		ids = []uint16{MetaGroup}
		for id := range p.cfg.Shards {
			ids = append(ids, uint16(id))
		}
	}
	var groups []GroupStatus
	for _, id := range ids {
		if g, running := p.cfg.Groups.Group(id); running {
			if s, err := p.report(ctx, g, named); err == nil {
				s.Group = id
				groups = append(groups, s)
			}
		}
	}
	return groups
}

func (p *Placement) report(ctx context.Context, g Group, prove bool) (s GroupStatus, err error) {
	if s.Leader, s.Term = g.Leader(); prove && s.Leader == p.cfg.Self.Name {
		proving, cancel := context.WithTimeout(ctx, statusTimeout)
		defer cancel()
		s.Members, err = g.ConfirmMembers(proving)
	} else {
		s.Members, err = g.Members()
	}
	if s.Applied, s.Last = g.Progress(); p.leaving.Load() {
		s.Applied = 0
	}
	return s, err
}

// announce has this node's record brought up to date after its addresses or its
// version have changed.
func (p *Placement) announce(ctx context.Context, v *View) error {
	self := p.cfg.Self
	n, known := v.Record(self.Name)
	if !known || n.State == Removed || n.RPC == self.RPC && n.HTTP == self.HTTP && n.Version == self.Version {
		return nil
	}
	self.JoinedAt, self.rest = n.JoinedAt, nil
	asking, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	j := Joining{Node: self, Shards: p.cfg.Shards, Proof: p.cfg.Proof, Cluster: p.cfg.Cluster}
	w, err := p.Admit(asking, j)
	if err == nil && w.Refused != "" {
		err = fmt.Errorf("%w: %s", ErrRefused, w.Refused)
	}
	return err
}
