package consensus

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
)

// Members are the nodes of a group, each list in the order of names.
type Members struct {
	// Index is that of the entry that brought these members; the next change has
	// to name it. 0: this replica knows of none yet.
	Index    uint64
	Voters   []string
	Learners []string // get all entries, but have no say
}

// Has reports whether a node is a member, voter or learner.
func (m Members) Has(node string) bool {
	return slices.Contains(m.Voters, node) || slices.Contains(m.Learners, node)
}

// membersOf returns the members that a configuration of raft's names.
func membersOf(index uint64, c raft.Configuration) Members {
	m := Members{Index: index}
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			m.Voters = append(m.Voters, string(s.ID))
		} else {
			m.Learners = append(m.Learners, string(s.ID))
		}
	}
	slices.Sort(m.Voters)
	slices.Sort(m.Learners)
	return m
}

// Members returns the members as this node has applied them: committed ones,
// and on a leader the newest such. Elsewhere they may be old.
func (g *Group) Members() (Members, error) {
	a, err := g.state.Applied()
	if err != nil {
		return Members{}, fmt.Errorf("members of group %d: %w", g.id, err)
	}
	if len(a.Conf) == 0 {
		return Members{}, nil
	}
	return membersOf(a.ConfIndex, raft.DecodeConfiguration(a.Conf)), nil
}

// ConfirmMembers returns the members as they stood at some time after the call:
// it commits an empty entry first, so its errors are those of [Group.Propose].
func (g *Group) ConfirmMembers(ctx context.Context) (Members, error) {
	if err := g.Barrier(ctx); err != nil {
		return Members{}, err
	}
	return g.Members()
}

// MembersChanged returns a channel that is closed when this node applies the
// next change of the members. Take it before Members, or a change is missed.
func (g *Group) MembersChanged() <-chan struct{} { return g.members.listen() }

// AddLearner makes a node a member without a vote: it gets all entries, or the
// state where the log does not reach back far enough, and has no say. A node
// that is a member already stays what it is. The node must run the group, or be
// about to (Start.Join). Only the leader changes members, one step at a time;
// index is that of the Members which the step was decided from. Errors, also of
// Promote and Remove:
//
//   - nil: committed, and applied on this node, or it stood like that already.
//   - credential.ErrNotOwner: this node does not lead; nothing was changed.
//   - credential.ErrConflict: the members are not those of index, or not such
//     that the step can be done; nothing was changed.
//   - credential.ErrInvalid: nobody may ask for this; nothing was changed.
//   - credential.ErrNoQuorum: ctx ended while another change was under way, and
//     nothing was changed.
//   - credential.ErrUnknownOutcome: ctx ended, or leadership was lost, while the
//     step was under way. It may be committed, or be committed later; Members
//     shows it then.
func (g *Group) AddLearner(ctx context.Context, node string, index uint64) error {
	if err := credential.CheckName("node name", node); err != nil {
		return fmt.Errorf("%w: %w", credential.ErrInvalid, err)
	}
	return g.change(ctx, index, step{
		done: func(m Members) bool { return m.Has(node) },
		ask: func(timeout time.Duration) {
			g.raft.AddNonvoter(raft.ServerID(node), raft.ServerAddress(node), index, timeout)
		},
	})
}

// Promote gives a learner its vote. It had better have caught up (see
// [Group.Progress]), for from then on majorities are counted with it. Errors
// are those of [Group.AddLearner]; a node that is no member: ErrConflict.
func (g *Group) Promote(ctx context.Context, node string, index uint64) error {
	return g.change(ctx, index, step{
		done: func(m Members) bool { return slices.Contains(m.Voters, node) },
		bad: func(m Members) error {
			if m.Has(node) {
				return nil
			}
			return fmt.Errorf("%w: %s is no learner", credential.ErrConflict, node)
		},
		ask: func(timeout time.Duration) {
			g.raft.AddVoter(raft.ServerID(node), raft.ServerAddress(node), index, timeout)
		},
	})
}

