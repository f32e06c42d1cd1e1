package rpc

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

// PeersConfig says how other nodes are reached.
type PeersConfig struct {
	// Dial opens a connection to a node whose name is proven by its certificate.
	Dial func(ctx context.Context, node string) (net.Conn, error)
	// Client is what the client of each node is made of; its Dial is set here.
	Client exchange.ClientConfig
}

// Peers asks other nodes, over one connection to each that is asked. Its
// methods may be called concurrently, and end with their context. Errors are
// those of the other node, in the words of package credential; or they are
// exchange.ErrNotSent (the request was surely not begun) or exchange.ErrLost
// (it may have been carried out).
type Peers struct {
	cfg PeersConfig

	mu      sync.RWMutex
	clients map[string]*exchange.Client
	closed  bool
}

// NewPeers returns peers that are not connected yet. Close them.
func NewPeers(cfg PeersConfig) *Peers {
	return &Peers{cfg: cfg, clients: make(map[string]*exchange.Client)}
}

// client returns the client of a node; nil: the peers are closed.
func (p *Peers) client(node string) *exchange.Client {
	p.mu.RLock()
	c, closed := p.clients[node], p.closed
	p.mu.RUnlock()
	if c != nil || closed {
		return c
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[node]; c != nil || p.closed {
		return c
	}
	cfg := p.cfg.Client
	cfg.Dial = func(ctx context.Context) (net.Conn, error) { return p.cfg.Dial(ctx, node) }
	c = exchange.NewClient(cfg)
	p.clients[node] = c
	return c
}

// Retain closes the connections to all nodes but these; what is under way to
// the others ends.
func (p *Peers) Retain(nodes []string) {
	p.close(func(node string) bool { return !slices.Contains(nodes, node) })
}

// Close ends all requests and connections.
func (p *Peers) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.close(func(string) bool { return true })
}

// close ends the clients of some nodes, all at once.
func (p *Peers) close(which func(node string) bool) {
	var wg sync.WaitGroup
	p.mu.Lock()
	for node, c := range p.clients {
		if which(node) {
			delete(p.clients, node)
			wg.Go(c.Close)
		}
	}
	p.mu.Unlock()
	wg.Wait()
}

// ask sends a request to a node.
func (p *Peers) ask(ctx context.Context, node string, req *rpcpb.Request) (*rpcpb.Response, error) {
	c := p.client(node)
	if c == nil {
		return nil, fmt.Errorf("%w: %w", exchange.ErrNotSent, exchange.ErrClosed)
	}
	m, err := c.Do(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	if e := m.GetError(); e != nil {
		return nil, decodeError(node, e)
	}
	return m, nil
}

// strange is the error about an answer of another kind than was asked for.
func strange(node string) error {
	return fmt.Errorf("%w: node %s answered something else than it was asked", ErrInternal, node)
}

// Token asks the owner for the account's token.
func (p *Peers) Token(ctx context.Context, node string, ref credential.Ref, minTTL time.Duration) (credential.Token, error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Token{Token: &rpcpb.TokenRequest{Ref: toRef(ref), MinTtlMs: millis(minTTL)}}})
	return tokenIn(node, m, err)
}

// ReplicaToken asks a replica for the token of its copy.
func (p *Peers) ReplicaToken(ctx context.Context, node string, ref credential.Ref, minTTL time.Duration) (credential.Token, error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_ReplicaToken{ReplicaToken: &rpcpb.TokenRequest{Ref: toRef(ref), MinTtlMs: millis(minTTL)}}})
	return tokenIn(node, m, err)
}

func tokenIn(node string, m *rpcpb.Response, err error) (credential.Token, error) {
	if err != nil {
		return credential.Token{}, err
	}
	if t := m.GetToken(); t != nil {
		return fromToken(t), nil
	}
	return credential.Token{}, strange(node)
}

// Refresh asks the owner for a generation newer than stale; nil: than the
// present one.
func (p *Peers) Refresh(ctx context.Context, node string, ref credential.Ref, stale *uint64) (credential.Account, error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Refresh{Refresh: &rpcpb.RefreshRequest{Ref: toRef(ref), Stale: stale}}})
	return accountIn(node, m, err)
}

