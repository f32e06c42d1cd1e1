package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	oidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/grantd/grantd/tests/authserver"
	"github.com/grantd/grantd/wire"
)

// mcpServer is a protected resource as the Model Context Protocol wants it: it
// tells where its metadata are, and takes only tokens that were made for it.
type mcpServer struct {
	*httptest.Server
	issuer atomic.Pointer[string]
}

func startMCPServer(t *testing.T) *mcpServer {
	s := &mcpServer{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /meta", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"resource":%q,"authorization_servers":[%q],"scopes_supported":["files:read","files:write"]}`, s.resource(), *s.issuer.Load())
	})
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if err := s.check(r.Context(), token); err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+s.URL+`/meta", scope="files:read"`)
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "the file")
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *mcpServer) resource() string { return s.URL + "/mcp" }

// check verifies signature, issuer, audience and time of a token, and that it is
// for reading, which the server asked for, and no more.
func (s *mcpServer) check(ctx context.Context, token string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	server, err := oidc.NewProvider(oidc.ClientContext(ctx, client), *s.issuer.Load())
	if err != nil {
		return err
	}
	verified, err := server.Verifier(&oidc.Config{ClientID: s.resource()}).Verify(oidc.ClientContext(ctx, client), token)
	if err != nil {
		return err
	}
	var claims struct {
		Scope string `json:"scope"`
	}
	if err := verified.Claims(&claims); err != nil {
		return err
	}
	if !strings.Contains(claims.Scope, "files:read") || strings.Contains(claims.Scope, "files:write") {
		return fmt.Errorf("the token's scope is %q", claims.Scope)
	}
	return nil
}

// mcpWorld is a node, an MCP server and its authorization server.
type mcpWorld struct {
	*grantd
	server *mcpServer
	as     *authserver.Server
	public string // the node's address, as browsers know it
}

// connect has a person connect the account through a link.
func (w *mcpWorld) connect(account string) {
	w.t.Helper()
	var link wire.Link
	w.must(http.MethodPost, "/v1/links", wire.NewLink{Tenant: "acme", Account: account, Integration: "files"}, &link)
	path, ok := strings.CutPrefix(link.URL.Reveal(), w.public)
	if !ok {
		w.t.Fatal("the link is not below the public URL")
	}
	if answer, page := w.browse(path, "text/html", nil); answer.StatusCode != http.StatusOK || !strings.Contains(page, "your 127.0.0.1 account") || !strings.Contains(page, "Acme Assistant") {
		w.t.Errorf("the person is shown %d %s", answer.StatusCode, page)
	}
	answer, _ := w.browse(path, "", nil)
	to, err := url.Parse(answer.Header.Get("Location"))
	if err != nil || answer.StatusCode != http.StatusSeeOther {
		w.t.Fatalf("the link was answered %d", answer.StatusCode)
	}
	back, err := w.as.Consent(w.t.Context(), to.String(), w.public+"/callback")
	if err != nil {
		w.t.Fatal(err)
	}
	if answer, page := w.browse("/callback?"+back.RawQuery, "", answer.Cookies()); answer.StatusCode != http.StatusOK || !strings.Contains(page, "is connected") {
		w.t.Fatalf("the callback was answered %d: %s; the server said %s", answer.StatusCode, page, back.Query().Get("error"))
	}
}

// browse asks the node for a page and follows nothing. accept is what a browser
// says that it takes; empty: it is a script.
func (w *mcpWorld) browse(path, accept string, cookies []*http.Cookie) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.base+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	for _, c := range cookies {
		req.AddCookie(c)
	}
	answer, err := w.http.Transport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer, string(page)
}

// agent is the node, asked with a key that is for one account only.
func (w *mcpWorld) agent(account string) *grantd {
	w.t.Helper()
	var key wire.CreatedKey
	w.must(http.MethodPost, "/v1/keys", wire.NewKey{Tenant: "acme", Accounts: []string{"acme/" + account}, Permissions: []string{wire.PermTokensRead}, Agent: "helpdesk-bot", TTL: "15m"}, &key)
	as := *w.grantd
	as.key = key.Secret.Reveal()
	return &as
}

