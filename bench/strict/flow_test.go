package strict_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/bench/strict"
)

func TestCodeFlowWithPKCE(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c := inProcess(t, p)
	a, q := c.authorize("demo-basic", url.Values{"login_hint": {"bert"}})
	if a.Status != 303 || q.Get("state") != "st" || q.Get("iss") != issuer {
		t.Fatalf("sent to %v with %d", q, a.Status)
	}
	wantStatus(t, c.exchange("demo-basic", q.Get("code"), url.Values{"code_verifier": {strings.Repeat("a", 43)}}), 400, "invalid_grant")
	wantStatus(t, c.exchange("demo-basic", q.Get("code"), url.Values{"redirect_uri": {redirect + "/x"}}), 400, "invalid_grant")
	wantStatus(t, c.exchange("demo-post", q.Get("code"), nil), 400, "invalid_grant")
	tokens := c.exchange("demo-basic", q.Get("code"), nil)
	wantStatus(t, tokens, 200, "")
	if me := c.me(tokens.AccessToken); me.Subject != "bert" || me.Client != "demo-basic" {
		t.Fatalf("the token is %q's of %q", me.Subject, me.Client)
	}
	next := c.refresh("demo-basic", tokens.RefreshToken)
	wantStatus(t, next, 200, "")

	wantStatus(t, c.exchange("demo-basic", q.Get("code"), nil), 400, "invalid_grant")
	if c.me(next.AccessToken).Status != 401 {
		t.Fatal("a code that came twice did not revoke its grant")
	}
}

func TestCodeExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, strict.Options{CodeTTL: 30 * time.Second})
		c := inProcess(t, p)
		_, q := c.authorize("demo-public", nil)
		time.Sleep(30 * time.Second)
		wantStatus(t, c.exchange("demo-public", q.Get("code"), nil), 400, "invalid_grant")
		if r := last(t, p); r.Outcome != strict.OutcomeExpired {
			t.Fatalf("the record says %+v", r)
		}
		time.Sleep(time.Second)
		c.authorize("demo-public", nil)
		if n := p.Report().Grants; n != 1 {
			t.Fatalf("%d grants are kept; the one that nobody redeemed should be gone", n)
		}
	})
}

func TestAuthorizationRequestsThatAreRefused(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c := inProcess(t, p)
	for name, tc := range map[string]struct {
		change url.Values
		code   string
	}{
		"no PKCE":       {url.Values{"code_challenge": nil}, "invalid_request"},
		"plain PKCE":    {url.Values{"code_challenge_method": {"plain"}}, "invalid_request"},
		"odd challenge": {url.Values{"code_challenge": {"short"}}, "invalid_request"},
		"implicit":      {url.Values{"response_type": {"token"}}, "unsupported_response_type"},
		"odd scope":     {url.Values{"scope": {`a"b`}}, "invalid_scope"},
		"person says no": {
			url.Values{"login_hint": {strict.DenyHint}}, "access_denied",
		},
	} {
		if a, q := c.authorize("demo-basic", tc.change); a.Status != 303 || q.Get("error") != tc.code || q.Get("code") != "" || q.Get("state") != "st" {
			t.Errorf("%s: sent on with %v (%d), want error %s", name, q, a.Status, tc.code)
		}
	}
	for name, change := range map[string]url.Values{
		"unknown client":   {"client_id": {"nobody"}},
		"foreign redirect": {"redirect_uri": {"https://evil.example/callback"}},
		"look-alike":       {"redirect_uri": {"http://127.0.0.1.evil.example/"}},
		"no redirect":      {"redirect_uri": nil},
		"other scheme":     {"redirect_uri": {"javascript:alert(1)"}},
	} {
		if a, _ := c.authorize("demo-basic", change); a.Status != 400 || a.Header.Get("Location") != "" {
			t.Errorf("%s: answered %d with Location %q; nobody may be sent on", name, a.Status, a.Header.Get("Location"))
		}
	}
}

