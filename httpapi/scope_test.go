package httpapi_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/grantd/grantd/wire"
)

// codeOf reads the code of a problem document; empty for other answers.
func codeOf(t *testing.T, body string) wire.Code {
	t.Helper()
	var p wire.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil && body != "" {
		t.Fatalf("%q is not JSON: %v", body, err)
	}
	return p.Code
}

const newGitHub = `{"tenant":"TENANT","id":"new","integration":"INTEGRATION","credentials":{"type":"oauth2","refresh_token":"` + canary + `"}}`

func newAccountBody(tenant, integration string) string {
	return strings.NewReplacer("TENANT", tenant, "INTEGRATION", integration).Replace(newGitHub)
}

// TestOutOfScopeHasTheBytesOfAbsent asks with a limited key for things that
// exist outside its scope and for things that do not exist at all.
func TestOutOfScopeHasTheBytesOfAbsent(t *testing.T) {
	for _, c := range []struct {
		name, key, method, path, absent, body, absentBody string
	}{
		{name: "token of another tenant", key: acmeKey, method: "GET", path: "/v1/accounts/globex/gh/token", absent: "/v1/accounts/globex/none/token"},
		{name: "account of another tenant", key: acmeKey, method: "GET", path: "/v1/accounts/globex/gh", absent: "/v1/accounts/acme/none"},
		{name: "history", key: acmeKey, method: "GET", path: "/v1/accounts/globex/gh/history", absent: "/v1/accounts/acme/none/history"},
		{name: "refresh", key: acmeKey, method: "POST", path: "/v1/accounts/globex/gh/refresh", absent: "/v1/accounts/acme/none/refresh"},
		{name: "disconnect", key: acmeKey, method: "DELETE", path: "/v1/accounts/globex/gh", absent: "/v1/accounts/acme/none"},
		{name: "token of another integration", key: githubKey, method: "GET", path: "/v1/accounts/acme/sl/token", absent: "/v1/accounts/acme/none/token"},
		{name: "account of another integration", key: githubKey, method: "GET", path: "/v1/accounts/acme/sl", absent: "/v1/accounts/acme/none"},
		{name: "history of another integration", key: githubKey, method: "GET", path: "/v1/accounts/acme/sl/history", absent: "/v1/accounts/acme/none/history"},
		{name: "refresh of another integration", key: githubKey, method: "POST", path: "/v1/accounts/acme/sl/refresh", absent: "/v1/accounts/acme/none/refresh"},
		{name: "disconnect of another integration", key: githubKey, method: "DELETE", path: "/v1/accounts/acme/sl", absent: "/v1/accounts/acme/none"},
		{name: "token of another account", key: agentKey, method: "GET", path: "/v1/accounts/acme/sl/token", absent: "/v1/accounts/acme/none/token"},
		{name: "another account", key: agentKey, method: "GET", path: "/v1/accounts/acme/sl", absent: "/v1/accounts/acme/none"},
		{name: "refresh of another account", key: agentKey, method: "POST", path: "/v1/accounts/acme/sl/refresh", absent: "/v1/accounts/acme/none/refresh"},
		{name: "history of another account", key: agentKey, method: "GET", path: "/v1/accounts/acme/sl/history", absent: "/v1/accounts/acme/none/history"},
		{name: "disconnect of another account", key: agentKey, method: "DELETE", path: "/v1/accounts/acme/sl", absent: "/v1/accounts/acme/none"},
		{name: "link to another account", key: boundKey, method: "POST", path: "/v1/links", body: `{"tenant":"acme","account":"sl","integration":"slack"}`,
			absent: "/v1/links", absentBody: `{"tenant":"acme","account":"gh","integration":"none"}`},
		{name: "key beside the account seen", key: boundKey, method: "DELETE", path: "/v1/keys/acme", absent: "/v1/keys/none"},
		{name: "new account beside the one seen", key: agentKey, method: "POST", path: "/v1/accounts", body: newAccountBody("acme", "github"),
			absent: "/v1/accounts", absentBody: newAccountBody("acme", "none")},
		{name: "another integration", key: githubKey, method: "GET", path: "/v1/integrations/slack", absent: "/v1/integrations/none"},
		{name: "list of another tenant", key: acmeKey, method: "GET", path: "/v1/accounts?tenant=globex", absent: "/v1/accounts?tenant=none"},
		{name: "list of another integration", key: githubKey, method: "GET", path: "/v1/accounts?integration=slack", absent: "/v1/accounts?integration=none"},
		{name: "key of another tenant", key: acmeBoss, method: "DELETE", path: "/v1/keys/globex", absent: "/v1/keys/none"},
		{name: "new account in another tenant", key: acmeKey, method: "POST", path: "/v1/accounts", body: newAccountBody("globex", "github"),
			absent: "/v1/accounts", absentBody: newAccountBody("acme", "none")},
		{name: "new account of another integration", key: githubKey, method: "POST", path: "/v1/accounts", body: newAccountBody("acme", "slack"),
			absent: "/v1/accounts", absentBody: newAccountBody("acme", "none")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			before := len(w.records)
			hidden := w.call(c.method, c.path, c.key, c.body)
			absent := w.call(c.method, c.absent, c.key, c.absentBody)
			for _, h := range []http.Header{hidden.Header(), absent.Header()} {
				h.Del("X-Request-Id")
			}
			if hidden.Code != absent.Code || hidden.Body.String() != absent.Body.String() || !maps.EqualFunc(hidden.Header(), absent.Header(), slices.Equal) {
				t.Errorf("out of scope: %d %v\n%s\nabsent: %d %v\n%s", hidden.Code, hidden.Header(), hidden.Body, absent.Code, absent.Header(), absent.Body)
			}
			if len(w.records) != before {
				t.Error("something was stored")
			}
			// The same is there for a key that may see it.
			if c.method == "GET" {
				if seen := w.call(c.method, c.path, adminKey, ""); seen.Code != http.StatusOK || seen.Body.String() == absent.Body.String() {
					t.Errorf("the admin key got %d %s", seen.Code, seen.Body)
				}
			}
		})
	}
}