// Import asks the owner to make an account, or to bring credentials to it.
func (p *Peers) Import(ctx context.Context, node string, in credential.Import) (a credential.Account, created bool, err error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Import{Import: toImport(in)}})
	if err != nil {
		return a, false, err
	}
	if i := m.GetImported(); i != nil {
		return fromAccount(i.GetAccount()), i.GetCreated(), nil
	}
	return a, false, strange(node)
}

// Disconnect asks the owner to end an account.
func (p *Peers) Disconnect(ctx context.Context, node string, ref credential.Ref) (credential.Account, error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Disconnect{Disconnect: toRef(ref)}})
	return accountIn(node, m, err)
}

// Account asks the owner for the record, without its sealed values and claim.
func (p *Peers) Account(ctx context.Context, node string, ref credential.Ref) (credential.Account, error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Account{Account: toRef(ref)}})
	return accountIn(node, m, err)
}

func accountIn(node string, m *rpcpb.Response, err error) (credential.Account, error) {
	if err != nil {
		return credential.Account{}, err
	}
	if a := m.GetAccount(); a != nil {
		return fromAccount(a), nil
	}
	return credential.Account{}, strange(node)
}

// History asks the owner for a page of an account's history.
func (p *Peers) History(ctx context.Context, node string, ref credential.Ref, below uint64, limit int) (credential.History, error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_History{History: &rpcpb.HistoryRequest{Ref: toRef(ref), Below: below, Limit: uint32(max(limit, 0))}}})
	if err != nil {
		return credential.History{}, err
	}
	if h := m.GetHistory(); h != nil {
		return fromHistory(h), nil
	}
	return credential.History{}, strange(node)
}

// ShardAccounts asks a node that holds a replica of a shard for a page of its
// accounts, without sealed values and claims. The query's Allow is ignored.
func (p *Peers) ShardAccounts(ctx context.Context, node string, shard int, q credential.Query) (credential.Page, error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_ShardPage{ShardPage: &rpcpb.ShardPageRequest{Shard: uint32(shard), List: toList(q)}}})
	if err != nil {
		return credential.Page{}, err
	}
	if page := m.GetPage(); page != nil {
		return fromPage(page), nil
	}
	return credential.Page{}, strange(node)
}

// Fate asks a node what became of an attempt of its own.
func (p *Peers) Fate(ctx context.Context, node string, q credential.FateQuery) (credential.Fate, error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Fate{Fate: &rpcpb.FateRequest{Ref: toRef(q.Ref), Attempt: q.Attempt, Boot: q.Boot, Generation: q.Generation}}})
	if err != nil {
		return credential.Fate{}, err
	}
	if f := m.GetFate(); f != nil {
		return fromFate(f), nil
	}
	return credential.Fate{}, strange(node)
}

// NoteHandout has the owner write into the account's history that an agent is
// about to get a token.
func (p *Peers) NoteHandout(ctx context.Context, node string, ref credential.Ref, to credential.Handout) error {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Handout{Handout: &rpcpb.HandoutRequest{Ref: toRef(ref), Agent: to.Agent, Key: to.Key, Generation: to.Generation}}})
	if err == nil && m.GetNoted() == nil {
		err = strange(node)
	}
	return err
}

// Offer brings an entry of this node's journal to the owner of its account.
func (p *Peers) Offer(ctx context.Context, node string, ref credential.Ref, entry []byte) (taken bool, err error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Offer{Offer: &rpcpb.OfferRequest{Ref: toRef(ref), Entry: entry}}})
	if err != nil {
		return false, err
	}
	if t := m.GetTaken(); t != nil {
		return t.GetTaken(), nil
	}
	return false, strange(node)
}

// Put asks the leader of the meta group to write a value; see registry.KV.
func (p *Peers) Put(ctx context.Context, node, key string, expect uint64, value []byte) (rev uint64, err error) {
	return p.write(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_KvPut{KvPut: &rpcpb.PutRequest{Key: key, Expect: expect, Value: value}}})
}

// PutAndTell asks the leader of the meta group to write a value and to add
// events; see registry.KV. ErrUnimplemented: it is too old to, and did neither.
func (p *Peers) PutAndTell(ctx context.Context, node, key string, expect uint64, value []byte, events []credential.Event) (rev uint64, err error) {
	put := &rpcpb.PutRequest{Key: key, Expect: expect, Value: value}
	return p.write(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_KvTell{KvTell: &rpcpb.TellRequest{Put: put, Events: toEvents(events)}}})
}

