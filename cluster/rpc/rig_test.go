package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server on connections in memory, and peers that reach it as n2.
type rig struct {
	server *rpc.Server
	peers  *rpc.Peers
	raw    *exchange.Client
	role   string // of whoever calls
	log    *syncBuffer
	served sync.WaitGroup
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newRig(t testing.TB, role string, v rpc.Services) *rig {
	r := &rig{role: role, log: &syncBuffer{}}
	r.server = rpc.NewServer(rpc.ServerConfig{
		Node: "n2", Logger: slog.New(slog.NewTextHandler(r.log, nil)),
		Identify: func(context.Context) (string, string, bool) { return r.role, "n1", r.role != "" },
	})
	r.server.Provide(v)
	lis := bufconn.Listen(64 << 10)
	r.served.Go(func() { _ = r.server.Serve(lis) })
	dial := func(ctx context.Context) (net.Conn, error) { return lis.DialContext(ctx) }
	r.peers = rpc.NewPeers(rpc.PeersConfig{Dial: func(ctx context.Context, node string) (net.Conn, error) { return dial(ctx) }})
	r.raw = exchange.NewClient(exchange.ClientConfig{Dial: dial})
	t.Cleanup(func() {
		r.peers.Close()
		r.raw.Close()
		r.server.Close(context.Background())
		r.served.Wait()
	})
	return r
}

// world is all services of a node, made up.
type world struct {
	mu       sync.Mutex
	accounts map[credential.Ref]credential.Account
	err      error // that everything answers; nil: none
	noteErr  error // that a handout is answered with
	got      []any // what was asked
}

func (w *world) asked(what ...any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, what...)
	return w.err
}

func (w *world) find(ref credential.Ref) (credential.Account, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, ok := w.accounts[ref]
	if !ok {
		return a, credential.ErrNotFound
	}
	return a, nil
}

const canary = "hush-hush-canary"

var (
	noon = time.Date(2026, 11, 25, 12, 0, 0, 123456789, time.UTC)
	crm  = credential.Ref{Tenant: "acme", ID: "crm"}
)

func sample() credential.Account {
	return credential.Account{
		Ref: crm, Kind: credential.KindOAuth2, Integration: "github", Provider: "gh", State: credential.StateNeedsReauth, Reason: "invalid_grant",
		Scopes: []string{"a", "b"}, Generation: 7, TokenType: "Bearer", Username: "u",
		ExpiresAt: noon, RefreshExpiresAt: noon.Add(time.Hour), ExpiryAssumed: true, NextRefreshAt: noon.Add(1), LastRefreshAt: noon.Add(2),
		CreatedAt: noon.Add(3), UpdatedAt: noon.Add(4), Failures: 3,
		Variables: map[string]string{"shop": "acme"}, Facts: map[string]string{"realm_id": "7"}, RequestedScopes: []string{"a", "b", "c"},
	}
}

func (w *world) Token(_ context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error) {
	if err := w.asked(ref, minTTL); err != nil {
		return credential.Token{}, err
	}
	a, err := w.find(ref)
	if err != nil {
		return credential.Token{}, err
	}
	return credential.Token{Kind: credential.KindOAuth2, Secret: credential.NewSecret(canary), Username: "u", TokenType: "Bearer", ExpiresAt: noon, Scopes: []string{"a"}, Generation: a.Generation}, nil
}

func (w *world) ReplicaToken(ctx context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error) {
	t, err := w.Token(ctx, ref, minTTL)
	t.Replica = err == nil
	return t, err
}

func (w *world) Refresh(_ context.Context, ref credential.Ref, stale *uint64) (credential.Account, error) {
	if err := w.asked(ref, stale); err != nil {
		return credential.Account{}, err
	}
	return w.find(ref)
}

func (w *world) Import(_ context.Context, in credential.Import) (credential.Account, bool, error) {
	if err := w.asked(in); err != nil {
		return credential.Account{}, false, err
	}
	a := sample()
	a.Ref = in.Ref
	return a, true, nil
}

func (w *world) Disconnect(_ context.Context, ref credential.Ref) (credential.Account, error) {
	if err := w.asked(ref); err != nil {
		return credential.Account{}, err
	}
	return w.find(ref)
}

func (w *world) NoteHandout(_ context.Context, ref credential.Ref, to credential.Handout) error {
	return errors.Join(w.asked(ref, to), w.noteErr)
}

func (w *world) Account(_ context.Context, ref credential.Ref) (credential.Account, error) {
	if err := w.asked(ref); err != nil {
		return credential.Account{}, err
	}
	return w.find(ref)
}

func (w *world) History(_ context.Context, ref credential.Ref, below uint64, limit int) (credential.History, error) {
	if err := w.asked(ref, below, limit); err != nil {
		return credential.History{}, err
	}
	if _, err := w.find(ref); err != nil {
		return credential.History{}, err
	}
	return credential.History{Next: 4, Lines: []credential.NumberedLine{{Number: 5, Line: credential.Line{
		At: noon, What: credential.WhatRefreshed, Reason: "r", Detail: "d", Generation: 7, Attempt: "at", Node: "n1",
	}}}}, nil
}

func (w *world) Accounts(_ context.Context, q credential.Query) (credential.Page, error) {
	return w.ShardAccounts(context.Background(), -1, q)
}

func (w *world) ShardAccounts(_ context.Context, shard int, q credential.Query) (credential.Page, error) {
	allow := q.Allow
	q.Allow = nil
	if err := w.asked(shard, q); err != nil {
		return credential.Page{}, err
	}
	var page credential.Page
	for _, a := range w.accounts {
		if (q.Tenant == "" || a.Tenant == q.Tenant) && (q.Integration == "" || a.Integration == q.Integration) && (allow == nil || allow(a)) {
			page.Accounts = append(page.Accounts, a)
		}
	}
	page.Next = credential.Ref{Tenant: "z", ID: "z"}
	return page, nil
}

