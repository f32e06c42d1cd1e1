package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testKey is the API key that the fake server takes.
const testKey = "key-for-tests-only"

// call is a request that the fake server got.
type call struct {
	method, target, body string
}

// fakeServer answers like a node, from canned values.
type fakeServer struct {
	*httptest.Server
	mu    sync.Mutex
	calls []call
}

func newFakeServer(t *testing.T) *fakeServer {
	f := &fakeServer{}
	f.Server = httptest.NewServer(f.handler())
	t.Cleanup(f.Close)
	return f
}

func (f *fakeServer) seen() []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]call(nil), f.calls...)
}

// last is the request that came last.
func (f *fakeServer) last(t *testing.T) call {
	t.Helper()
	seen := f.seen()
	if len(seen) == 0 {
		t.Fatal("the server was not asked")
	}
	return seen[len(seen)-1]
}

func (f *fakeServer) handler() http.Handler {
	mux := http.NewServeMux()
	answer := func(pattern string, status int, v any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { reply(w, status, v) })
	}
	answer("GET /v1/accounts/acme/1", 200, fakeAccount(1))
	answer("POST /v1/links", 201, wire.Link{URL: "https://grants.example.com/connect/secret-link", ExpiresAt: at(60), Account: "acme/1"})
	answer("DELETE /v1/accounts/acme/1", 200, fakeAccount(1))
	answer("POST /v1/accounts/acme/1/refresh", 200, fakeAccount(1))
	answer("POST /v1/accounts", 201, fakeAccount(1))
	answer("GET /v1/accounts/acme/1/token", 200, wire.Token{Type: wire.TypeOAuth2, AccessToken: "at-1", TokenType: "Bearer", ExpiresAt: at(60), Scopes: []string{"read"}, Generation: 7})
	answer("GET /v1/accounts/acme/key/token", 200, wire.Token{Type: wire.TypeAPIKey, APIKey: "ak-1", Generation: 1})
	answer("GET /v1/accounts/acme/basic/token", 200, wire.Token{Type: wire.TypeBasic, Username: "ada", Password: "pw", Generation: 1})
	answer("GET /v1/accounts/acme/dead/token", 409, wire.Problem{Type: "about:blank", Title: "Needs reauth", Status: 409, Code: wire.CodeNeedsReauth, Detail: "The grant is dead.\nAsk \x1b[31mAda.", Reason: "invalid_grant"})
	answer("GET /v1/accounts/acme/1/history", 200, wire.History{History: []wire.HistoryLine{
		{Number: 2, At: at(5), What: "refresh_failed", Reason: "timeout", Detail: "no answer\x1b[2J", Generation: 7, Node: "n1"},
		{Number: 1, At: at(0), What: "created", Generation: 1, Node: "n1"},
	}})
	answer("GET /v1/integrations", 200, wire.IntegrationList{Integrations: []wire.Integration{fakeIntegration()}})
	answer("GET /v1/integrations/demo", 200, fakeIntegration())
	answer("PUT /v1/integrations/demo", 201, fakeIntegration())
	answer("GET /v1/providers", 200, wire.ProviderList{Providers: []wire.Provider{{ID: "github", Name: "GitHub", TokenURL: "https://github.com/login/oauth/access_token"}}})
	answer("PUT /v1/providers/own", 201, wire.Provider{ID: "own", Name: "Own", Origin: "api", Extends: "github"})
	answer("DELETE /v1/providers/own", 204, nil)
	answer("GET /v1/providers/github", 200, wire.Provider{ID: "github", Name: "GitHub", AccessTokenLifetime: 28800})
	hook := wire.Webhook{
		ID: "app", Tenant: wire.All, URL: "https://app.example.com/hooks", Events: []string{"*"}, Integrations: []string{"*"}, OldSecretsUntil: []wire.Time{},
		Reason: "it answered 410 Gone", CreatedAt: at(0), UpdatedAt: at(0),
	}
	answer("GET /v1/webhooks", 200, wire.WebhookList{Webhooks: []wire.Webhook{hook}})
	answer("PUT /v1/webhooks/app", 201, wire.WebhookWithSecret{Webhook: hook, Secret: "whsec_made"})
	answer("POST /v1/webhooks/app/rotate", 200, wire.WebhookWithSecret{Webhook: hook, Secret: "whsec_rotated"})
	answer("POST /v1/webhooks/app/test", 200, wire.WebhookTest{Delivered: true, Status: 202, LatencyMS: 12, Answer: "thanks"})
	answer("GET /v1/webhooks/app/deliveries", 200, wire.DeliveryList{Deliveries: []wire.Delivery{{
		ID: "dlv_1", Event: "e1", Type: "integrated_account:created", Account: "acme/1", Integration: "demo", State: wire.DeliveryParked, Attempts: 19,
		EventAt: at(0), LastAttemptAt: at(60), Error: "no answer in time", LatencyMS: 15000,
	}}})
	answer("POST /v1/webhooks/app/replay", 200, wire.Replayed{Replayed: 3})
	mux.HandleFunc("DELETE /v1/webhooks/app", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	answer("GET /v1/keys", 200, wire.KeyList{Keys: []wire.Key{fakeKey()}})
	answer("POST /v1/keys", 201, wire.CreatedKey{Key: fakeKey(), Secret: "secret-key-1"})
	answer("DELETE /v1/cluster/nodes/n1", 409, wire.Problem{Status: 409, Code: wire.CodeLastNode, Title: "Last node", Detail: "Add a node first."})
	mux.HandleFunc("DELETE /v1/cluster/nodes/n3", f.removeNode)
	answer("DELETE /v1/cluster/nodes/n4", 202, wire.NodeRemoval{ID: "n4", State: wire.NodeLeaving, ShardsLeft: 5})
	answer("GET /v1/cluster", 200, wire.Cluster{
		Nodes:  []wire.Node{{ID: "n1", Addr: "127.0.0.1:8420", State: wire.NodeAlive, ShardsOwned: 1, Version: "v1.2.3"}},
		Shards: []wire.Shard{{ID: 0, Owner: "n1", Term: 3, Replicas: []string{"n1"}}},
	})
	mux.HandleFunc("GET /v1/accounts/acme/later/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "5")
		reply(w, 503, wire.Problem{Status: 503, Code: wire.CodeProviderUnavailable, Detail: "The provider does not answer."})
	})
	mux.HandleFunc("GET /v1/accounts/acme/broken/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "r-1")
		reply(w, 500, wire.Problem{Status: 500, Code: wire.CodeInternal, Detail: "A fault of the server."})
	})
	mux.HandleFunc("DELETE /v1/keys/k1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	mux.HandleFunc("DELETE /v1/integrations/demo", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	mux.HandleFunc("GET /v1/accounts", listAccounts)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 404, wire.Problem{Status: 404, Code: wire.CodeNotFound, Title: "Not found", Detail: "There is no such thing."})
	})
	return f.record(mux)
}