// Emit asks the leader of the meta group to add events; errors as of PutAndTell.
func (p *Peers) Emit(ctx context.Context, node string, events ...credential.Event) error {
	_, err := p.write(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_KvTell{KvTell: &rpcpb.TellRequest{Events: toEvents(events)}}})
	return err
}

// Delete asks the leader of the meta group to remove a key; see registry.KV.
func (p *Peers) Delete(ctx context.Context, node, key string, expect uint64) error {
	_, err := p.write(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_KvDelete{KvDelete: &rpcpb.DeleteRequest{Key: key, Expect: expect}}})
	return err
}

func (p *Peers) write(ctx context.Context, node string, req *rpcpb.Request) (uint64, error) {
	m, err := p.ask(ctx, node, req)
	if err != nil {
		return 0, err
	}
	if w := m.GetWritten(); w != nil {
		return w.GetRevision(), nil
	}
	return 0, strange(node)
}

// Join asks a node to have this one, whose record it is, made a member.
func (p *Peers) Join(ctx context.Context, node string, record []byte) (answer []byte, err error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Join{Join: &rpcpb.JoinRequest{Record: record}}})
	if err != nil {
		return nil, err
	}
	if j := m.GetJoined(); j != nil {
		return j.GetAnswer(), nil
	}
	return nil, strange(node)
}

// Promise asks a node to promise to belong to a cluster that is being founded.
func (p *Peers) Promise(ctx context.Context, node string, promise []byte) (answer []byte, err error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Promise{Promise: &rpcpb.PromiseRequest{Promise: promise}}})
	return promiseIn(node, m, err)
}

// Release gives a node its promise back.
func (p *Peers) Release(ctx context.Context, node string, promise []byte) (answer []byte, err error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Release{Release: &rpcpb.PromiseRequest{Promise: promise}}})
	return promiseIn(node, m, err)
}

func promiseIn(node string, m *rpcpb.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if a := m.GetPromised(); a != nil {
		return a.GetAnswer(), nil
	}
	return nil, strange(node)
}

// Status asks a node for its view of groups; none given: of all that it holds.
func (p *Peers) Status(ctx context.Context, node string, groups ...uint16) ([]GroupStatus, error) {
	req := &rpcpb.StatusRequest{}
	for _, g := range groups {
		req.Groups = append(req.Groups, uint32(g))
	}
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Status{Status: req}})
	if err != nil {
		return nil, err
	}
	if s := m.GetStatus(); s != nil {
		return fromStatus(s), nil
	}
	return nil, strange(node)
}

// Outbox asks a node that holds a replica of a group for events after a
// position, and to wait for them where there are none. ErrUnimplemented: the
// node is of a version that cannot tell.
func (p *Peers) Outbox(ctx context.Context, node string, group uint16, after credential.EventPos, limit int, wait time.Duration) (OutboxPage, error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Outbox{Outbox: &rpcpb.OutboxRequest{
		Group: uint32(group), After: uint64(after), Limit: uint32(max(limit, 0)), WaitMs: millis(wait),
	}}})
	if err != nil {
		return OutboxPage{}, err
	}
	if o := m.GetOutbox(); o != nil {
		return fromOutbox(o), nil
	}
	return OutboxPage{}, strange(node)
}

// Deliveries asks a node that holds a replica of a group for deliveries of
// webhooks; see Deliveries.
func (p *Peers) Deliveries(ctx context.Context, node string, group uint16, query []byte) (page []byte, err error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Deliveries{Deliveries: &rpcpb.DeliveriesRequest{Group: uint32(group), What: query}}})
	return deliveriesIn(node, m, err)
}

// Replay asks the owner of a group to make deliveries of webhooks once more.
func (p *Peers) Replay(ctx context.Context, node string, group uint16, replay []byte) (replayed []byte, err error) {
	m, err := p.ask(ctx, node, &rpcpb.Request{Kind: &rpcpb.Request_Replay{Replay: &rpcpb.DeliveriesRequest{Group: uint32(group), What: replay}}})
	return deliveriesIn(node, m, err)
}

func deliveriesIn(node string, m *rpcpb.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if d := m.GetDeliveries(); d != nil {
		return d.GetAnswer(), nil
	}
	return nil, strange(node)
}