// Remove takes a node out of the members. It may not hear of it, and goes on
// running the group without effect until its replica is closed. Errors are
// those of [Group.AddLearner]; this node itself: ErrInvalid, it has to move its
// leadership first, and the new leader can remove it.
func (g *Group) Remove(ctx context.Context, node string, index uint64) error {
	if node == g.node {
		return fmt.Errorf("%w: a leader moves its leadership before it is removed", credential.ErrInvalid)
	}
	return g.change(ctx, index, step{
		done: func(m Members) bool { return !m.Has(node) },
		ask: func(timeout time.Duration) {
			g.raft.RemoveServer(raft.ServerID(node), index, timeout)
		},
	})
}

// step is one change of the members.
type step struct {
	done func(Members) bool  // whether they are as the step wants them
	bad  func(Members) error // why the step cannot be done; nil: it always can
	ask  func(timeout time.Duration)
}

// askLimit bounds how long raft may take to begin a change: it waits until the
// one before is committed.
const askLimit = 10 * time.Second

// change does one step. Raft's future is not waited for: it may never be
// answered. Its only refusal that can come is that of the index, and shows in
// the members that are applied next.
func (g *Group) change(ctx context.Context, index uint64, s step) error {
	over, release, err := g.begin(ctx)
	if err != nil {
		return err
	}
	defer release()
	changed := g.members.listen()
	m, err := g.Members()
	switch {
	case err != nil:
		return err
	case m.Index != index:
		return fmt.Errorf("%w: the members of group %d are of entry %d, not %d", credential.ErrConflict, g.id, m.Index, index)
	case s.done(m):
		return nil
	}
	if s.bad != nil {
		if err := s.bad(m); err != nil {
			return err
		}
	}
	g.ask(ctx, s)
	for {
		select {
		case <-changed:
		case <-over:
			return errLost
		case <-ctx.Done():
			return fmt.Errorf("%w: members of group %d: %w", credential.ErrUnknownOutcome, g.id, context.Cause(ctx))
		}
		changed = g.members.listen()
		if m, err = g.Members(); err != nil {
			return fmt.Errorf("%w: %w", credential.ErrUnknownOutcome, err)
		}
		if m.Index == index {
			continue
		}
		if !s.done(m) {
			return fmt.Errorf("%w: the members of group %d are of entry %d, not %d", credential.ErrConflict, g.id, m.Index, index)
		}
		return nil
	}
}

// ask has raft begin a step, in the background: raft may take its time, and
// only its shutdown or the time-out ends the call.
func (g *Group) ask(ctx context.Context, s step) {
	if !g.work.enter() {
		return // the leadership is over in a moment
	}
	limit := askLimit
	if end, ok := ctx.Deadline(); ok {
		limit = max(min(limit, time.Until(end)), time.Millisecond) // to raft 0 is for ever
	}
	go func() {
		defer g.work.leave()
		s.ask(limit)
	}()
}

// begin lets the caller in, as the only one who changes members or leadership,
// while this node leads; over is closed when it ceases to.
func (g *Group) begin(ctx context.Context) (over <-chan struct{}, release func(), err error) {
	if !g.calls.enter() {
		return nil, nil, fmt.Errorf("%w: group %d is closed", credential.ErrNotOwner, g.id)
	}
	over, leads := g.ledger.tenure()
	if !leads {
		g.calls.leave()
		return nil, nil, credential.ErrNotOwner
	}
	select {
	case g.changes <- struct{}{}:
		return over, func() { <-g.changes; g.calls.leave() }, nil
	case <-over:
		err = credential.ErrNotOwner
	case <-ctx.Done():
		err = fmt.Errorf("%w: group %d is being changed: %w", credential.ErrNoQuorum, g.id, context.Cause(ctx))
	}
	g.calls.leave()
	return nil, nil, err
}
