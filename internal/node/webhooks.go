package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/outbox"
	"github.com/grantd/grantd/storage"
)

// newWebhooks is what delivers events to the end points of webhooks, of the
// groups that this node owns.
func (core *Core) newWebhooks(c CoreConfig) *outbox.Dispatcher {
	transport := c.WebhookTransport
	if transport == nil {
		transport = c.Transport
	}
	return outbox.New(outbox.Config{
		Registry: webhookRegistry{core}, Transport: transport, Explain: explainRefusal, Agent: "grantd", Policy: c.Webhooks, Logger: c.Logger,
	})
}

// explainRefusal puts an address that must not be reached into words, without
// the address.
func explainRefusal(err error) string {
	if errors.Is(err, oauth.ErrAddressRefused) {
		return "the host's address is private; an operator can allow it in outgoing.allow"
	}
	return ""
}

// webhookRegistry is the registry as the deliverer wants it.
type webhookRegistry struct{ core *Core }

// Endpoints implements outbox.Registry.
func (r webhookRegistry) Endpoints() []*delivery.Endpoint { return r.core.Registry.Endpoints() }

// Endpoint implements outbox.Registry.
func (r webhookRegistry) Endpoint(id string) (*delivery.Endpoint, bool) {
	return r.core.Registry.Endpoint(id)
}

// Changed implements outbox.Registry.
func (r webhookRegistry) Changed() <-chan struct{} { return r.core.Registry.EndpointsChanged() }

// Gone implements outbox.Registry: the meta group's index is the revision of its
// keys. It is read first: what the store shows afterwards is no older.
func (r webhookRegistry) Gone(id string, seen uint64) bool {
	g := r.core.host.Group(consensus.MetaGroup)
	if g == nil {
		return false
	}
	applied, _ := g.Progress()
	return applied >= seen && r.core.Registry.WebhookGone(id)
}

// Secrets implements outbox.Registry.
func (r webhookRegistry) Secrets(ctx context.Context, e *delivery.Endpoint) ([]credential.Secret, error) {
	return r.core.Registry.WebhookSecrets(ctx, e.ID)
}

// Disable implements outbox.Registry.
func (r webhookRegistry) Disable(ctx context.Context, e *delivery.Endpoint, reason string) error {
	return r.core.Registry.DisableWebhook(ctx, e.ID, e.Revision, reason)
}

// deliveryStore is a group that this node owns as the deliverer wants it.
type deliveryStore struct {
	*storage.Group
	group *consensus.Group
	box   *consensus.Outbox
}

// Grown implements outbox.Store.
func (s deliveryStore) Grown() <-chan struct{} { return s.box.Grown() }

// Barrier implements outbox.Store.
func (s deliveryStore) Barrier(ctx context.Context) error { return s.group.Barrier(ctx) }

// Commit implements outbox.Store.
func (s deliveryStore) Commit(ctx context.Context, step delivery.Step) (rev uint64, err error) {
	batch, err := storage.EncodeStep(step)
	if err != nil {
		return 0, err
	}
	r, err := s.group.Propose(ctx, batch)
	return r.Index, err
}

// deliver begins or ends the deliveries of a group whose leadership has changed.
func (core *Core) deliver(c consensus.LeaderChange) {
	g := core.host.Group(c.Group)
	if !c.Leading || g == nil {
		core.Webhooks.Yield(c.Group)
		return
	}
	core.Webhooks.Lead(c.Group, deliveryStore{g.State(), g, core.host.Outbox(c.Group)})
}

// tellsRefreshes says which refreshes make events.
func (core *Core) tellsRefreshes(all bool) func(credential.Ref, string) bool {
	if all {
		return func(credential.Ref, string) bool { return true }
	}
	return core.Registry.TellsRefreshes
}

// webhookDrain is how long a node that stops waits for messages under way, so
// that they need not be sent twice.
const webhookDrain = 3 * time.Second

// stopWebhooks ends the deliveries of this node.
func (core *Core) stopWebhooks(ctx context.Context) {
	if core.Webhooks == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, webhookDrain)
	defer cancel()
	core.Webhooks.Stop(ctx)
}

// rpcDeliveries answers other nodes from what this node has.
type rpcDeliveries struct{ core *Core }

// Deliveries implements rpc.Deliveries.
func (d rpcDeliveries) Deliveries(_ context.Context, group uint16, query []byte) ([]byte, error) {
	return answerJSON(query, func(q delivery.Query) (delivery.Page, error) { return d.core.ownDeliveries(group, q) })
}

// Replay implements rpc.Deliveries.
func (d rpcDeliveries) Replay(ctx context.Context, group uint16, replay []byte) ([]byte, error) {
	return answerJSON(replay, func(r delivery.Replay) (delivery.Replayed, error) { return d.core.Webhooks.Replay(ctx, group, r) })
}

