package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/wire"
)

// TestBadInputIsRefusedWithItsPlace sends requests that are wrong in one way.
// Each must be answered 400 invalid_request (or the code given) with a detail
// that names the place, and must leave everything as it was.
func TestBadInputIsRefusedWithItsPlace(t *testing.T) {
	account := func(credentials string) string {
		return `{"tenant":"acme","id":"new","integration":"github","credentials":` + credentials + `}`
	}
	oauth := func(rest string) string { return account(`{"type":"oauth2","access_token":"at",` + rest + `}`) }
	past := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	long := strings.Repeat("x", 129)
	for _, c := range []struct{ name, method, path, body, says string }{
		{"no body", "POST", "/v1/accounts", "", "body is empty"},
		{"no tenant", "POST", "/v1/accounts", `{"integration":"github","credentials":{"type":"client_credentials"}}`, "tenant is empty"},
		{"odd tenant", "POST", "/v1/accounts", `{"tenant":"a/b","integration":"github","credentials":{"type":"client_credentials"}}`, "tenant has '/' at byte 1"},
		{"odd id", "POST", "/v1/accounts", strings.Replace(account(`{"type":"client_credentials"}`), `"new"`, `"../x"`, 1), "account id has '.' at byte 0"},
		{"long id", "POST", "/v1/accounts", strings.Replace(account(`{"type":"client_credentials"}`), `"new"`, `"`+long+`"`, 1), "129 bytes"},
		{"id of a control character", "POST", "/v1/accounts", strings.Replace(account(`{"type":"client_credentials"}`), `"new"`, `"a\u0000"`, 1), "account id has '\\x00' at byte 1"},
		{"no integration", "POST", "/v1/accounts", `{"tenant":"acme","credentials":{"type":"client_credentials"}}`, "integration is empty"},
		{"no credentials", "POST", "/v1/accounts", `{"tenant":"acme","integration":"github"}`, "credentials.type"},
		{"unknown type", "POST", "/v1/accounts", account(`{"type":"saml"}`), "one of oauth2, client_credentials, jwt_bearer, token_exchange, api_key, basic"},
		{"no token", "POST", "/v1/accounts", account(`{"type":"oauth2"}`), "need access_token or refresh_token"},
		{"empty tokens", "POST", "/v1/accounts", account(`{"type":"oauth2","access_token":"","refresh_token":""}`), "need access_token or refresh_token"},
		{"field of another type", "POST", "/v1/accounts", oauth(`"api_key":"k"`), `"credentials.api_key" does not belong to the type oauth2`},
		{"token for client_credentials", "POST", "/v1/accounts", account(`{"type":"client_credentials","access_token":"x"}`), `"credentials.access_token" does not belong`},
		{"expiry of an api key", "POST", "/v1/accounts", account(`{"type":"api_key","api_key":"k","expires_in":5}`), `"credentials.expires_in" does not belong`},
		{"no api key", "POST", "/v1/accounts", account(`{"type":"api_key"}`), `"credentials.api_key" is missing`},
		{"no password", "POST", "/v1/accounts", account(`{"type":"basic","username":"u"}`), "need username and password"},
		{"colon in username", "POST", "/v1/accounts", account(`{"type":"basic","username":"u:v","password":"p"}`), "no colon"},
		{"line break in token", "POST", "/v1/accounts", account(`{"type":"oauth2","access_token":"` + canary + `\n"}`), `"credentials.access_token" holds a control character`},
		{"expires_in 0", "POST", "/v1/accounts", oauth(`"expires_in":0`), `"credentials.expires_in" must be a number of seconds from 1`},
		{"expires_in negative", "POST", "/v1/accounts", oauth(`"expires_in":-5`), `"credentials.expires_in" must be a number of seconds from 1`},
		{"expires_in overflowing", "POST", "/v1/accounts", oauth(`"expires_in":9223372036854775807`), `"credentials.expires_in" must be a number of seconds from 1`},
		{"both expiries", "POST", "/v1/accounts", oauth(`"expires_in":5,"expires_at":"2099-01-01T00:00:00Z"`), "Send one of them"},
		{"expired, nothing to refresh with", "POST", "/v1/accounts", oauth(`"expires_at":"` + past + `"`), "has expired already"},
		{"expiry beyond belief", "POST", "/v1/accounts", oauth(`"expires_at":"9999-01-01T00:00:00Z"`), "within 100 years"},
		{"expiry in the year 1", "POST", "/v1/accounts", oauth(`"expires_at":"0001-01-01T00:00:00Z"`), "after 1970"},
		{"expiry without token", "POST", "/v1/accounts", account(`{"type":"oauth2","refresh_token":"r","expires_in":5}`), "are of the access token"},
		{"empty scope", "POST", "/v1/accounts", oauth(`"scopes":["a",""]`), `"credentials.scopes[1]"`},
		{"too many scopes", "POST", "/v1/accounts", oauth(`"scopes":["a"` + strings.Repeat(`,"a"`, 256) + `]`), "257 entries"},

		{"stale generation negative", "POST", acmeGitHub + "/refresh", `{"stale_generation":-1}`, `"stale_generation" must be a whole number`},
		{"stale generation misspelt", "POST", acmeGitHub + "/refresh", `{"generation":1}`, "Allowed here: stale_generation."},
		{"odd name in a path", "GET", "/v1/accounts/acme/a%20b/token", "", "account id has ' ' at byte 1"},
		{"slash in a name in a path", "GET", "/v1/accounts/acme/a%2Ftoken", "", "account id has '/' at byte 1"},
		{"dots in a name in a path", "GET", "/v1/accounts/acme/%2e%2e", "", "account id has '.' at byte 0"},
		{"long name in a path", "GET", "/v1/accounts/" + long + "/a", "", "tenant has 129 bytes"},
		{"min_ttl rubbish", "GET", acmeGitHub + "/token?min_ttl=soon", "", "duration such as 30s"},
		{"min_ttl empty", "GET", acmeGitHub + "/token?min_ttl=", "", "duration such as 30s"},
		{"min_ttl negative", "GET", acmeGitHub + "/token?min_ttl=-1s", "", "between 0s and 24h"},
		{"min_ttl negative number", "GET", acmeGitHub + "/token?min_ttl=-1", "", "duration such as 30s"},
		{"min_ttl too long", "GET", acmeGitHub + "/token?min_ttl=25h", "", "between 0s and 24h"},
		{"min_ttl overflowing", "GET", acmeGitHub + "/token?min_ttl=99999999999999999999", "", "duration such as 30s"},
		{"min_ttl twice", "GET", acmeGitHub + "/token?min_ttl=1s&min_ttl=2s", "", "Send it once"},
		{"unknown parameter", "GET", acmeGitHub + "/token?minttl=1s", "", `Unknown query parameter "minttl". Allowed here: min_ttl, dpop_method`},
		{"broken escape", "GET", acmeGitHub + "/token?min_ttl=%zz", "", "not well-formed"},
		{"limit 0", "GET", "/v1/accounts?limit=0", "", "from 1 to 1000"},
		{"limit 1001", "GET", "/v1/accounts?limit=1001", "", "from 1 to 1000"},
		{"limit rubbish", "GET", "/v1/providers?limit=ten", "", "from 1 to 1000"},
		{"cursor rubbish", "GET", "/v1/accounts?cursor=***", "", "Query parameter cursor"},
		{"cursor made up", "GET", "/v1/accounts?cursor=YQ", "", "Query parameter cursor"},
		{"cursor of another tenant", "GET", "/v1/accounts?tenant=acme&cursor=Z2xvYmV4L2E", "", "Query parameter cursor"},
		{"cursor of another list", "GET", acmeGitHub + "/history?cursor=YQ", "", "Query parameter cursor"},
		{"history from 0", "GET", acmeGitHub + "/history?cursor=MA", "", "Query parameter cursor"},
		{"odd state", "GET", "/v1/accounts?state=dead", "", "one of pending, active"},
		{"odd tenant in a filter", "GET", "/v1/accounts?tenant=a%20b", "", "tenant has ' '"},
		{"odd integration in a filter", "GET", "/v1/accounts?integration=a%20b", "", "integration has ' '"},

		{"odd integration id", "PUT", "/v1/integrations/-x", `{"provider":"github","client_id":"c"}`, "integration has '-' at byte 0"},
		{"no provider", "PUT", "/v1/integrations/i", `{"client_id":"c"}`, `"provider" is missing`},
		{"unknown provider", "PUT", "/v1/integrations/i", `{"provider":"nobody","client_id":"c"}`, "not in the catalogue"},
		{"no client", "PUT", "/v1/integrations/i", `{"provider":"github"}`, `"client_id" is missing`},
		{"relative redirect", "PUT", "/v1/integrations/i", `{"provider":"github","client_id":"c","redirect_uri":"/cb"}`, "absolute http or https URL"},
		{"redirect with fragment", "PUT", "/v1/integrations/i", `{"provider":"github","client_id":"c","redirect_uri":"https://x/#"}`, "absolute http or https URL"},
		{"redirect to a script", "PUT", "/v1/integrations/i", `{"provider":"github","client_id":"c","redirect_uri":"javascript:x"}`, "absolute http or https URL"},
		{"line break in client secret", "PUT", "/v1/integrations/i", `{"provider":"github","client_id":"c","client_secret":"` + canary + `\r\n"}`, `"client_secret"`},
		{"setting misspelt", "PUT", "/v1/integrations/i", `{"provider":"github","client_id":"c","token_ulr":"x"}`, "token_ulr"},

		{"key without permissions", "POST", "/v1/keys", `{"tenant":"acme"}`, `"permissions" is missing`},
		{"key of an unknown permission", "POST", "/v1/keys", `{"tenant":"acme","permissions":["root"]}`, `"permissions[0]" is not a permission`},
		{"key of a permission twice", "POST", "/v1/keys", `{"tenant":"acme","permissions":["proxy","proxy"]}`, `"permissions[1]" repeats`},
		{"key without tenant", "POST", "/v1/keys", `{"permissions":["proxy"]}`, `be "*" for all`},
		{"key of no integration", "POST", "/v1/keys", `{"tenant":"acme","permissions":["proxy"],"integrations":[]}`, "empty list"},
		{"key of an odd integration", "POST", "/v1/keys", `{"tenant":"acme","permissions":["proxy"],"integrations":["github","*"]}`, `"integrations[1]"`},
		{"key of an odd name", "POST", "/v1/keys", `{"tenant":"acme","permissions":["proxy"],"name":"a\nb"}`, `"name"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			accounts, integrations, keys := maps.Clone(w.records), maps.Clone(w.byID), maps.Clone(w.byHash)
			rec := w.call(c.method, c.path, adminKey, c.body)
			var p wire.Problem
			if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || rec.Code != 400 || p.Code != wire.CodeInvalidRequest {
				t.Fatalf("%d %s", rec.Code, rec.Body)
			}
			if !strings.Contains(p.Detail, c.says) {
				t.Errorf("says %q, want %q in it", p.Detail, c.says)
			}
			if strings.Contains(rec.Body.String(), canary) {
				t.Errorf("repeats a secret: %s", rec.Body)
			}
			if fmt.Sprint(len(accounts), len(integrations), len(keys)) != fmt.Sprint(len(w.records), len(w.byID), len(w.byHash)) {
				t.Error("something was stored")
			}
		})
	}
}

func TestOddButRightInputIsTaken(t *testing.T) {
	past := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	for name, credentials := range map[string]string{
		"refresh token alone":        `{"type":"oauth2","refresh_token":"r"}`,
		"expired, with refresh":      `{"type":"oauth2","access_token":"a","refresh_token":"r","expires_at":"` + past + `"}`,
		"time with an offset":        `{"type":"oauth2","access_token":"a","expires_at":"2090-01-01T00:00:00+05:30"}`,
		"longest lifetime":           `{"type":"oauth2","access_token":"a","expires_in":3153600000}`,
		"empty strings count absent": `{"type":"api_key","api_key":"k","access_token":"","username":""}`,
		"a password of everything":   `{"type":"basic","username":"ü","password":"p\u00e4ß:\"\\ 😀"}`,
	} {
		w := newWorld(t)
		rec := w.call("POST", "/v1/accounts", acmeKey, `{"tenant":"acme","id":"a.b_c-d:e@f+g","integration":"github","credentials":`+credentials+`}`)
		if rec.Code != 201 {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	for query, want := range map[string]time.Duration{
		"": 0, "?min_ttl=30s": 30 * time.Second, "?min_ttl=90": 90 * time.Second, "?min_ttl=1.5h": 90 * time.Minute,
		"?min_ttl=%33%30s": 30 * time.Second, "?min_ttl=24h": 24 * time.Hour, "?min_ttl=0": 0,
	} {
		w := newWorld(t)
		if rec := w.call("GET", acmeGitHub+"/token"+query, acmeKey, ""); rec.Code != 200 || w.minTTL != want {
			t.Errorf("%s: %d, %s", query, rec.Code, w.minTTL)
		}
	}
}

func TestOnlyPlainJSONBodiesAreTaken(t *testing.T) {
	body := newAccountBody("acme", "github")
	for _, c := range []struct {
		header, value string
		status        int
	}{
		{"Content-Type", "application/json", 201},
		{"Content-Type", "application/json; charset=UTF-8", 201},
		{"Content-Type", "", 201},
		{"Content-Type", "application/json; charset=latin1", 415},
		{"Content-Type", "application/x-www-form-urlencoded", 415}, // what curl -d says on its own
		{"Content-Type", "text/json", 415},
		{"Content-Type", "nonsense/;;", 415},
		{"Content-Encoding", "gzip", 415},
		{"Content-Encoding", "identity", 201},
	} {
		w := newWorld(t)
		rec := w.call("POST", "/v1/accounts", acmeKey, body, c.header, c.value)
		if rec.Code != c.status || c.status == 415 && codeOf(t, rec.Body.String()) != wire.CodeUnsupportedMediaType {
			t.Errorf("%s %q: %d %s", c.header, c.value, rec.Code, rec.Body)
		}
	}
}

func TestAuthorizationHeaderForms(t *testing.T) {
	w := newWorld(t)
	for value, want := range map[string]int{
		"Bearer " + acmeKey: 200, "bearer " + acmeKey: 200, "BEARER  " + acmeKey: 200,
		acmeKey: 401, "Basic " + acmeKey: 401, "Bearer": 401, "Bearer ": 401, "Bearer" + acmeKey: 401,
		"Bearer " + acmeKey + " x": 401, "Bearer " + strings.ToUpper(acmeKey): 401,
	} {
		if rec := w.call("GET", acmeGitHub, "", "", "Authorization", value); rec.Code != want {
			t.Errorf("%q: %d", value, rec.Code)
		}
	}
}