func TestClientAuthentication(t *testing.T) {
	p := newProvider(t, strict.Options{Clients: append(strict.DemoClients(),
		strict.Client{ID: "fussy", Secret: secret("fussy-secret"), Auth: strict.AuthPost, OnlyRegisteredAuth: true},
		strict.Client{ID: "odd:id", Secret: secret("p%s s&=:ü"), Auth: strict.AuthBasic},
	)})
	c := inProcess(t, p)
	basic := func(id, pw string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(pw)))
	}
	for name, tc := range map[string]struct {
		header, body string
		status       int
		code         string
	}{
		"basic":                 {basic("demo-basic", "demo-basic-secret"), "", 400, "invalid_grant"},
		"basic, odd characters": {basic("odd:id", "p%s s&=:ü"), "", 400, "invalid_grant"},
		"post":                  {"", "client_id=demo-post&client_secret=demo-post-secret", 400, "invalid_grant"},
		"either way, as at oidc-provider": {
			"", "client_id=demo-basic&client_secret=demo-basic-secret", 400, "invalid_grant",
		},
		"none":                    {"", "client_id=demo-public", 400, "invalid_grant"},
		"wrong secret":            {basic("demo-basic", "demo-basic-secreT"), "", 401, "invalid_client"},
		"empty secret":            {basic("demo-basic", ""), "", 401, "invalid_client"},
		"wrong secret in post":    {"", "client_id=demo-post&client_secret=x", 401, "invalid_client"},
		"unknown client":          {basic("nobody", "x"), "", 401, "invalid_client"},
		"secret left out":         {"", "client_id=demo-post", 401, "invalid_client"},
		"public with a secret":    {"", "client_id=demo-public&client_secret=x", 401, "invalid_client"},
		"other than registered":   {basic("fussy", "fussy-secret"), "", 401, "invalid_client"},
		"as registered":           {"", "client_id=fussy&client_secret=fussy-secret", 400, "invalid_grant"},
		"nobody":                  {"", "", 400, "invalid_request"},
		"two ways at once":        {basic("demo-basic", "demo-basic-secret"), "client_secret=x", 400, "invalid_request"},
		"two ids":                 {basic("demo-basic", "demo-basic-secret"), "client_id=demo-post", 400, "invalid_request"},
		"not base64":              {"Basic ?", "", 400, "invalid_request"},
		"no colon":                {"Basic " + base64.StdEncoding.EncodeToString([]byte("x")), "", 400, "invalid_request"},
		"badly escaped":           {"Basic " + base64.StdEncoding.EncodeToString([]byte("%zz:x")), "", 400, "invalid_request"},
		"bearer":                  {"Bearer x", "", 400, "invalid_request"},
		"parameter given twice":   {"", "client_id=demo-public&client_id=demo-public", 400, "invalid_request"},
		"body that is not a form": {"", "%zz", 400, "invalid_request"},
	} {
		h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		if tc.header != "" {
			h.Set("Authorization", tc.header)
		}
		a, err := c.try(context.Background(), http.MethodPost, "/token", h, "grant_type=refresh_token&refresh_token=x&"+tc.body)
		if err != nil || a.Status != tc.status || a.Error != tc.code {
			t.Errorf("%s: %d %q %v, want %d %q", name, a.Status, a.Error, err, tc.status, tc.code)
		}
		if challenged := a.Header.Get("WWW-Authenticate") != ""; challenged != (a.Status == 401 && tc.header != "") {
			t.Errorf("%s: WWW-Authenticate is %q", name, a.Header.Get("WWW-Authenticate"))
		}
	}
}

