package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
)

const (
	// handOverParallel bounds the groups that change hands at once.
	handOverParallel = 4
	// handOverTimeout bounds one of them. It takes milliseconds.
	handOverTimeout = 2 * time.Second
)

// Leave hands over every group that this node leads, a few at a time, to voters
// that have caught up. Nothing else moves: the node may be back in a moment. It
// returns when it leads none that another node could lead, or with ctx. From
// here on nobody hands anything to this node, and it changes no placement; there
// is no way back but a restart.
func (p *Placement) Leave(ctx context.Context) error {
	p.leaving.Store(true)
	failed := failures{}
	for {
		left := p.handOverAll(ctx, failed)
		if left == 0 {
			return nil
		}
		if !sleep(ctx, fastTick/5) {
			return fmt.Errorf("%d groups were not handed over: %w", left, context.Cause(ctx))
		}
	}
}

// failures are, by group, the nodes that did not take it over. Raft waits longer
// and longer before it sends anything to a node that did not answer, so the next
// try is another one's.
type failures map[uint16][]string

// handOverAll tries each group once and returns how many are left.
func (p *Placement) handOverAll(ctx context.Context, failed failures) (left int) {
	live := p.liveness()
	v := p.View()
	var groups []led
	for id := range p.cfg.Shards {
		if l, ok := p.sight(uint16(id), live); ok {
			l.want = Want{Voters: v.Replicas(l.id)}
			groups = append(groups, l)
		}
	}
	if l, ok := p.sight(MetaGroup, live); ok { // last: until then it serves the others
		groups = append(groups, l)
	}
	p.inquire(ctx, groups)
	var all sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, handOverParallel)
	for _, l := range groups {
		if !slices.ContainsFunc(without(l.sight.Members.Voters, []string{l.sight.Self}), l.sight.stays) {
			continue // nobody else could lead it
		}
		left++
		mu.Lock()
		to := successor(l, p.cfg.Lag, failed[l.id])
		mu.Unlock()
		if to != "" && ctx.Err() == nil {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
				defer cancel()
				if p.take(ctx, l.group, l.id, Action{Transfer, to}, 0) != nil {
					mu.Lock()
					defer mu.Unlock()
					failed[l.id] = append(without(failed[l.id], []string{to}), to)
				}
			})
		}
	}
	all.Wait()
	return left
}

// stays reports whether a node is alive, and not shutting down as far as it has
// said: all nodes may be stopped at once, and none is to wait for the others.
func (s Sight) stays(node string) bool {
	applied, said := s.Applied[node]
	return s.living(node) && (!said || applied != 0)
}

// successor returns the voter that should lead after this node: the one that
// the record prefers, of those that are alive and have caught up; those that
// have failed come last, the one that failed longest ago first.
func successor(l led, lag uint64, failed []string) string {
	able := func(node string) bool {
		return node != l.sight.Self && slices.Contains(l.sight.Members.Voters, node) &&
			l.sight.living(node) && l.sight.close(node, lag)
	}
	all := slices.Concat(l.want.Voters, l.sight.Members.Voters)
	for _, node := range append(without(all, failed), failed...) {
		if able(node) {
			return node
		}
	}
	return ""
}

// ErrLastNode: a cluster without nodes would be none.
var ErrLastNode = errors.New("it is the last node of the cluster")

// Dismiss takes a node out of the cluster for good: its shards move to other
// nodes, then its name is closed. It begins that and returns how far it is:
// Leaving or Removed; call it again to see it go on. Where all nodes are asked to
// leave at once, one of them stays after all. The node should run until
// it is removed, so that its copies can be read, but need not. Errors wrap
// credential.ErrNotFound (no such node), ErrLastNode, or credential.ErrNoQuorum
// where the meta group has no leader, so that nobody could say.
func (p *Placement) Dismiss(ctx context.Context, node string) (Standing, error) {
	if p.metaLeader() == "" {
		return "", fmt.Errorf("%w: the meta group has no leader that this node knows", credential.ErrNoQuorum)
	}
	if err := again(ctx, func() error { return p.markLeaving(ctx, node) }); err != nil {
		return "", err
	}
	if n, known := p.View().Record(node); known && n.State == Removed {
		return Removed, nil
	}
	return Leaving, nil
}

// Decommission is Dismiss and waits until the node is removed, or ctx ends; it
// goes on without the caller.
func (p *Placement) Decommission(ctx context.Context, node string) error {
	if _, err := p.Dismiss(ctx, node); err != nil {
		return err
	}
	for {
		changed := p.Changed()
		if n, known := p.View().Record(node); known && n.State == Removed {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("node %s still holds shards, which go on moving: %w", node, context.Cause(ctx))
		case <-p.ctx.Done():
			return errClosed
		}
	}
}

func (p *Placement) markLeaving(ctx context.Context, node string) error {
	v, err := read(p.cfg.KV, p.log)
	if err != nil {
		return err
	}
	n, known := v.Record(node)
	if !known {
		return fmt.Errorf("%w: the cluster has no node %s", credential.ErrNotFound, node)
	}
	if n.State != Active {
		return nil
	}
	if len(v.all(Active)) < 2 {
		return fmt.Errorf("node %s: %w", node, ErrLastNode)
	}
	n.State = Leaving
	return put(ctx, p.cfg.KV, Change{Key: nodeKey(node), Rev: n.rev, Node: &n})
}
