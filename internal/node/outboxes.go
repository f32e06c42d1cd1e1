package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/feed"
)

// newFeed is the event stream over the outboxes of all shards and, as the last
// group, of the meta group.
func (core *Core) newFeed() *feed.Feed {
	return feed.New(feed.Config{
		Source: outboxes{core}, Groups: core.host.Shards() + 1,
		Sealer: core.Sealer, Tenant: envelope.SystemTenant, Logger: core.log,
	})
}

// outboxes reads the outboxes of all groups: those that this node has replicas
// of here, others at other nodes.
type outboxes struct{ core *Core }

// Read implements feed.Source.
func (o outboxes) Read(ctx context.Context, group int, after credential.EventPos, limit int, wait time.Duration) (feed.Page, error) {
	id := consensus.MetaGroup
	if group < o.core.host.Shards() {
		id = uint16(group)
	}
	p, err := o.core.readOutbox(ctx, id, after, limit, wait)
	if cl := o.core.cluster; cl != nil && errors.Is(err, credential.ErrNotOwner) {
		p, err = cl.readOutbox(ctx, id, after, limit, wait)
	}
	return feed.Page(p), err
}

// readOutbox reads what this node has; see rpc.Outboxes.
func (core *Core) readOutbox(ctx context.Context, group uint16, after credential.EventPos, limit int, wait time.Duration) (p rpc.OutboxPage, err error) {
	box := core.host.Outbox(group)
	if box == nil {
		return p, fmt.Errorf("%w: there is no group %d", credential.ErrInvalid, group)
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		grown := box.Grown()
		// One that does not vote yet may lack most of it.
		if cl := core.cluster; cl != nil && group != consensus.MetaGroup && !cl.replica(int(group)) {
			return p, fmt.Errorf("%w: group %d has no replica here", credential.ErrNotOwner, group)
		}
		if p.First, p.Last, err = box.Bounds(); err != nil {
			return p, err
		}
		if p.Last > after {
			return readEvents(box, p, after, limit)
		}
		select {
		case <-grown:
		case <-over.C:
			return p, nil
		case <-core.closing:
			return p, nil
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
}

func readEvents(box *consensus.Outbox, p rpc.OutboxPage, after credential.EventPos, limit int) (rpc.OutboxPage, error) {
	var err error
	if p.Events, err = box.Events(after, limit); err != nil {
		return p, err
	}
	if n := len(p.Events); n > 0 {
		p.Last = max(p.Last, p.Events[n-1].Pos) // some came meanwhile
	}
	return p, nil
}

// rpcOutboxes tells other nodes what this one has.
type rpcOutboxes struct{ core *Core }

// Outbox implements rpc.Outboxes.
func (o rpcOutboxes) Outbox(ctx context.Context, group uint16, after credential.EventPos, limit int, wait time.Duration) (rpc.OutboxPage, error) {
	return o.core.readOutbox(ctx, group, after, limit, wait)
}

// outboxAnswer is how long another node may take longer than it is to wait.
const outboxAnswer = 3 * time.Second

// readOutbox asks the nodes that have replicas of a shard, its owner first, until
// one answers: one may be down, or of a version that knows no such request.
func (cl *cluster) readOutbox(ctx context.Context, group uint16, after credential.EventPos, limit int, wait time.Duration) (rpc.OutboxPage, error) {
	owner, _ := cl.leader(int(group))
	nodes := []string{owner}
	for _, n := range cl.replicas(int(group)) {
		if !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	var errs []error
	for _, n := range nodes {
		if n == "" || n == cl.core.name {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, wait+outboxAnswer)
		p, err := cl.peers.Outbox(ctx, n, group, after, limit, wait)
		cancel()
		if err == nil {
			return p, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%w: no node is known to have a replica of group %d", credential.ErrNotOwner, group))
	}
	return rpc.OutboxPage{}, fmt.Errorf("outbox of group %d: %w", group, errors.Join(errs...))
}