func TestTokenRequestsThatAreRefused(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	for name, tc := range map[string]struct {
		form url.Values
		code string
	}{
		"no grant type":           {url.Values{}, "invalid_request"},
		"unknown grant type":      {url.Values{"grant_type": {"password"}}, "unsupported_grant_type"},
		"no refresh token":        {url.Values{"grant_type": {"refresh_token"}}, "invalid_request"},
		"unknown refresh token":   {refreshForm("nosuchtoken"), "invalid_grant"},
		"access token to refresh": {refreshForm(g.AccessToken.Reveal()), "invalid_grant"},
		"changed token":           {refreshForm(g.RefreshToken.Reveal() + "x"), "invalid_grant"},
		"no code":                 {url.Values{"grant_type": {"authorization_code"}, "redirect_uri": {redirect}}, "invalid_request"},
		"unknown code":            {url.Values{"grant_type": {"authorization_code"}, "redirect_uri": {redirect}, "code": {"x"}}, "invalid_grant"},
		"odd scope":               {url.Values{"grant_type": {"client_credentials"}, "scope": {"ä"}}, "invalid_scope"},
	} {
		if a := c.post("/token", "demo-basic", tc.form); a.Status != 400 || a.Error != tc.code {
			t.Errorf("%s: %d %q, want 400 %q", name, a.Status, a.Error, tc.code)
		}
	}
	if a := c.post("/token", "demo-public", url.Values{"grant_type": {"client_credentials"}}); a.Error != "unauthorized_client" {
		t.Errorf("a public client asked for a token of its own: %d %q", a.Status, a.Error)
	}
	a, err := c.try(context.Background(), http.MethodPost, "/token", http.Header{"Content-Type": {"application/json"}}, "{}")
	if err != nil || a.Error != "invalid_request" {
		t.Errorf("a JSON body: %q %v", a.Error, err)
	}
	if a, err := c.try(context.Background(), http.MethodGet, "/token", nil, ""); err != nil || a.Status != 405 {
		t.Errorf("GET /token: %d %v", a.Status, err)
	}
	if a, err := c.try(context.Background(), http.MethodGet, "/nowhere", nil, ""); err != nil || a.Status != 404 {
		t.Errorf("GET /nowhere: %d %v", a.Status, err)
	}
	if !p.GrantAlive(g.Grant) {
		t.Error("a refused request harmed a grant")
	}
}

func TestClientCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, strict.Options{AccessTTL: 10 * time.Second})
		c := inProcess(t, p)
		ask := func() answer {
			return c.post("/token", "demo-post", url.Values{"grant_type": {"client_credentials"}, "scope": {"api"}})
		}
		a, b := ask(), ask()
		if a.AccessToken == b.AccessToken || a.RefreshToken != "" || a.Scope != "api" {
			t.Fatalf("not what client credentials bring: %+v", a)
		}
		if me := c.me(a.AccessToken); me.Client != "demo-post" || me.Status != 200 {
			t.Fatalf("the token is %q's (%d)", me.Client, me.Status)
		}
		c.post("/revoke", "demo-basic", url.Values{"token": {a.AccessToken}})
		if c.me(a.AccessToken).Status != 200 {
			t.Fatal("another client could revoke the token")
		}
		c.post("/revoke", "demo-post", url.Values{"token": {a.AccessToken}})
		if c.me(a.AccessToken).Status != 401 || c.me(b.AccessToken).Status != 200 {
			t.Fatal("revoking must kill this token and no other")
		}
		if err := p.ExpireMachine("demo-post"); err != nil {
			t.Fatal(err)
		}
		d := ask()
		if c.me(b.AccessToken).Status != 401 || c.me(d.AccessToken).Status != 200 {
			t.Fatal("all tokens up to now must be dead, and later ones not")
		}
		time.Sleep(10 * time.Second)
		if c.me(d.AccessToken).Status != 401 {
			t.Fatal("the token outlived its time")
		}
	})
}

func TestRevokingAnyTokenKillsTheGrant(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c := inProcess(t, p)
	for _, access := range []bool{true, false} {
		g := newGrant(t, p, "demo-basic")
		token := g.RefreshToken
		if access {
			token = g.AccessToken
		}
		a := c.post("/revoke", "demo-basic", url.Values{"token": {token.Reveal()}})
		if a.Status != 200 || a.Raw != "" {
			t.Fatalf("revoked with %d %q", a.Status, a.Raw)
		}
		if c.me(g.AccessToken.Reveal()).Status != 401 || p.GrantAlive(g.Grant) {
			t.Fatal("something of the grant lives")
		}
		wantStatus(t, c.refresh("demo-basic", g.RefreshToken.Reveal()), 400, "invalid_grant")
	}
	wantStatus(t, c.post("/revoke", "demo-basic", url.Values{"token": {"nosuchtoken"}}), 200, "")
	wantStatus(t, c.post("/revoke", "demo-basic", url.Values{}), 400, "invalid_request")
}