// answerJSON reads what is asked and writes what is answered.
func answerJSON[Q, A any](asked []byte, answer func(Q) (A, error)) ([]byte, error) {
	var q Q
	if err := json.Unmarshal(asked, &q); err != nil {
		return nil, fmt.Errorf("%w: what is asked about deliveries cannot be read", credential.ErrInvalid)
	}
	a, err := answer(q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// ownDeliveries lists the deliveries of a group as this node's replica has them.
func (core *Core) ownDeliveries(group uint16, q delivery.Query) (delivery.Page, error) {
	g := core.host.Group(group)
	if cl := core.cluster; g == nil || cl != nil && group != consensus.MetaGroup && !cl.replica(int(group)) {
		return delivery.Page{}, fmt.Errorf("%w: group %d has no replica here", credential.ErrNotOwner, group)
	}
	return g.State().Deliveries(q)
}

// owner is who leads a group, as far as this node knows.
func (core *Core) owner(group uint16) string {
	if group == consensus.MetaGroup {
		node, _ := core.MetaLeader()
		return node
	}
	node, _ := core.Owner(int(group))
	return node
}

// deliveryGroups are the groups that may hold deliveries of an account; zero: of
// any, and of what is no account.
func (core *Core) deliveryGroups(ref credential.Ref) []uint16 {
	if ref != (credential.Ref{}) {
		return []uint16{uint16(core.shardOf(ref))}
	}
	groups := make([]uint16, 0, core.host.Shards()+1)
	for shard := range core.host.Shards() {
		groups = append(groups, uint16(shard))
	}
	return append(groups, consensus.MetaGroup)
}

const (
	// groupsAtOnce is how many groups are asked at the same time.
	groupsAtOnce = 8
	// deliveriesAtOnce bounds what one group is asked for: it travels between nodes.
	deliveriesAtOnce = 200
	// deliveryWait is how long one node may take to answer, and replayWait how long
	// a group's owner is looked for.
	deliveryWait = 3 * time.Second
	replayWait   = 10 * time.Second
	ownerAgain   = 100 * time.Millisecond
)

// Deliveries returns a page of an end point's deliveries over all groups, newest
// first: as their owners have them, else as other replicas do.
func (core *Core) Deliveries(ctx context.Context, q delivery.Query, cursor delivery.Cursor) ([]delivery.Listed, delivery.Cursor, error) {
	groups := core.deliveryGroups(q.Ref)
	pages := make([]delivery.Page, len(groups))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(groupsAtOnce)
	for i, group := range groups {
		q := q
		q.Below, q.Limit = cursor.Below(group), min(q.Limit, deliveriesAtOnce)
		all.Go(func() (err error) {
			pages[i], err = core.deliveriesOf(ctx, group, q)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return nil, delivery.Cursor{}, err
	}
	byGroup := make(map[uint16]delivery.Page, len(groups))
	for i, group := range groups {
		byGroup[group] = pages[i]
	}
	listed, next := delivery.Merge(byGroup, q.Limit)
	return listed, next, nil
}

// deliveriesOf asks the nodes that have a group, its owner first.
func (core *Core) deliveriesOf(ctx context.Context, group uint16, q delivery.Query) (p delivery.Page, err error) {
	err = credential.ErrNotOwner
	for _, node := range core.keepers(group) {
		if node == core.name {
			p, err = core.ownDeliveries(group, q)
		} else {
			ctx, cancel := context.WithTimeout(ctx, deliveryWait)
			p, err = exchangeJSON[delivery.Page](q, func(b []byte) ([]byte, error) { return core.cluster.peers.Deliveries(ctx, node, group, b) })
			cancel()
		}
		if err == nil || ctx.Err() != nil {
			return p, err
		}
	}
	return p, notReached(err)
}

// keepers are the nodes that may have a replica of a group, in the order in
// which they are asked.
func (core *Core) keepers(group uint16) []string {
	nodes := []string{core.owner(group), core.name}
	if cl := core.cluster; cl != nil && group != consensus.MetaGroup {
		nodes = append(nodes, cl.replicas(int(group))...)
	}
	var out []string
	for _, n := range nodes {
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// notReached is the error about a group of which no node answered: without names
// of nodes, for it may leave the cluster.
func notReached(err error) error {
	if errors.Is(err, credential.ErrInvalid) || errors.Is(err, credential.ErrNotFound) || errors.Is(err, credential.ErrOverloaded) {
		return err
	}
	return &credential.Unavailable{Err: credential.ErrNoQuorum, Reason: "a group's owner was not reached in time", RetryAfter: time.Second}
}

// Replay makes deliveries of an end point once more: in one group where group is
// not nil, else in all. more reports that there are further ones to replay. After
// an error some groups may have done it: doing it again sends some messages
// twice, with the same ids.
func (core *Core) Replay(ctx context.Context, r delivery.Replay, group *uint16) (count int, more bool, err error) {
	groups := core.deliveryGroups(credential.Ref{})
	if group != nil {
		groups = []uint16{*group}
	}
	out := make([]delivery.Replayed, len(groups))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(groupsAtOnce)
	for i, group := range groups {
		all.Go(func() (err error) {
			out[i], err = core.replayIn(ctx, group, r)
			return err
		})
	}
	err = all.Wait()
	for _, o := range out {
		count += o.Count
		more = more || o.Next != (delivery.Place{})
	}
	return count, more, err
}

// replayIn has the group's owner replay, whom it looks for until ctx ends.
func (core *Core) replayIn(ctx context.Context, group uint16, r delivery.Replay) (out delivery.Replayed, err error) {
	ctx, cancel := context.WithTimeout(ctx, replayWait)
	defer cancel()
	for {
		switch node := core.owner(group); node {
		case "":
			err = credential.ErrNotOwner
		case core.name:
			out, err = core.Webhooks.Replay(ctx, group, r)
		default:
			out, err = exchangeJSON[delivery.Replayed](r, func(b []byte) ([]byte, error) { return core.cluster.peers.Replay(ctx, node, group, b) })
		}
		if err == nil || errors.Is(err, credential.ErrInvalid) || errors.Is(err, credential.ErrNotFound) || errors.Is(err, credential.ErrOverloaded) {
			return out, err
		}
		t := time.NewTimer(ownerAgain)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return out, notReached(err)
		}
	}
}

var _ outbox.Registry = webhookRegistry{}