func TestPermissionsAreNeeded(t *testing.T) {
	for _, c := range []struct {
		key, method, path, body string
		status                  int
		code                    wire.Code
	}{
		{readerKey, "GET", acmeGitHub + "/token", "", 200, ""},
		{readerKey, "POST", acmeGitHub + "/refresh", "", 200, ""}, // whoever reads tokens may report a refused one
		{readerKey, "GET", acmeGitHub, "", 403, "forbidden"},
		{readerKey, "GET", "/v1/accounts/acme/none", "", 403, "forbidden"}, // without a look whether it exists
		{readerKey, "GET", acmeGitHub + "/history", "", 403, "forbidden"},
		{readerKey, "DELETE", acmeGitHub, "", 403, "forbidden"},
		{readerKey, "GET", "/v1/accounts", "", 403, "forbidden"},
		{readerKey, "POST", "/v1/accounts", newAccountBody("acme", "github"), 403, "forbidden"},
		{readerKey, "GET", "/v1/integrations", "", 403, "forbidden"},
		{readerKey, "GET", "/v1/providers", "", 200, ""},
		{acmeKey, "PUT", "/v1/integrations/github", `{"provider":"github","client_id":"x"}`, 403, "forbidden"},
		{acmeKey, "PUT", "/v1/providers/own", `{"name":"Own"}`, 403, "forbidden"},
		{acmeBoss, "PUT", "/v1/providers/own", `{"name":"Own"}`, 403, "forbidden"}, // shared by all tenants
		{acmeBoss, "DELETE", "/v1/providers/own", "", 403, "forbidden"},
		{acmeKey, "GET", "/v1/cluster", "", 403, "forbidden"},
		{acmeKey, "POST", "/v1/keys", `{"tenant":"acme","permissions":["proxy"]}`, 403, "forbidden"},
		{acmeKey, "GET", "/v1/keys", "", 403, "forbidden"},
		{acmeKey, "DELETE", "/v1/keys/acme", "", 403, "forbidden"},
		{acmeBoss, "PUT", "/v1/integrations/github", `{"provider":"github","client_id":"x"}`, 403, "forbidden"}, // shared by all tenants
		{acmeBoss, "DELETE", "/v1/integrations/github", "", 403, "forbidden"},
		{acmeBoss, "GET", "/v1/cluster", "", 403, "forbidden"},
		{acmeBoss, "DELETE", "/v1/cluster/nodes/n2", "", 403, "forbidden"},
		{acmeBoss, "DELETE", "/v1/cluster/nodes/none", "", 403, "forbidden"}, // without a look whether it is there
		{acmeBoss, "GET", acmeGitHub + "/token", "", 200, ""},                // admin includes the rest, within its tenant
		{acmeBoss, "POST", "/v1/keys", `{"tenant":"globex","permissions":["proxy"]}`, 403, "forbidden"},
		{acmeBoss, "POST", "/v1/keys", `{"tenant":"*","permissions":["proxy"]}`, 403, "forbidden"},
		{acmeBoss, "POST", "/v1/keys", `{"tenant":"acme","permissions":["admin"]}`, 201, ""},
		{"", "GET", acmeGitHub + "/token", "", 401, "unauthorized"},
		{"gk_wrong", "GET", acmeGitHub + "/token", "", 401, "unauthorized"},
		{"gk_wrong", "GET", "/v1/providers", "", 401, "unauthorized"},
	} {
		w := newWorld(t)
		rec := w.call(c.method, c.path, c.key, c.body)
		if rec.Code != c.status || codeOf(t, rec.Body.String()) != c.code {
			t.Errorf("%s %s with %q: %d %s", c.method, c.path, c.key, rec.Code, rec.Body)
		}
		if (rec.Header().Get("WWW-Authenticate") != "") != (c.status == 401) {
			t.Errorf("%s %s: WWW-Authenticate %q", c.method, c.path, rec.Header().Get("WWW-Authenticate"))
		}
	}
}