func (w *world) Offer(_ context.Context, entry []byte) (bool, error) {
	return true, w.asked(string(entry))
}

func (w *world) Fate(q credential.FateQuery) credential.Fate {
	_ = w.asked(q)
	return credential.Fate{State: credential.FateAnswered, Entry: []byte(canary), Remaining: 1500 * time.Millisecond}
}

func (w *world) Put(_ context.Context, key string, expect uint64, value []byte) (uint64, error) {
	return 9, w.asked(key, expect, string(value))
}

func (w *world) PutAndTell(_ context.Context, key string, expect uint64, value []byte, events []credential.Event) (uint64, error) {
	return 9, w.asked(key, expect, string(value), events)
}

func (w *world) Emit(_ context.Context, events ...credential.Event) error { return w.asked(events) }

func (w *world) Delete(_ context.Context, key string, expect uint64) error {
	return w.asked(key, expect)
}

func (w *world) Deliveries(_ context.Context, group uint16, query []byte) ([]byte, error) {
	return []byte("page"), w.asked(group, string(query))
}

func (w *world) Replay(_ context.Context, group uint16, replay []byte) ([]byte, error) {
	return []byte("replayed"), w.asked(group, string(replay))
}

func (w *world) Outbox(_ context.Context, group uint16, after credential.EventPos, limit int, wait time.Duration) (rpc.OutboxPage, error) {
	e := credential.Event{ID: "e2", Type: credential.EventAuthError, Ref: credential.Ref{Tenant: "acme", ID: "crm"}, At: noon, Reason: "r", Generation: 7, Integration: "github"}
	return rpc.OutboxPage{First: 2, Last: 9, Events: []credential.StoredEvent{{Pos: 9, Revision: 77, Event: e}}}, w.asked(group, after, limit, wait)
}

func (w *world) Join(_ context.Context, peer string, b []byte) ([]byte, error) {
	return []byte("welcome"), w.asked(peer, string(b))
}

func (w *world) Promise(_ context.Context, peer string, b []byte) ([]byte, error) {
	return []byte("promised"), w.asked(peer, string(b))
}

func (w *world) Release(_ context.Context, peer string, b []byte) ([]byte, error) {
	return []byte("released"), w.asked(peer, string(b))
}

func (w *world) Status(_ context.Context, groups []uint16) ([]rpc.GroupStatus, error) {
	return []rpc.GroupStatus{{Group: 3, Applied: 10, Last: 12, Voters: []string{"n1", "n2"}, Learners: []string{"n3"}, MembersIndex: 8, Leader: "n1", Term: 5}}, w.asked(groups)
}

// key is an API key by its scope.
type key struct {
	tenant       string
	integrations []string         // nil: all
	accounts     []credential.Ref // nil: all
	agent        string
	permissions  []string
}

func (k *key) Can(p string) bool {
	return slices.Contains(k.permissions, p) || slices.Contains(k.permissions, wire.PermAdmin)
}
func (k *key) SeesTenant(tenant string) bool { return k.tenant == wire.All || k.tenant == tenant }
func (k *key) SeesIntegration(id string) bool {
	return k.integrations == nil || slices.Contains(k.integrations, id)
}
func (k *key) SeesAccount(ref credential.Ref) bool {
	return k.accounts == nil || slices.Contains(k.accounts, ref)
}
func (k *key) EveryAccount() bool      { return k.accounts == nil }
func (k *key) Agent() (string, string) { return k.agent, "k1" }
func (k *key) Scope() (string, bool)   { return k.tenant, k.integrations == nil }

// keys are API keys by their text.
type keys map[string]*key

func (k keys) Authenticate(presented string) (rpc.Key, bool) {
	found, ok := k[presented]
	return found, ok
}

var everyKey = keys{
	"admin":  {tenant: wire.All, permissions: []string{wire.PermAdmin}},
	"acme":   {tenant: "acme", permissions: []string{wire.PermTokensRead, wire.PermAccountsRead, wire.PermAccountsWrite}},
	"github": {tenant: "acme", integrations: []string{"github"}, permissions: []string{wire.PermTokensRead, wire.PermAccountsRead, wire.PermAccountsWrite}},
	"agent":  {tenant: "acme", accounts: []credential.Ref{crm}, agent: "bot", permissions: []string{wire.PermTokensRead, wire.PermAccountsRead, wire.PermAccountsWrite}},
	"reader": {tenant: "acme", permissions: []string{wire.PermAccountsRead}},
}

func newWorld() *world {
	w := &world{accounts: map[credential.Ref]credential.Account{}}
	for _, a := range []struct{ tenant, id, integration string }{{"acme", "crm", "github"}, {"acme", "sl", "slack"}, {"globex", "gh", "github"}} {
		s := sample()
		s.Ref, s.Integration = credential.Ref{Tenant: a.tenant, ID: a.id}, a.integration
		w.accounts[s.Ref] = s
	}
	return w
}

func (w *world) services() rpc.Services {
	return rpc.Services{
		Owned: w, Fates: w, KV: w, Founding: w, Status: w, Outboxes: w, Webhooks: w, Routed: w, Keys: everyKey,
		HasIntegration: func(id string) bool { return id == "github" || id == "slack" },
		Leader:         func(credential.Ref) (string, uint64) { return "n3", 42 },
		MetaLeader:     func() (string, uint64) { return "n4", 43 },
	}
}

// request is a request of a service with a key.
func request(apiKey string, r *rpcpb.Request) *rpcpb.Request {
	r.ApiKey = []byte(apiKey)
	return r
}