// removeNode lets a node go in three steps, of which one fails on the way.
func (f *fakeServer) removeNode(w http.ResponseWriter, _ *http.Request) {
	asked := 0
	for _, c := range f.seen() {
		asked += strings.Count(c.method+" "+c.target, "DELETE /v1/cluster/nodes/n3")
	}
	switch asked % 4 {
	case 1:
		reply(w, 202, wire.NodeRemoval{ID: "n3", State: wire.NodeLeaving, ShardsLeft: 8})
	case 2:
		reply(w, 503, wire.Problem{Status: 503, Code: wire.CodeNoQuorum, Detail: "An election is under way."})
	case 3:
		reply(w, 202, wire.NodeRemoval{ID: "n3", State: wire.NodeLeaving, ShardsLeft: 3})
	default:
		reply(w, 200, wire.NodeRemoval{ID: "n3", State: wire.NodeRemoved})
	}
}

// record keeps each request and refuses those without the key.
func (f *fakeServer) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.calls = append(f.calls, call{r.Method, r.URL.String(), string(body)})
		f.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+testKey {
			reply(w, 401, wire.Problem{Status: 401, Code: wire.CodeUnauthorized, Title: "Unauthorized", Detail: "The API key is not valid."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// listAccounts has five accounts, and pages of at most two.
func listAccounts(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	list := wire.AccountList{Accounts: []wire.Account{}}
	for i := from; i < 5 && len(list.Accounts) < min(2, limit); i++ {
		list.Accounts = append(list.Accounts, fakeAccount(i+1))
	}
	if next := from + len(list.Accounts); next < 5 {
		list.NextCursor = strconv.Itoa(next)
	}
	reply(w, 200, list)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	if status >= 400 {
		w.Header().Set("Content-Type", wire.ProblemType)
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func at(seconds int) wire.Time {
	return wire.At(time.Date(2026, 1, 2, 3, 4, seconds, 0, time.UTC))
}

func fakeAccount(i int) wire.Account {
	return wire.Account{
		ID: strconv.Itoa(i), Tenant: "acme", Type: wire.TypeOAuth2, Integration: "demo", Provider: "custom",
		State: wire.StateActive, Scopes: []string{"read", "write"}, Generation: 7,
		RequestedScopes: []string{"read", "write", "admin"}, MissingScopes: []string{"admin"}, Variables: map[string]string{"subdomain": "acme"}, Facts: map[string]string{},
		ExpiresAt: at(60), NextRefreshAt: at(30), CreatedAt: at(0), UpdatedAt: at(1),
	}
}

func fakeIntegration() wire.Integration {
	return wire.Integration{
		IntegrationInfo: wire.IntegrationInfo{ID: "demo", Provider: "custom", ClientID: "c1", ClientSecretSet: true, Scopes: []string{"read"}, State: wire.IntegrationOK, CreatedAt: at(0), UpdatedAt: at(1)},
		Settings:        map[string]json.RawMessage{"token_url": json.RawMessage(`"http://127.0.0.1:8421/token"`)},
	}
}

func fakeKey() wire.Key {
	return wire.Key{ID: "k1", Name: "billing", Tenant: "acme", Integrations: []string{wire.All}, Permissions: []string{wire.PermTokensRead}, CreatedAt: at(0)}
}

// result is what a command left behind.
type result struct {
	code           int
	stdout, stderr string
}

// runWith runs a command with these variables and this standard input.
func runWith(environ []string, stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), args, Env{
		Program: "grantd", Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr, Environ: environ,
	})
	return result{code, stdout.String(), stderr.String()}
}

// against runs a command against the fake server.
func (f *fakeServer) against(stdin string, args ...string) result {
	return runWith([]string{envAddr + "=" + f.URL, envKey + "=" + testKey}, stdin, args...)
}

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}
