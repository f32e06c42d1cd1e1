package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/cluster/link"
	"github.com/grantd/grantd/cluster/placement"
	"github.com/grantd/grantd/cluster/route"
	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/registry"
)

// The adapters below show the parts of a cluster to each other in their own
// words.

// groups are the raft groups as placement wants them.
type groups struct{ host *consensus.Host }

// OpenGroup implements placement.Groups.
func (g groups) OpenGroup(id uint16, s placement.Start) error {
	_, err := g.host.OpenGroup(id, consensus.Start{Voters: s.Voters, Join: s.Join})
	return err
}

// CloseGroup implements placement.Groups.
func (g groups) CloseGroup(ctx context.Context, id uint16, destroy bool) error {
	return g.host.CloseGroup(ctx, id, destroy)
}

// Resident implements placement.Groups.
func (g groups) Resident() ([]uint16, error) { return g.host.Resident() }

// Known implements placement.Groups.
func (g groups) Known(id uint16) (bool, error) { return g.host.Known(id) }

// Group implements placement.Groups.
func (g groups) Group(id uint16) (placement.Group, bool) {
	got := g.host.Group(id)
	return group{got}, got != nil
}

type group struct{ *consensus.Group }

// Members implements placement.Group.
func (g group) Members() (placement.Members, error) {
	m, err := g.Group.Members()
	return placement.Members(m), err
}

// ConfirmMembers implements placement.Group.
func (g group) ConfirmMembers(ctx context.Context) (placement.Members, error) {
	m, err := g.Group.ConfirmMembers(ctx)
	return placement.Members(m), err
}

// members are gossip's as placement wants them.
type members struct{ *gossip.Gossip }

// Members implements placement.Gossip.
func (m members) Members() []placement.Member {
	seen := m.Gossip.Members()
	all := make([]placement.Member, len(seen))
	for i, s := range seen {
		state := placement.Dead
		if s.State == gossip.Alive {
			state = placement.Alive
		}
		all[i] = placement.Member{Name: s.Name, State: state, DataID: s.Meta.DataID, Cluster: s.Meta.Cluster, RPC: s.Meta.RPC, HTTP: s.Meta.HTTP}
	}
	return all
}

// placementPeers are the other nodes as placement wants them.
type placementPeers struct{ *rpc.Peers }

// Status implements placement.Peers.
func (p placementPeers) Status(ctx context.Context, node string, ids []uint16) ([]placement.GroupStatus, error) {
	told, err := p.Peers.Status(ctx, node, ids...)
	out := make([]placement.GroupStatus, len(told))
	for i, s := range told {
		out[i] = placement.GroupStatus{
			Group: s.Group, Applied: s.Applied, Last: s.Last, Leader: s.Leader, Term: s.Term,
			Members: placement.Members{Index: s.MembersIndex, Voters: s.Voters, Learners: s.Learners},
		}
	}
	return out, err
}

// Join implements placement.Peers.
func (p placementPeers) Join(ctx context.Context, node string, j placement.Joining) (placement.Welcome, error) {
	w, err := exchangeJSON[placement.Welcome](j, func(b []byte) ([]byte, error) { return p.Peers.Join(ctx, node, b) })
	if errors.Is(err, link.ErrUntrusted) {
		err = fmt.Errorf("%w: %w", placement.ErrUntrusted, err)
	}
	return w, err
}

// Promise implements placement.Peers.
func (p placementPeers) Promise(ctx context.Context, node string, promise placement.Promise) (placement.Answer, error) {
	return exchangeJSON[placement.Answer](promise, func(b []byte) ([]byte, error) { return p.Peers.Promise(ctx, node, b) })
}

// Release implements placement.Peers.
func (p placementPeers) Release(ctx context.Context, node string, promise placement.Promise) error {
	_, err := exchangeJSON[struct{}](promise, func(b []byte) ([]byte, error) { return p.Peers.Release(ctx, node, b) })
	return err
}

// exchangeJSON sends a value and reads the answer.
func exchangeJSON[T any](value any, send func([]byte) ([]byte, error)) (answer T, err error) {
	b, err := json.Marshal(value)
	if err != nil {
		return answer, err
	}
	if b, err = send(b); err != nil {
		return answer, err
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return answer, fmt.Errorf("answer of another node cannot be read: %w", err)
	}
	return answer, nil
}

// status tells other nodes of this one's groups.
type status struct{ p *placement.Placement }

// Status implements rpc.Status.
func (s status) Status(ctx context.Context, ids []uint16) ([]rpc.GroupStatus, error) {
	if len(ids) == 0 {
		ids = nil // all
	}
	told := s.p.Report(ctx, ids)
	out := make([]rpc.GroupStatus, len(told))
	for i, g := range told {
		out[i] = rpc.GroupStatus{
			Group: g.Group, Applied: g.Applied, Last: g.Last, Leader: g.Leader, Term: g.Term,
			Voters: g.Members.Voters, Learners: g.Members.Learners, MembersIndex: g.Members.Index,
		}
	}
	return out, nil
}

// actorPeers are the other nodes as the actors want them.
type actorPeers struct {
	cl *cluster
}

// Fate implements actors.Peers.
func (p actorPeers) Fate(ctx context.Context, node string, q credential.FateQuery) (credential.Fate, error) {
	return p.cl.peers.Fate(ctx, node, q)
}

// Offer implements actors.Peers.
func (p actorPeers) Offer(ctx context.Context, ref credential.Ref, entry []byte) (taken bool, err error) {
	r := p.cl.router.Load()
	if r == nil {
		return false, credential.ErrNotOwner
	}
	return r.Offer(ctx, ref, entry)
}

var _ route.Peers = (*rpc.Peers)(nil)

// serviceKeys are the API keys as co-located services present them.
type serviceKeys struct{ r *registry.Registry }

// Authenticate implements rpc.Keys.
func (k serviceKeys) Authenticate(presented string) (rpc.Key, bool) {
	key, ok := k.r.Authenticate(presented)
	if !ok {
		return nil, false
	}
	return serviceKey{apiKey(key)}, true
}

type serviceKey struct{ *httpapi.Key }

// Agent implements rpc.Key.
func (k serviceKey) Agent() (name, key string) { return k.Key.Agent, k.ID }