// useToken gets a token with a key and opens the MCP server with it.
func (w *mcpWorld) useToken(with *grantd, account string) wire.Token {
	w.t.Helper()
	var token wire.Token
	with.must(http.MethodGet, "/v1/accounts/acme/"+account+"/token", nil, &token)
	if err := w.server.check(w.t.Context(), token.AccessToken.Reveal()); err != nil {
		w.t.Errorf("the MCP server does not take the token: %v", err)
	}
	return token
}

func (w *mcpWorld) account(account string) (a wire.Account) {
	w.t.Helper()
	w.must(http.MethodGet, "/v1/accounts/acme/"+account, nil, &a)
	return a
}

func (w *mcpWorld) integration() (in wire.Integration) {
	w.t.Helper()
	w.must(http.MethodGet, "/v1/integrations/files", nil, &in)
	return in
}

// TestMCPServerIsConnectedByItsURLAlone goes all the way: a person connects, an
// agent uses the token, it is refreshed, the authorization server loses all that
// it knew, and the same person brings the same account back.
func TestMCPServerIsConnectedByItsURLAlone(t *testing.T) {
	for _, kind := range []string{wire.MCPClientRegistered, wire.MCPClientDocument} {
		t.Run(kind, func(t *testing.T) {
			w := &mcpWorld{server: startMCPServer(t)}
			o := authserver.Options{AccessTTL: conformanceTTL, Resource: w.server.resource()}
			if kind == wire.MCPClientDocument {
				w.public = "https://grants.example.com"
				w.grantd = startGrantd(t, "GRANTD_HTTP_PUBLIC_URL="+w.public)
				o.ClientDocuments = w.base
			} else {
				w.grantd = startGrantd(t)
				w.public = w.base
			}
			w.as = authserver.Start(t, authserver.OIDCProvider, o)
			issuer := w.as.Metadata.Issuer
			w.server.issuer.Store(&issuer)

			w.must(http.MethodPut, "/v1/integrations/files", wire.NewIntegration{MCPURL: w.server.resource(), DisplayName: "Acme Assistant"}, nil)
			before := w.integration()
			if m := before.MCP; m == nil || m.Client != kind || m.Resource != w.server.resource() || m.AuthorizationServer != issuer || before.ClientID == "" {
				t.Fatalf("made %+v of %+v", before.MCP, before.IntegrationInfo)
			}
			w.connect("ada")

			agent := w.agent("ada")
			first := w.useToken(agent, "ada")
			w.must(http.MethodPost, "/v1/accounts/acme/ada/refresh", wire.RefreshRequest{StaleGeneration: &first.Generation}, nil)
			if second := w.useToken(agent, "ada"); second.Generation != first.Generation+1 || second.AccessToken == first.AccessToken {
				t.Errorf("generation %d after %d", second.Generation, first.Generation)
			}
			var refused refusal
			if err := agent.call(t.Context(), http.MethodGet, "/v1/accounts/acme/bob/token", nil, nil); !errors.As(err, &refused) || refused.status != http.StatusNotFound {
				t.Errorf("another account looks to the agent like this: %v", err)
			}
			var history wire.History
			w.must(http.MethodGet, "/v1/accounts/acme/ada/history", nil, &history)
			if handed := slices.DeleteFunc(history.History, func(l wire.HistoryLine) bool { return l.What != "token_handed_out" }); len(handed) != 2 || !strings.Contains(handed[0].Detail, "helpdesk-bot") {
				t.Errorf("the history tells of the agent %+v", handed)
			}

			w.as.Restart(t) // which forgets clients and grants
			_ = w.call(t.Context(), http.MethodPost, "/v1/accounts/acme/ada/refresh", nil, nil)
			w.eventually(func() error {
				if a := w.account("ada"); a.State != "needs_reauth" || a.Reason != "invalid_grant" {
					return fmt.Errorf("the account is %s: %s", a.State, a.Reason)
				}
				return nil
			})
			after := w.integration()
			if after.State != wire.IntegrationOK || (after.ClientID != before.ClientID) != (kind == wire.MCPClientRegistered) {
				t.Errorf("the integration is %s: %s; its client %s, before %s", after.State, after.Reason, after.ClientID, before.ClientID)
			}
			w.connect("ada")
			if a := w.account("ada"); a.State != "active" {
				t.Errorf("the account is %s: %s", a.State, a.Reason)
			}
			w.useToken(agent, "ada")
		})
	}
}
