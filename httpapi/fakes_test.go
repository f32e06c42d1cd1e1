package httpapi_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/feed"
	"github.com/grantd/grantd/feed/feedtest"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/wire"
	"github.com/prometheus/client_golang/prometheus"
)

// Keys of the world; their scopes are in newWorld.
const (
	adminKey   = "gk_admin"
	acmeKey    = "gk_acme"     // tenant acme, reads and writes, no admin
	globexKey  = "gk_globex"   // tenant globex
	readerKey  = "gk_reader"   // every tenant, tokens:read only
	githubKey  = "gk_github"   // tenant acme, integration github only
	acmeBoss   = "gk_acmeboss" // tenant acme, admin
	boundKey   = "gk_bound"    // all tenants, account acme/gh, admin
	agentKey   = "gk_agent"    // tenant acme, account gh, of agent bot
	canary     = "canary-s3cr3t-value"
	acmeGitHub = "/v1/accounts/acme/gh"
)

// world is an API over things in memory.
type world struct {
	*fakeAccounts
	*fakeIntegrations
	*fakeKeys
	*fakeConnect
	hooks    *fakeWebhooks
	events   *feedtest.World
	feed     *feed.Feed
	handler  http.Handler
	log      *logBuffer
	notReady error
	panics   any
	// shardsLeft is how many shards node n2 holds, and has moved one by one as
	// often as it is asked to go.
	shardsLeft int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		fakeAccounts:     &fakeAccounts{records: map[credential.Ref]*record{}},
		fakeIntegrations: &fakeIntegrations{byID: map[string]wire.Integration{}},
		fakeKeys:         &fakeKeys{byHash: map[[32]byte]*httpapi.Key{}},
		fakeConnect:      &fakeConnect{public: "https://grants.example.com"},
		hooks:            &fakeWebhooks{byName: map[string]wire.Webhook{}},
		log:              &logBuffer{},
		shardsLeft:       2,
	}
	all := []string{wire.PermTokensRead, wire.PermAccountsRead, wire.PermAccountsWrite}
	w.add(adminKey, httpapi.Key{ID: "admin", Tenant: wire.All, Permissions: []string{wire.PermAdmin}})
	w.add(acmeKey, httpapi.Key{ID: "acme", Tenant: "acme", Permissions: all})
	w.add(globexKey, httpapi.Key{ID: "globex", Tenant: "globex", Permissions: all})
	w.add(readerKey, httpapi.Key{ID: "reader", Tenant: wire.All, Permissions: []string{wire.PermTokensRead}})
	w.add(githubKey, httpapi.Key{ID: "github", Tenant: "acme", Integrations: []string{"github"}, Permissions: all})
	w.add(agentKey, httpapi.Key{ID: "k1", Tenant: "acme", Accounts: []credential.Ref{{Tenant: "acme", ID: "gh"}}, Agent: "bot", Permissions: all})
	w.add(boundKey, httpapi.Key{ID: "bound", Tenant: wire.All, Accounts: []credential.Ref{{Tenant: "acme", ID: "gh"}}, Permissions: []string{wire.PermAdmin}})
	w.add(acmeBoss, httpapi.Key{ID: "acmeboss", Tenant: "acme", Permissions: []string{wire.PermAdmin}})
	for _, id := range []string{"github", "slack"} {
		w.byID[id] = wire.Integration{IntegrationInfo: wire.IntegrationInfo{ID: id, Provider: id, ClientID: "c-" + id, State: wire.IntegrationOK}}
	}
	w.seed("acme", "gh", "github")
	w.seed("acme", "sl", "slack")
	w.seed("globex", "gh", "github")
	w.events = feedtest.NewWorld(3)
	w.feed = feed.New(feed.Config{
		Source: w.events, Groups: 3, Sealer: feedtest.Sealer{Word: "word"}, Logger: slog.New(slog.DiscardHandler), MaxPerReader: 3, MaxStreams: 5,
	})
	t.Cleanup(w.feed.Close)
	w.handler = w.new(prometheus.NewRegistry())
	return w
}

