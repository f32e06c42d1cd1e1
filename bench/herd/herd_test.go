package herd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/bench/herd"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/bench/strict/stricttest"
	"github.com/grantd/grantd/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "the-admin-key"

// provider serves a strict provider until the test ends.
func provider(t testing.TB) (*strict.Provider, string) {
	t.Helper()
	return stricttest.Serve(t, strict.Options{})
}

// fakeNode does what the herd needs of a node: with coalesce each account is
// refreshed once, without every caller refreshes with the token it was given.
type fakeNode struct {
	coalesce bool
	refuse   atomic.Bool // answer token requests with a problem
	stuck    chan struct{}
	client   *http.Client

	mu           sync.Mutex
	integrations map[string]wire.NewIntegration
	accounts     map[string]*fakeAccount
	deleted      int
}

type fakeAccount struct {
	once        sync.Once
	integration string
	refresh     string
	access      wire.Secret
}

func node(t testing.TB, coalesce bool) (*fakeNode, string) {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	n := &fakeNode{coalesce: coalesce, client: &http.Client{Transport: tr}, integrations: map[string]wire.NewIntegration{}, accounts: map[string]*fakeAccount{}}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/integrations/{id}", n.putIntegration)
	mux.HandleFunc("DELETE /v1/integrations/{id}", n.deleteIntegration)
	mux.HandleFunc("POST /v1/accounts", n.create)
	mux.HandleFunc("DELETE /v1/accounts/{tenant}/{id}", n.disconnect)
	mux.HandleFunc("GET /v1/accounts/{tenant}/{id}/token", n.token)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+key {
			problem(w, 401, "unauthorized")
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		srv.Close()
		tr.CloseIdleConnections()
	})
	return n, srv.URL
}

func problem(w http.ResponseWriter, status int, code wire.Code) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(wire.Problem{Status: status, Code: code, Detail: "for a test"})
}

func (n *fakeNode) putIntegration(w http.ResponseWriter, r *http.Request) {
	var in wire.NewIntegration
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Provider != "custom" || in.ClientSecret == "" {
		problem(w, 400, "invalid_request")
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.integrations[r.PathValue("id")] = in
}

func (n *fakeNode) deleteIntegration(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.accounts) > 0 {
		problem(w, 409, "integration_in_use")
		return
	}
	delete(n.integrations, r.PathValue("id"))
	w.WriteHeader(204)
}

func (n *fakeNode) create(w http.ResponseWriter, r *http.Request) {
	var in wire.NewAccount
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Credentials.ExpiresAt.After(time.Now()) {
		problem(w, 400, "invalid_request")
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.accounts[in.Tenant+"/"+in.ID] = &fakeAccount{integration: in.Integration, refresh: in.Credentials.RefreshToken.Reveal()}
	w.WriteHeader(201)
}

func (n *fakeNode) disconnect(_ http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.accounts, r.PathValue("tenant")+"/"+r.PathValue("id"))
	n.deleted++
}

func (n *fakeNode) token(w http.ResponseWriter, r *http.Request) {
	if n.stuck != nil {
		select {
		case <-n.stuck:
		case <-r.Context().Done():
			return
		}
	}
	if n.refuse.Load() {
		problem(w, 503, wire.CodeNoQuorum)
		return
	}
	n.mu.Lock()
	a := n.accounts[r.PathValue("tenant")+"/"+r.PathValue("id")]
	in := n.integrations[a.integration]
	n.mu.Unlock()
	access := wire.Secret("")
	if n.coalesce {
		a.once.Do(func() { a.access = n.refresh(in, a.refresh) })
		access = a.access
	} else {
		access = n.refresh(in, a.refresh)
	}
	if access == "" {
		problem(w, 409, wire.CodeNeedsReauth)
		return
	}
	_ = json.NewEncoder(w).Encode(wire.Token{Type: "oauth2", AccessToken: access, Generation: 2})
}