func TestIntrospection(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	ask := func(client, token string) answer {
		a := c.post("/introspect", client, url.Values{"token": {token}})
		wantStatus(t, a, 200, "")
		return a
	}
	if a := ask("demo-basic", g.AccessToken.Reveal()); !a.Active || a.Subject != "anna" || a.Client != "demo-basic" || a.TokenType != "Bearer" || a.Scope != "openid profile" {
		t.Fatalf("access token: %+v", a)
	}
	if a := ask("demo-basic", g.RefreshToken.Reveal()); !a.Active || a.TokenType != "" {
		t.Fatalf("refresh token: %+v", a)
	}
	if ask("demo-public", g.AccessToken.Reveal()).Active {
		t.Fatal("a public client learnt of another's token")
	}
	next := c.refresh("demo-basic", g.RefreshToken.Reveal())
	if ask("demo-basic", g.RefreshToken.Reveal()).Active || !ask("demo-basic", next.RefreshToken).Active {
		t.Fatal("exactly the newest refresh token is active")
	}
	if ask("demo-basic", "nosuchtoken").Active {
		t.Fatal("an unknown token is active")
	}
	if err := p.Revoke(g.Grant); err != nil {
		t.Fatal(err)
	}
	if ask("demo-basic", next.AccessToken).Active {
		t.Fatal("a token of a revoked grant is active")
	}
}

func TestDiscoveryNamesTheEndPoints(t *testing.T) {
	p := newProvider(t, strict.Options{})
	a, err := inProcess(t, p).try(context.Background(), http.MethodGet, "/.well-known/openid-configuration", nil, "")
	if err != nil || a.Status != 200 {
		t.Fatal(a.Status, err)
	}
	for _, want := range []string{`"issuer":"` + issuer + `"`, `"token_endpoint":"` + issuer + `/token"`, `"authorization_endpoint":"` + issuer + `/auth"`, `"S256"`} {
		if !strings.Contains(a.Raw, want) {
			t.Errorf("%s is missing in %s", want, a.Raw)
		}
	}
}

func TestOptionsAndClientsThatCannotBe(t *testing.T) {
	for name, o := range map[string]strict.Options{
		"access tokens under a second": {AccessTTL: time.Millisecond},
		"issuer without host":          {Issuer: "strict"},
		"negative capacity":            {RecordCapacity: -1},
		"client without id":            {Clients: []strict.Client{{Secret: secret("x")}}},
		"client without secret":        {Clients: []strict.Client{{ID: "a"}}},
		"public client with secret":    {Clients: []strict.Client{{ID: "a", Auth: strict.AuthNone, Secret: secret("x")}}},
		"unknown method":               {Clients: []strict.Client{{ID: "a", Auth: "magic"}}},
		"unknown rotation":             {Clients: []strict.Client{{ID: "a", Secret: secret("x"), Rotation: "sometimes"}}},
		"grace without a grace":        {Clients: []strict.Client{{ID: "a", Secret: secret("x"), Rotation: strict.RotationGrace}}},
		"negative limit":               {Clients: []strict.Client{{ID: "a", Secret: secret("x"), RequestsPerSecond: -1}}},
	} {
		if _, err := strict.New(o); err == nil {
			t.Errorf("%s: was accepted", name)
		}
	}
	p := newProvider(t, strict.Options{MaxGrants: 1})
	newGrant(t, p, "demo-basic")
	if _, err := p.NewGrant("demo-basic", "anna", nil); err == nil {
		t.Error("more grants than MaxGrants")
	}
	if _, err := p.NewGrant("nobody", "anna", nil); err == nil {
		t.Error("a grant for an unknown client")
	}
}