func (w *world) new(reg prometheus.Registerer) http.Handler {
	return httpapi.New(httpapi.Deps{
		Accounts: w.fakeAccounts, Integrations: w.fakeIntegrations, Keys: w.fakeKeys, Providers: &catalogue{}, Events: w.feed, Connect: w.fakeConnect, Webhooks: w.hooks,
		Cluster: func(context.Context) (wire.Cluster, error) {
			if w.panics != nil {
				panic(w.panics)
			}
			return wire.Cluster{
				Nodes:  []wire.Node{{ID: "n1", Addr: "127.0.0.1:1", State: wire.NodeAlive, ShardsOwned: 1, Version: "v1"}},
				Shards: []wire.Shard{{ID: 0, Owner: "n1", Term: 2, Replicas: []string{"n1"}}},
			}, nil
		},
		RemoveNode: func(_ context.Context, id string) (wire.NodeRemoval, error) {
			switch id {
			case "n1":
				return wire.NodeRemoval{}, fmt.Errorf("node n1: %w", httpapi.ErrLastNode)
			case "n2":
				w.shardsLeft--
				if w.shardsLeft < 0 {
					return wire.NodeRemoval{ID: id, State: wire.NodeRemoved}, nil
				}
				return wire.NodeRemoval{ID: id, State: wire.NodeLeaving, ShardsLeft: w.shardsLeft}, nil
			}
			if w.fail != nil {
				return wire.NodeRemoval{}, w.fail
			}
			return wire.NodeRemoval{}, credential.ErrNotFound
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "# metrics\n") }),
		Ready:   func(context.Context) error { return w.notReady },
	}, httpapi.Options{Logger: slog.New(httpapi.LogHandler(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))), Registerer: reg})
}

// call sends a request and returns its answer.
func (w *world) call(method, path, key, body string, headers ...string) *httptest.ResponseRecorder {
	var r *http.Request
	if body == "" {
		r = httptest.NewRequest(method, path, nil)
	} else {
		r = httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// logBuffer collects log lines of several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type record struct {
	credential.Account
	secret credential.Secret
	lines  []credential.NumberedLine
}

// fakeAccounts answers without providers. fail, if set, answers in place of
// everything.
type fakeAccounts struct {
	mu      sync.Mutex
	records map[credential.Ref]*record
	fail    error
	minTTL  time.Duration
	stale   *uint64
	last    credential.Import
	noteErr error    // that NoteHandout fails with
	noted   []string // the handouts
}

func (f *fakeAccounts) seed(tenant, id, integration string) {
	_, _, err := f.Import(context.Background(), credential.Import{
		Ref: credential.Ref{Tenant: tenant, ID: id}, Integration: integration, Kind: credential.KindOAuth2,
		Secret: credential.NewSecret(canary), RefreshToken: credential.NewSecret("r-" + canary), Scopes: []string{"read"},
		ExpiresAt: time.Now().Add(time.Hour),
	})
	if err != nil {
		panic(err)
	}
}

func (f *fakeAccounts) get(ref credential.Ref) (*record, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	r := f.records[ref]
	if r == nil {
		return nil, fmt.Errorf("account %s: %w", ref, credential.ErrNotFound)
	}
	return r, nil
}

func (f *fakeAccounts) Token(_ context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.get(ref)
	if err != nil {
		return credential.Token{}, err
	}
	f.minTTL = minTTL
	switch r.State {
	case credential.StateNeedsReauth:
		return credential.Token{}, &credential.Unavailable{Err: credential.ErrNeedsReauth, Reason: r.Reason}
	case credential.StateDisconnected:
		return credential.Token{}, credential.ErrDisconnected
	}
	return credential.Token{Kind: r.Kind, Secret: r.secret, Username: r.Username, TokenType: cmp.Or(r.TokenType, "Bearer"),
		ExpiresAt: r.ExpiresAt, Scopes: r.Scopes, Generation: r.Generation}, nil
}

func (f *fakeAccounts) Refresh(_ context.Context, ref credential.Ref, stale *uint64) (credential.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.get(ref)
	if err != nil {
		return credential.Account{}, err
	}
	if f.stale = stale; stale == nil || *stale == r.Generation {
		r.Generation++
	}
	return r.Account, nil
}

func (f *fakeAccounts) Import(_ context.Context, in credential.Import) (credential.Account, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return credential.Account{}, false, f.fail
	}
	f.last = in
	r, found := f.records[in.Ref]
	if found && r.State == credential.StateActive {
		return credential.Account{}, false, credential.ErrExists
	}
	now := time.Now()
	r = &record{secret: in.Secret, Account: credential.Account{
		Ref: in.Ref, Kind: in.Kind, Integration: in.Integration, Provider: in.Integration, State: credential.StateActive,
		Scopes: in.Scopes, Username: in.Username, Generation: 1, ExpiresAt: in.ExpiresAt, CreatedAt: now, UpdatedAt: now,
	}}
	for i := range uint64(3) {
		r.lines = append(r.lines, credential.NumberedLine{Number: 3 - i, Line: credential.Line{At: now, What: credential.WhatImported, Generation: 1, Node: "n1"}})
	}
	f.records[in.Ref] = r
	return r.Account, !found, nil
}