// TestKeyOfSomeAccountsIsNoOperators: whatever its permissions are, what concerns
// all accounts is not its business.
func TestKeyOfSomeAccountsIsNoOperators(t *testing.T) {
	for _, c := range []struct{ method, path, body string }{
		{"PUT", "/v1/integrations/github", `{"provider":"github","client_id":"x"}`},
		{"PUT", "/v1/integrations/files", `{"mcp_url":"https://mcp.example.com/mcp"}`},
		{"DELETE", "/v1/integrations/github", ""},
		{"PUT", "/v1/webhooks/all", `{"url":"https://hook.example/"}`},
		{"PUT", "/v1/providers/mine", `{"name":"Mine","token_url":"https://mine.example/token","sources":["us (2026-01-02)"]}`},
		{"DELETE", "/v1/providers/mine", ""},
		{"GET", "/v1/cluster", ""},
		{"DELETE", "/v1/cluster/nodes/n2", ""},
		{"POST", "/v1/keys", `{"tenant":"*","permissions":["tokens:read"]}`},
		{"POST", "/v1/keys", `{"tenant":"acme","permissions":["tokens:read"],"accounts":["acme/sl"]}`},
	} {
		w := newWorld(t)
		if rec := w.call(c.method, c.path, boundKey, c.body); rec.Code != http.StatusForbidden {
			t.Errorf("%s %s: %d %s", c.method, c.path, rec.Code, rec.Body)
		}
	}
}

func TestListsHoldOnlyWhatTheKeySees(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		key  string
		want []string
	}{
		{adminKey, []string{"acme/gh", "acme/sl", "globex/gh"}},
		{acmeKey, []string{"acme/gh", "acme/sl"}},
		{githubKey, []string{"acme/gh"}},
		{agentKey, []string{"acme/gh"}},
		{boundKey, []string{"acme/gh"}},
		{globexKey, []string{"globex/gh"}},
	} {
		// One at a time, to go through the cursors too.
		var got []string
		cursor := ""
		for range 10 {
			rec := w.call("GET", "/v1/accounts?limit=1&cursor="+cursor, c.key, "")
			var list wire.AccountList
			if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil || rec.Code != 200 {
				t.Fatalf("%d %s", rec.Code, rec.Body)
			}
			for _, a := range list.Accounts {
				got = append(got, a.Name())
			}
			if cursor = list.NextCursor; cursor == "" {
				break
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("key %s sees %v, want %v", c.key, got, c.want)
		}
	}
}

func TestATenantsAdminSeesItsKeysOnly(t *testing.T) {
	w := newWorld(t)
	var list wire.KeyList
	if err := json.Unmarshal(w.call("GET", "/v1/keys", acmeBoss, "").Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range list.Keys {
		got = append(got, k.ID)
	}
	if want := []string{"acme", "acmeboss", "github", "k1"}; !slices.Equal(got, want) {
		t.Errorf("sees %v, want %v", got, want)
	}
	if rec := w.call("DELETE", "/v1/keys/acme", acmeBoss, ""); rec.Code != http.StatusNoContent {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := w.call("GET", acmeGitHub, acmeKey, ""); rec.Code != http.StatusUnauthorized {
		t.Errorf("a deleted key was answered %d", rec.Code)
	}
}
