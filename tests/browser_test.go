package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/grantd/grantd/tests/browser"
	"github.com/grantd/grantd/wire"
)

// The dashboard in a real browser: browser/dashboard.mjs uses it as people do
// and prints what it saw, which the checks of dashboardSeen judge. With go
// test's -artifacts, the pictures that it takes are kept.

const (
	oddAccount     = "acme.io/Ada+crm@example.com:1_-" // every character that a name may have
	deadAccount    = "acme.io/grace"
	leavingAccount = "beta/leaving"
	hostileWord    = `<img src=//elsewhere.example/x onerror=alert(1)>`
	crowdSize      = 100
)

func TestDashboardInABrowser(t *testing.T) {
	chromium := browser.Find(t, "browser")
	g := startGrantd(t)
	fillDashboard(g)
	tenantKey := g.makeKey(wire.NewKey{Tenant: "acme.io", Permissions: []string{wire.PermAccountsRead}})
	var seen dashboardSeen
	chromium.Run(t, "dashboard.mjs", map[string]string{
		"url": g.base, "executable": chromium.Executable, "adminKey": g.key, "tenantKey": tenantKey,
		"account": oddAccount, "dead": deadAccount, "vanishing": leavingAccount, "html": hostileWord, "pictures": t.ArtifactDir(),
	}, &seen)
	for _, check := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"asks for a key", seen.checkAsks},
		{"says what is wrong with a key", seen.checkRefusals},
		{"shows accounts and integrations in every state", seen.checkLists},
		{"shows the shards when asked to", seen.checkShards},
		{"filters", seen.checkFilters},
		{"shows the history of an account, as text", seen.checkHistory},
		{"refreshes itself under the keyboard", seen.checkRefreshes},
		{"says when the node cannot be reached", seen.checkOffline},
		{"forgets the key when told to", func(t *testing.T) { seen.checkForgotten(t, g.key) }},
		{"shows a tenant's key its tenant only", seen.checkTenant},
		{"fits a phone", seen.checkPhone},
		{"serves keyboards and screen readers, in light and dark", seen.checkAccessible},
		{"asks nobody but its node, and breaks no policy", func(t *testing.T) { seen.checkQuiet(t, g.base) }},
	} {
		t.Run(check.name, check.do)
	}
}

func (g *grantd) makeKey(k wire.NewKey) string {
	g.t.Helper()
	var made wire.CreatedKey
	g.must(http.MethodPost, "/v1/keys", k, &made)
	return made.Secret.Reveal()
}

// fillDashboard makes what there is to see: accounts in every state that they
// get into, two integrations of which one is refused by its provider, and a
// crowd that takes a second page.
func fillDashboard(g *grantd) {
	g.t.Helper()
	tokens := httptest.NewServer(http.HandlerFunc(answerTokens))
	g.t.Cleanup(tokens.Close)
	for id, client := range map[string]string{"crm": "known", "mistyped": "unknown"} {
		g.must(http.MethodPut, "/v1/integrations/"+id, wire.NewIntegration{
			Provider: wire.ProviderCustom, ClientID: client, ClientSecret: "client-secret-of-the-test", Settings: tokenURL(tokens.URL),
		}, nil)
	}
	add := func(name, integration string, c wire.Credentials) {
		tenant, id, _ := strings.Cut(name, "/")
		g.must(http.MethodPost, "/v1/accounts", wire.NewAccount{Tenant: tenant, ID: id, Integration: integration, Credentials: c}, nil)
	}
	oauth2 := func(refreshToken wire.Secret) wire.Credentials {
		hour := int64(3600)
		return wire.Credentials{Type: wire.TypeOAuth2, AccessToken: "access-token-of-the-test", RefreshToken: refreshToken, ExpiresIn: &hour}
	}
	add(oddAccount, "crm", oauth2("good"))
	add(deadAccount, "crm", oauth2("dead"))
	add("beta/gone", "crm", oauth2("good"))
	add(leavingAccount, "crm", oauth2("good"))
	add("beta/waiting", "mistyped", oauth2("good"))
	for i := range crowdSize {
		add(fmt.Sprintf("crowd/%03d", i), "crm", wire.Credentials{Type: wire.TypeAPIKey, APIKey: "api-key-of-the-test"})
	}
	g.must(http.MethodDelete, "/v1/accounts/beta/gone", nil, nil)
	g.must(http.MethodPost, "/v1/accounts/"+oddAccount+"/refresh", nil, nil)
	for _, name := range []string{deadAccount, "beta/waiting"} {
		var no refusal
		if err := g.call(g.t.Context(), http.MethodPost, "/v1/accounts/"+name+"/refresh", nil, nil); !errors.As(err, &no) {
			g.t.Fatalf("refresh of %s: %v, want a refusal", name, err)
		}
	}
	g.eventually(func() error {
		var i wire.Integration
		if err := g.call(g.t.Context(), http.MethodGet, "/v1/integrations/mistyped", nil, &i); err != nil || i.State == wire.IntegrationMisconfigured {
			return err
		}
		return fmt.Errorf("the integration's state is %s", i.State)
	})
}

// answerTokens is a provider's token end point, kind or not by the refresh token.
func answerTokens(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code})
	}
	client, _, _ := r.BasicAuth()
	switch token := r.PostFormValue("refresh_token"); {
	case client != "known":
		refuse(http.StatusUnauthorized, "invalid_client")
	case token == "dead":
		refuse(http.StatusBadRequest, "invalid_grant")
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "another-access-token", "refresh_token": "good", "token_type": "Bearer", "expires_in": 3600})
	}
}