func (f *fakeAccounts) Disconnect(_ context.Context, ref credential.Ref) (credential.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.get(ref)
	if err != nil {
		return credential.Account{}, err
	}
	r.State = credential.StateDisconnected
	return r.Account, nil
}

func (f *fakeAccounts) NoteHandout(_ context.Context, ref credential.Ref, to credential.Handout) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.noteErr == nil {
		f.noted = append(f.noted, ref.String()+" "+to.Agent+" "+to.Key)
	}
	return f.noteErr
}

func (f *fakeAccounts) Account(_ context.Context, ref credential.Ref) (credential.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.get(ref)
	if err != nil {
		return credential.Account{}, err
	}
	return r.Account, nil
}

func (f *fakeAccounts) Accounts(_ context.Context, q credential.Query) (credential.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var p credential.Page
	if f.fail != nil {
		return p, f.fail
	}
	refs := make([]credential.Ref, 0, len(f.records))
	for ref := range f.records {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, compareRefs)
	for _, ref := range refs {
		a := f.records[ref].Account
		if compareRefs(ref, q.After) <= 0 || q.Tenant != "" && a.Tenant != q.Tenant || q.State != "" && a.State != q.State ||
			q.Integration != "" && a.Integration != q.Integration || q.Allow != nil && !q.Allow(a) {
			continue
		}
		if len(p.Accounts) == q.Limit {
			p.Next = p.Accounts[q.Limit-1].Ref
			return p, nil
		}
		p.Accounts = append(p.Accounts, a)
	}
	return p, nil
}

func compareRefs(a, b credential.Ref) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.ID, b.ID))
}

func (f *fakeAccounts) History(_ context.Context, ref credential.Ref, below uint64, limit int) (credential.History, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.get(ref)
	if err != nil {
		return credential.History{}, err
	}
	var h credential.History
	for _, l := range r.lines {
		if below != 0 && l.Number >= below {
			continue
		}
		if len(h.Lines) == limit {
			h.Next = h.Lines[limit-1].Number
			break
		}
		h.Lines = append(h.Lines, l)
	}
	return h, nil
}

type fakeIntegrations struct {
	mu   sync.Mutex
	byID map[string]wire.Integration
}

func (f *fakeIntegrations) Prove(_ context.Context, id string, token credential.Secret, p httpapi.Proof) (credential.Secret, error) {
	return credential.NewSecret(strings.Join([]string{"proof", id, token.Reveal(), p.Method, p.URL, p.Nonce}, " ")), nil
}

func (f *fakeIntegrations) PublicKeys(ctx context.Context, id string) ([]byte, error) {
	if _, err := f.Integration(ctx, id); err != nil {
		return nil, err
	}
	return []byte(`{"keys":[]}`), nil
}

func (f *fakeIntegrations) ClientDocument(ctx context.Context, id string) ([]byte, error) {
	if _, err := f.Integration(ctx, id); err != nil {
		return nil, err
	}
	return []byte(`{"client_id":"https://grants.example.com/oauth/client/` + id + `","client_name":"Acme","redirect_uris":[],"token_endpoint_auth_method":"none"}`), nil
}

