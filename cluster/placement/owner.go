package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ownerRound takes the next step of each shard that this node leads.
func (p *Placement) ownerRound(ctx context.Context) (time.Duration, error) {
	if p.leaving.Load() || p.metaLeader() == "" {
		return tick, nil // the records may be old ones
	}
	groups := p.led()
	catching := 0
	for _, l := range groups {
		catching += rank(len(l.sight.Members.Learners) > 0)
	}
	groups = slices.DeleteFunc(groups, led.settled)
	p.inquire(ctx, groups)
	next := slowTick
	if len(groups) > 0 {
		next = tick
	}
	var errs []error
	for _, l := range groups {
		a := Step(l.want, l.sight, p.cfg.Lag)
		if a.Kind == AddLearner && len(l.sight.Members.Learners) == 0 {
			if catching >= p.cfg.MaxMoving {
				continue
			}
			catching++
		}
		if ctx.Err() != nil || p.leaving.Load() {
			break
		}
		if a.Kind != Nothing || l.catching() {
			next = fastTick
		}
		errs = append(errs, p.take(ctx, l.group, l.id, a, l.sight.Members.Index))
	}
	return next, errors.Join(errs...)
}

// led is a group that this node leads, and what it should become.
type led struct {
	id    uint16
	group Group
	want  Want
	sight Sight
}

func (l led) settled() bool {
	m := l.sight.Members
	return sameSet(l.want.Voters, m.Voters) && sameSet(l.want.Learners, m.Learners) &&
		(l.want.Owner == "" || l.want.Owner == l.sight.Self)
}

// catching says whether a member is on its way to a vote.
func (l led) catching() bool {
	return slices.ContainsFunc(l.want.Voters, func(v string) bool {
		return slices.Contains(l.sight.Members.Learners, v) && l.sight.living(v)
	})
}

// led returns the shards that this node leads.
func (p *Placement) led() []led {
	var list []led
	v, live := p.View(), p.liveness()
	for id := range p.cfg.Shards {
		s, known := v.Shard(uint16(id))
		if !known {
			continue
		}
		if l, ok := p.sight(s.ID, live); ok {
			l.want = s.want()
			list = append(list, l)
		}
	}
	return list
}

// sight looks at a group that this node leads.
func (p *Placement) sight(id uint16, live alive) (l led, ok bool) {
	g, running := p.cfg.Groups.Group(id)
	if !running {
		return l, false
	}
	if _, leads := g.IsLeader(); !leads {
		return l, false
	}
	members, err := g.Members()
	if err != nil {
		return l, false
	}
	_, last := g.Progress()
	return led{id: id, group: g, sight: Sight{
		Self: p.cfg.Self.Name, Members: members, Last: last, Applied: map[string]uint64{}, Alive: live,
	}}, true
}

// inquire asks the members of groups how far they have come: each node once,
// all at the same time.
func (p *Placement) inquire(ctx context.Context, groups []led) {
	ids := map[string][]uint16{}
	byID := map[uint16]led{}
	for _, l := range groups {
		byID[l.id] = l
		for _, node := range slices.Concat(l.sight.Members.Voters, l.sight.Members.Learners) {
			if node != p.cfg.Self.Name && l.sight.living(node) {
				ids[node] = append(ids[node], l.id)
			}
		}
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	for node, ids := range ids {
		all.Go(func() {
			groups := p.status(ctx, node, ids)
			mu.Lock()
			defer mu.Unlock()
			for _, g := range groups {
				if l, asked := byID[g.Group]; asked {
					l.sight.Applied[node] = g.Applied
				}
			}
		})
	}
	all.Wait()
}

// take does one step of a group.
func (p *Placement) take(ctx context.Context, g Group, id uint16, a Action, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	var err error
	switch a.Kind {
	case AddLearner:
		err = g.AddLearner(ctx, a.Node, index)
	case Promote:
		err = g.Promote(ctx, a.Node, index)
	case Remove:
		err = g.Remove(ctx, a.Node, index)
	case Transfer:
		if err = p.follows(ctx, g, id, a.Node); err == nil {
			err = g.Transfer(ctx, a.Node)
		}
	default:
		return nil
	}
	if err != nil {
		p.log.Warn("a step of placement failed", "group", id, "step", a.Kind.String(), "node", a.Node, "err", err)
		return fmt.Errorf("group %d: %s %s: %w", id, a.Kind, a.Node, err)
	}
	p.log.Info("placement", "group", id, "step", a.Kind.String(), "node", a.Node)
	return nil
}

const (
	// followsWithin is how long a node may take to get an entry before the
	// leadership is moved to it.
	followsWithin = 500 * time.Millisecond
	// followsLook is how often it is asked.
	followsLook = 10 * time.Millisecond
)

// follows returns when a node has shown that it gets the group's entries now:
// one that is committed here is in its log. Raft may be backing off from a node
// that was away a moment ago, though it has all that there was; moving the
// leadership to it would hold up writes in vain, and leave goroutines of raft's
// behind.
func (p *Placement) follows(ctx context.Context, g Group, id uint16, node string) error {
	ctx, cancel := context.WithTimeout(ctx, followsWithin)
	defer cancel()
	if _, err := g.ConfirmMembers(ctx); err != nil {
		return err
	}
	_, last := g.Progress()
	for {
		for _, s := range p.status(ctx, node, []uint16{id}) {
			if s.Group == id && s.Last >= last {
				return nil
			}
		}
		if !sleep(ctx, followsLook) {
			return fmt.Errorf("node %s gets no entries yet: %w", node, context.Cause(ctx))
		}
	}
}
