package consensus

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
)

// Transfer moves the leadership to another voter, which ought to have shown that
// it gets entries now (by its Progress, after a Barrier here). Proposals that are under way end
// first; those that come meanwhile wait, and end with credential.ErrNotOwner once the leadership has moved, or go
// on if it stays. None is lost or of unknown outcome because of it. Errors:
//
//   - nil: this node has heard of node as the leader, or is itself the leader
//     that was asked for.
//   - credential.ErrNotOwner: this node does not lead, or ceased to before it
//     began.
//   - credential.ErrConflict: node is no voter; or the leadership was lost, and
//     another node got it.
//   - credential.ErrNoQuorum: node did not take over in time (of raft's election
//     time-out), now or a moment ago, or ctx ended before anything was begun; this node still leads.
//   - credential.ErrUnknownOutcome: ctx ended while the leadership moved.
func (g *Group) Transfer(ctx context.Context, node string) error {
	over, release, err := g.begin(ctx)
	if err != nil {
		return err
	}
	if node == g.node {
		release()
		return nil
	}
	m, err := g.Members()
	if err == nil && !slices.Contains(m.Voters, node) {
		err = fmt.Errorf("%w: %s has no vote in group %d", credential.ErrConflict, node, g.id)
	}
	if err == nil && g.spurned.lately(g.ledger.leading(), node) {
		err = fmt.Errorf("%w: %s did not take over group %d a moment ago", credential.ErrNoQuorum, node, g.id)
	}
	if err == nil && !g.work.enter() {
		err = fmt.Errorf("%w: group %d is closed", credential.ErrNotOwner, g.id)
	}
	if err != nil {
		release()
		return err
	}
	// What was begun is seen to its end, whether the caller still waits or not:
	// the intake must go on afterwards.
	moved := make(chan error, 1)
	go func() {
		defer g.work.leave()
		defer release()
		g.move(ctx, node, over, moved)
	}()
	select {
	case err := <-moved:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return fmt.Errorf("%w: leadership of group %d: %w", credential.ErrUnknownOutcome, g.id, context.Cause(ctx))
	}
	return g.expect(ctx, node)
}

// move stops the intake, lets what is under way end, and has raft move the
// leadership. It tells through moved what came of it, nil if the leadership was
// given away, and returns when the intake may go on.
func (g *Group) move(ctx context.Context, node string, over <-chan struct{}, moved chan<- error) {
	select {
	case g.holds <- true:
	case <-over:
		moved <- credential.ErrNotOwner
		return
	case <-ctx.Done():
		moved <- fmt.Errorf("%w: group %d: %w", credential.ErrNoQuorum, g.id, context.Cause(ctx))
		return
	}
	defer g.goOn()
	// Raft takes entries in order: when this one is applied, all before it have
	// ended, and raft holds none that it could refuse.
	if o := g.settle(ctx, g.ledger.addBarrier(), over); o.err != nil {
		if ctx.Err() == nil {
			o.err = credential.ErrNotOwner
		}
		moved <- o.err
		return
	}
	g.lease.suspend()
	refused := make(chan error, 1)
	// Raft answers within two election time-outs if its loop takes the request at
	// all. If it never does, it is stuck for good, in the disk, and so is this
	// goroutine, among raft's own.
	go func() {
		refused <- g.raft.LeadershipTransferToServer(raft.ServerID(node), raft.ServerAddress(node)).Error()
	}()
	for {
		select {
		case err := <-refused:
			if err == nil { // lost, and over is closed in a moment
				refused = nil
				continue
			}
			g.spurned.add(g.ledger.leading(), node)
			moved <- fmt.Errorf("%w: %s did not take over group %d: %w", credential.ErrNoQuorum, node, g.id, err)
			// Raft refuses proposals for as long as its own attempt lasts, which may
			// be longer than it waited for it.
			g.settle(context.Background(), g.ledger.addBarrier(), over)
			g.lease.resume()
			return
		case <-over:
			moved <- nil
			return
		case <-g.stop:
			moved <- nil
			return
		}
	}
}

// goOn lets the intake go on.
func (g *Group) goOn() {
	select {
	case g.holds <- false:
	case <-g.stop:
	}
}

// expectPause is how often expect looks who leads.
const expectPause = 2 * time.Millisecond

// expect waits until a leader is known and says whether it is node.
func (g *Group) expect(ctx context.Context, node string) error {
	look := time.NewTicker(expectPause)
	defer look.Stop()
	for {
		switch leader, _ := g.Leader(); leader {
		case node:
			return nil
		case "":
		default:
			return fmt.Errorf("%w: leadership of group %d went to %s, not to %s", credential.ErrConflict, g.id, leader, node)
		}
		select {
		case <-look.C:
		case <-g.stop:
			return fmt.Errorf("%w: group %d is closed", credential.ErrUnknownOutcome, g.id)
		case <-ctx.Done():
			return fmt.Errorf("%w: leadership of group %d: %w", credential.ErrUnknownOutcome, g.id, context.Cause(ctx))
		}
	}
}