func (f *fakeIntegrations) PutIntegration(_ context.Context, id string, n wire.NewIntegration) (wire.Integration, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, bad := n.Settings["token_ulr"]; bad {
		return wire.Integration{}, false, fmt.Errorf("%w: unknown field \"token_ulr\"; did you mean token_url?", credential.ErrInvalid)
	}
	if strings.Contains(n.MCPURL, "down") {
		return wire.Integration{}, false, &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "no answer"}
	}
	_, found := f.byID[id]
	i := wire.Integration{Settings: n.Settings, IntegrationInfo: wire.IntegrationInfo{
		ID: id, Provider: n.Provider, ClientID: n.ClientID, ClientSecretSet: n.ClientSecret != "", Scopes: n.Scopes,
		RedirectURI: n.RedirectURI, State: wire.IntegrationOK, CreatedAt: wire.At(time.Now()), UpdatedAt: wire.At(time.Now())}}
	if n.MCPURL != "" {
		i.Provider, i.ClientID = wire.ProviderCustom, "made"
		i.MCP = &wire.MCPServer{URL: n.MCPURL, Resource: n.MCPURL, AuthorizationServer: "https://as.example.com", Client: wire.MCPClientRegistered, LookedAt: wire.At(time.Now())}
	}
	f.byID[id] = i
	return i, !found, nil
}

func (f *fakeIntegrations) Integration(_ context.Context, id string) (wire.Integration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.byID[id]
	if !ok {
		return i, credential.ErrNotFound
	}
	return i, nil
}

func (f *fakeIntegrations) Integrations(context.Context) ([]wire.Integration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []wire.Integration
	for _, i := range f.byID {
		all = append(all, i)
	}
	return all, nil
}

func (f *fakeIntegrations) DeleteIntegration(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byID, id)
	return nil
}

type fakeKeys struct {
	mu     sync.RWMutex
	byHash map[[32]byte]*httpapi.Key
}

func (f *fakeKeys) add(presented string, k httpapi.Key) *httpapi.Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byHash[sha256.Sum256([]byte(presented))] = &k
	return &k
}

func (f *fakeKeys) Authenticate(presented string) (*httpapi.Key, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	k, ok := f.byHash[sha256.Sum256([]byte(presented))]
	return k, ok
}

func (f *fakeKeys) CreateKey(_ context.Context, k httpapi.Key) (*httpapi.Key, credential.Secret, error) {
	k.ID, k.CreatedAt = "made", time.Now()
	return f.add("gk_made", k), credential.NewSecret("gk_made"), nil
}

func (f *fakeKeys) Keys(context.Context) ([]*httpapi.Key, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var all []*httpapi.Key
	for _, k := range f.byHash {
		all = append(all, k)
	}
	return all, nil
}

func (f *fakeKeys) DeleteKey(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for h, k := range f.byHash {
		if k.ID == id {
			delete(f.byHash, h)
			return nil
		}
	}
	return credential.ErrNotFound
}

// catalogue knows two providers, and those that were put.
type catalogue struct {
	mu  sync.Mutex
	own map[string]wire.Provider
}

func (c *catalogue) Providers() []wire.Provider {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := []wire.Provider{
		{ID: "github", Name: "GitHub", Origin: "builtin", TokenURL: "https://github.com/login/oauth/access_token", RateLimit: &wire.RateLimit{RequestsPerSecond: 5}},
		{ID: "slack", Name: "Slack", Origin: "builtin", RefreshRotation: "rotating", TerminalErrors: []string{"token_revoked"}},
	}
	for _, id := range slices.Sorted(maps.Keys(c.own)) {
		list = append(list, c.own[id])
	}
	return list
}

func (c *catalogue) Provider(id string) (wire.Provider, bool) {
	for _, p := range c.Providers() {
		if p.ID == id {
			return p, true
		}
	}
	return wire.Provider{}, false
}

func (c *catalogue) PutProvider(_ context.Context, id string, fields map[string]json.RawMessage) (wire.Provider, bool, error) {
	var name string
	if json.Unmarshal(fields["name"], &name) != nil || fields["origin"] != nil {
		return wire.Provider{}, false, credential.ErrInvalid
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, had := c.own[id]
	if c.own == nil {
		c.own = map[string]wire.Provider{}
	}
	c.own[id] = wire.Provider{ID: id, Name: name, Origin: "api"}
	return c.own[id], !had, nil
}

func (c *catalogue) DeleteProvider(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, had := c.own[id]; !had {
		return credential.ErrNotFound
	}
	delete(c.own, id)
	return nil
}

var errSomething = errors.New("something broke")