// refresh asks the provider and returns the access token, or nothing.
func (n *fakeNode) refresh(in wire.NewIntegration, token string) wire.Secret {
	var tokenURL string
	if json.Unmarshal(in.Settings["token_url"], &tokenURL) != nil {
		return ""
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return ""
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(in.ClientID, in.ClientSecret.Reveal())
	res, err := n.client.Do(req)
	if err != nil {
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	var got struct {
		AccessToken wire.Secret `json:"access_token"`
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || json.Unmarshal(body, &got) != nil {
		return ""
	}
	return got.AccessToken
}

func TestHerdOfAGoodNode(t *testing.T) {
	for _, tc := range []struct{ callers, accounts, connections int }{{300, 1, 0}, {200, 50, 0}, {500, 3, 20}} {
		t.Run(fmt.Sprintf("%d callers, %d accounts", tc.callers, tc.accounts), func(t *testing.T) {
			p, providerAddr := provider(t)
			n, nodeAddr := node(t, true)
			var mu sync.Mutex
			last := map[herd.Phase]herd.Progress{}
			res, err := herd.Run(context.Background(), herd.Config{
				Addr: nodeAddr, Key: key, Provider: providerAddr, Callers: tc.callers, Accounts: tc.accounts, Connections: tc.connections,
				ProviderDelay: 50 * time.Millisecond,
				Progress: func(pr herd.Progress) {
					mu.Lock()
					defer mu.Unlock()
					last[pr.Phase] = pr
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if res.Callers != tc.callers || res.Accounts != tc.accounts || res.ProviderRequests != tc.accounts || res.Replays != 0 || res.Failures != 0 {
				t.Fatalf("measured %+v", res)
			}
			if w := res.Wait; w.P50 < 50 || w.P99 < w.P50 || w.Max < w.P99 || res.Took < 50*time.Millisecond {
				t.Fatalf("waits %+v with a provider that takes 50 ms", w)
			}
			for phase, total := range map[herd.Phase]int{
				herd.PhaseConnect: max(tc.connections, tc.callers*btoi(tc.connections == 0)), herd.PhaseImport: tc.accounts,
				herd.PhaseHerd: tc.callers, herd.PhaseCheck: tc.accounts, herd.PhaseCleanup: tc.accounts,
			} {
				if got := last[phase]; got.Done != total || got.Total != total {
					t.Errorf("the phase %s ended at %+v, want %d", phase, got, total)
				}
			}
			wantClean(t, n, p)
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// wantClean fails if the run left something behind.
func wantClean(t *testing.T, n *fakeNode, p *strict.Provider) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.accounts) != 0 || len(n.integrations) != 0 || len(p.Faults()) != 0 {
		t.Errorf("left behind: %d accounts, %d integrations, %d faults", len(n.accounts), len(n.integrations), len(p.Faults()))
	}
}

func TestHerdUncoversANodeThatDoesNotCoalesce(t *testing.T) {
	p, providerAddr := provider(t)
	n, nodeAddr := node(t, false)
	res, err := herd.Run(context.Background(), herd.Config{Addr: nodeAddr, Key: key, Provider: providerAddr, Callers: 50, ProviderDelay: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	// One wins and the other 49 are replays, which kill the winner's token too.
	if res.ProviderRequests != 50 || res.Replays != 49 || res.Failures != 50 || res.Reasons["needs_reauth"] != 49 || res.Reasons["dead_token"] != 1 {
		t.Fatalf("measured %+v, %v", res, res.Reasons)
	}
	wantClean(t, n, p)
}

func TestHerdCountsRefusals(t *testing.T) {
	p, providerAddr := provider(t)
	n, nodeAddr := node(t, true)
	n.refuse.Store(true)
	res, err := herd.Run(context.Background(), herd.Config{Addr: nodeAddr, Key: key, Provider: providerAddr, Callers: 20, ProviderDelay: -1})
	if err != nil {
		t.Fatal(err)
	}
	if res.Failures != 20 || res.Reasons["no_quorum"] != 20 || res.ProviderRequests != 0 {
		t.Fatalf("measured %+v, %v", res, res.Reasons)
	}
	if s := res.String(); !strings.Contains(s, "no_quorum") {
		t.Fatalf("the table does not say why:\n%s", s)
	}
	wantClean(t, n, p)
}

func TestHerdEndsInTimeAndCleansUp(t *testing.T) {
	p, providerAddr := provider(t)
	n, nodeAddr := node(t, true)
	n.stuck = make(chan struct{})
	res, err := herd.Run(context.Background(), herd.Config{Addr: nodeAddr, Key: key, Provider: providerAddr, Callers: 20, ProviderDelay: -1, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if res.Failures != 20 || res.Reasons["timeout"] != 20 {
		t.Fatalf("measured %+v, %v", res, res.Reasons)
	}
	wantClean(t, n, p)
}

func TestHerdCleansUpWhenCancelled(t *testing.T) {
	p, providerAddr := provider(t)
	n, nodeAddr := node(t, true)
	n.stuck = make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	_, err := herd.Run(ctx, herd.Config{Addr: nodeAddr, Key: key, Provider: providerAddr, Callers: 20, Progress: func(pr herd.Progress) {
		if pr.Phase == herd.PhaseHerd {
			cancel()
		}
	}})
	cancel()
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("ended with %v", err)
	}
	wantClean(t, n, p)
}

func TestHerdSaysWhatIsWrong(t *testing.T) {
	_, providerAddr := provider(t)
	_, nodeAddr := node(t, true)
	nobody := "http://127.0.0.1:1"
	for name, tc := range map[string]struct {
		c    herd.Config
		want string
	}{
		"no provider": {herd.Config{Addr: nodeAddr, Key: key, Provider: nobody}, "is it running"},
		"no node":     {herd.Config{Addr: nobody, Key: key, Provider: providerAddr}, "register the provider with the node"},
		"wrong key":   {herd.Config{Addr: nodeAddr, Key: "wrong-key", Provider: providerAddr}, "unauthorized"},
	} {
		_, err := herd.Run(context.Background(), tc.c)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "-key") {
			t.Errorf("%s: %v; want something about %q, and no key", name, err, tc.want)
		}
	}
	for name, c := range map[string]herd.Config{
		"nothing":           {},
		"no key":            {Addr: nodeAddr, Provider: providerAddr},
		"address":           {Addr: "127.0.0.1:8420", Key: key, Provider: providerAddr},
		"callers":           {Addr: nodeAddr, Key: key, Provider: providerAddr, Callers: herd.MaxCallers + 1},
		"accounts":          {Addr: nodeAddr, Key: key, Provider: providerAddr, Callers: 5, Accounts: 6},
		"connections":       {Addr: nodeAddr, Key: key, Provider: providerAddr, Connections: -1},
		"slower than timed": {Addr: nodeAddr, Key: key, Provider: providerAddr, ProviderDelay: time.Hour},
	} {
		if _, err := herd.Run(context.Background(), c); !errors.Is(err, herd.ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
	}
}

func TestBaselineAsksAsTheHerdDoes(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, `{"type":"oauth2","access_token":"x"}`)
	}))
	defer srv.Close()
	w, err := herd.Baseline(context.Background(), srv.URL, 200, 100)
	if err != nil || asked.Load() != 200 || w.Max <= 0 || w.P50 > w.Max {
		t.Fatalf("%d asked, waits %+v, %v", asked.Load(), w, err)
	}
	if _, err := herd.Baseline(context.Background(), srv.URL, 0, 1); !errors.Is(err, herd.ErrConfig) {
		t.Fatalf("no callers: %v", err)
	}
	if _, err := herd.Baseline(context.Background(), "http://127.0.0.1:1", 1, 1); err == nil {
		t.Fatal("nobody listens there")
	}
}
