package oauth

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// line is a request as a server reads it off a socket.
type line struct {
	method, path, query, body string
	header                    http.Header
}

// params of the query or of the body, whatever it is.
func (l line) params(t *testing.T) map[string]string {
	t.Helper()
	got := map[string]string{}
	if strings.HasPrefix(l.body, "{") {
		if err := json.Unmarshal([]byte(l.body), &got); err != nil {
			t.Error(err)
		}
		return got
	}
	form, err := url.ParseQuery(l.query)
	if err == nil && l.body != "" {
		form, err = url.ParseQuery(l.body)
	}
	if err != nil {
		t.Error(err)
	}
	for name := range form {
		got[name] = form.Get(name)
	}
	return got
}

// script answers requests over TCP, by path, and keeps them.
type script struct {
	*httptest.Server
	mu    sync.Mutex
	lines []line
}

func newScript(t *testing.T, answers map[string]string) *script {
	s := &script{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.lines = append(s.lines, line{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, string(body), r.Header})
		s.mu.Unlock()
		text, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if status, rest, cut := strings.Cut(text, "!"); cut {
			var n int
			_, _ = fmt.Sscan(status, &n)
			w.WriteHeader(n)
			text = rest
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *script) take(t *testing.T) line {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines) == 0 {
		t.Fatal("nothing was asked")
	}
	l := s.lines[0]
	s.lines = s.lines[1:]
	return l
}

func tcpClient(t *testing.T) *Client {
	tr := NewTransport(TransportOptions{Allow: loopback})
	t.Cleanup(tr.CloseIdleConnections)
	return New(tr, Options{})
}

func TestRequestsInTheProvidersOwnWay(t *testing.T) {
	post := func(p *catalog.Provider) { p.TokenAuthMethod = catalog.ClientSecretPost }
	for _, tc := range []struct {
		name     string
		change   func(*catalog.Provider)
		exchange bool
		method   string
		path     string
		header   map[string]string
		want     map[string]string
	}{
		{
			name: "other names", method: "POST", path: "/token",
			change: func(p *catalog.Provider) {
				p.ClientIDParameter, p.ClientSecretParameter, p.GrantTypeParameter, p.RefreshTokenParameter = "client_key", "key", "grantType", "refreshToken"
			},
			want: map[string]string{"grantType": "refresh_token", "client_key": "the-client", "key": clientSecret, "refreshToken": "r"},
		},
		{
			name: "the token itself, by GET", method: "GET", path: "/refresh",
			change: func(p *catalog.Provider) {
				p.RefreshURL, p.RefreshGrantType, p.RefreshTokenParameter = p.TokenURL[:strings.LastIndex(p.TokenURL, "/")]+"/refresh", "fb_exchange_token", "fb_exchange_token"
				p.RefreshRequestMethod = http.MethodGet
			},
			want: map[string]string{"grant_type": "fb_exchange_token", "client_id": "the-client", "client_secret": clientSecret, "fb_exchange_token": "r"},
		},
		{
			name: "GET everywhere and headers", method: "GET", path: "/token", exchange: true,
			change: func(p *catalog.Provider) {
				p.TokenRequestMethod, p.CodeParameter, p.ExchangeGrantType = "GET", "auth_code", "authorized_code"
				p.TokenHeaders = map[string]string{"X-Version": "2026-01-01", "Accept": "application/vnd.p+json"}
			},
			header: map[string]string{"X-Version": "2026-01-01", "Accept": "application/vnd.p+json"},
			want:   map[string]string{"grant_type": "authorized_code", "auth_code": "c", "redirect_uri": "https://grants.example/cb", "client_id": "the-client", "client_secret": clientSecret},
		},
		{
			name: "parameters of the exchange only", method: "POST", path: "/token", exchange: true,
			change: func(p *catalog.Provider) {
				p.TokenParams, p.ExchangeParams, p.RefreshParams = map[string]string{"a": "1", "b": "1"}, map[string]string{"b": "2"}, map[string]string{"c": "3"}
				p.TokenBodyFormat = catalog.JSONBody
			},
			want: map[string]string{"grant_type": "authorization_code", "code": "c", "redirect_uri": "https://grants.example/cb", "a": "1", "b": "2", "client_id": "the-client", "client_secret": clientSecret},
		},
		{
			name: "parameters of the refresh only", method: "POST", path: "/token",
			change: func(p *catalog.Provider) {
				p.TokenParams, p.ExchangeParams, p.RefreshParams = map[string]string{"a": "1"}, map[string]string{"b": "2"}, map[string]string{"c": "3"}
			},
			want: map[string]string{"grant_type": "refresh_token", "refresh_token": "r", "a": "1", "c": "3", "client_id": "the-client", "client_secret": clientSecret},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScript(t, map[string]string{"/token": `{"access_token":"a"}`, "/refresh": `{"access_token":"a"}`})
			reg := registration(s.URL)
			post(reg.Provider)
			tc.change(reg.Provider)
			var err error
			if tc.exchange {
				_, err = tcpClient(t).Exchange(deadlineIn(t, 20*time.Second), reg, Exchange{Code: credential.NewSecret("c"), RedirectURI: "https://grants.example/cb"})
			} else {
				_, err = tcpClient(t).Refresh(deadlineIn(t, 20*time.Second), reg, credential.NewSecret("r"), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			got := s.take(t)
			if got.method != tc.method || got.path != tc.path || !maps.Equal(got.params(t), tc.want) {
				t.Errorf("%s %s with %v, want %s %s with %v", got.method, got.path, got.params(t), tc.method, tc.path, tc.want)
			}
			if tc.method == "GET" && (got.body != "" || got.header.Get("Content-Length") != "" || got.header.Get("Transfer-Encoding") != "") {
				t.Errorf("a GET with a body: %+v", got)
			}
			for name, want := range tc.header {
				if got.header.Get(name) != want {
					t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
				}
			}
		})
	}
}

func TestRevocationInTheProvidersOwnWay(t *testing.T) {
	basic := "Basic " + "dGhlLWNsaWVudDpzM2NyM3Qtb2YtdGhlLWNsaWVudA=="
	for _, tc := range []struct {
		name   string
		change func(*catalog.Provider)
		hint   string
		answer string
		want   line
		params map[string]string
		none   bool
		class  credential.Class
	}{
		{
			name: "the standard's", hint: HintRefreshToken, answer: "200!",
			want: line{method: "POST", path: "/revoke", header: http.Header{"Authorization": {basic}}}, params: map[string]string{"token": "t/1", "token_type_hint": "refresh_token"},
		},
		{
			name: "the client's id in the address, JSON", hint: HintAccessToken, answer: "204!",
			change: func(p *catalog.Provider) {
				p.RevocationURL, p.RevocationMethod, p.RevocationBodyFormat = p.RevocationURL+"/{client_id}/grant", "DELETE", catalog.JSONBody
				p.RevocationTokenParameter, p.RevocationAuth, p.TokenAuthMethod = "access_token", catalog.RevokeByBasic, catalog.ClientSecretPost
			},
			want: line{method: "DELETE", path: "/revoke/the-client/grant", header: http.Header{"Authorization": {basic}}}, params: map[string]string{"access_token": "t/1"},
		},
		{
			name: "the token in the address", hint: HintRefreshToken, answer: "204!",
			change: func(p *catalog.Provider) {
				p.RevocationURL, p.RevocationMethod, p.RevocationAuth = p.RevocationURL+"/{token}", "DELETE", catalog.RevokeByNobody
			},
			want: line{method: "DELETE", path: "/revoke/t%2F1", header: http.Header{}}, params: map[string]string{},
		},
		{
			name: "the token presents itself", hint: HintAccessToken, answer: `{"ok":true}`,
			change: func(p *catalog.Provider) {
				p.RevocationMethod, p.RevocationAuth, p.OKField = "GET", catalog.RevokeByToken, "ok"
			},
			want: line{method: "GET", path: "/revoke", header: http.Header{"Authorization": {"Bearer t/1"}}}, params: map[string]string{},
		},
		{
			name: "one kind only", hint: HintRefreshToken, none: true,
			change: func(p *catalog.Provider) { p.RevocationTakes = HintAccessToken },
		},
		{
			name: "unknown to the provider", hint: HintAccessToken, answer: "404!",
			change: func(p *catalog.Provider) { p.RevocationMethod = "DELETE" },
			want:   line{method: "DELETE", path: "/revoke", header: http.Header{"Authorization": {basic}}}, params: map[string]string{"token": "t/1", "token_type_hint": "access_token"},
		},
		{
			name: "dead already, with HTTP 200", hint: HintAccessToken, answer: `{"ok":false,"error":"token_revoked"}`,
			change: func(p *catalog.Provider) { p.TerminalErrors, p.OKField = []string{"token_revoked"}, "ok" },
			want:   line{method: "POST", path: "/revoke", header: http.Header{"Authorization": {basic}}}, params: map[string]string{"token": "t/1", "token_type_hint": "access_token"},
		},
		{
			name: "refused with HTTP 200", hint: HintAccessToken, answer: `{"ok":false,"error":"no"}`, class: credential.Unrecognised,
			change: func(p *catalog.Provider) { p.OKField = "ok" },
			want:   line{method: "POST", path: "/revoke", header: http.Header{"Authorization": {basic}}}, params: map[string]string{"token": "t/1", "token_type_hint": "access_token"},
		},
		{
			name: "the standard's, not found", hint: HintAccessToken, answer: "404!", class: credential.Unrecognised,
			want: line{method: "POST", path: "/revoke", header: http.Header{"Authorization": {basic}}}, params: map[string]string{"token": "t/1", "token_type_hint": "access_token"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScript(t, map[string]string{"/revoke": tc.answer, "/revoke/the-client/grant": tc.answer, "/revoke/t/1": tc.answer})
			reg := registration(s.URL)
			if tc.change != nil {
				tc.change(reg.Provider)
			}
			err := tcpClient(t).Revoke(deadlineIn(t, 20*time.Second), reg, credential.NewSecret("t/1"), tc.hint)
			if tc.class != 0 {
				if f := failure(t, err); f.Class != tc.class {
					t.Errorf("%v, want %s", err, tc.class)
				}
			} else if err != nil {
				t.Error(err)
			}
			if tc.none {
				if len(s.lines) > 0 {
					t.Errorf("asked: %+v", s.lines)
				}
				return
			}
			got := s.take(t)
			if got.method != tc.want.method || got.path != tc.want.path || got.header.Get("Authorization") != tc.want.header.Get("Authorization") || !maps.Equal(got.params(t), tc.params) {
				t.Errorf("%s %s by %q with %v, want %s %s by %q with %v", got.method, got.path, got.header.Get("Authorization"), got.params(t),
					tc.want.method, tc.want.path, tc.want.header.Get("Authorization"), tc.params)
			}
		})
	}
}

func TestAuthorizationInTheProvidersOwnWay(t *testing.T) {
	reg := registration("https://p.example")
	p := reg.Provider
	p.AuthorizationURL, p.ClientIDParameter, p.ScopeParameter = "https://p.example/a", "client_key", "user_scope"
	p.DefaultScopes, p.ScopesForRefresh = []string{"usual"}, []string{"offline_access", "b"}
	for _, tc := range []struct {
		scopes []string
		own    string
		want   url.Values
	}{
		{nil, "", url.Values{"response_type": {"code"}, "client_key": {"the-client"}, "user_scope": {"usual offline_access b"}}},
		{[]string{"a", "b"}, "app_id", url.Values{"response_type": {"code"}, "app_id": {"the-client"}, "user_scope": {"a b offline_access"}}},
	} {
		p.AuthorizationClientIDParameter = tc.own
		text, err := AuthorizationURL(reg, AuthorizationRequest{Scopes: tc.scopes})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(text)
		if err != nil || u.Query().Encode() != tc.want.Encode() {
			t.Errorf("%s, want %s, %v", u.RawQuery, tc.want.Encode(), err)
		}
	}
	if len(p.DefaultScopes) != 1 {
		t.Error("the provider's scopes were changed")
	}
}

func TestAnExchangeIsExtendedAndAsksForFacts(t *testing.T) {
	answers := map[string]string{
		"/token":  `{"access_token":"short","user_id":178,"scope":"a,b"}`,
		"/extend": `{"access_token":"long","expires_in":5184000}`,
		"/facts":  `[{"tenantId":"T1","type":"ORG"},{"tenantId":"T2"},{"tenantId":"T1"},{"other":1}]`,
	}
	s := newScript(t, answers)
	reg := registration(s.URL)
	p := reg.Provider
	p.TokenAuthMethod, p.ScopeSeparator, p.TokenRequestMethod = catalog.ClientSecretPost, ",", "POST"
	p.ExtensionURL, p.ExtensionGrantType, p.RefreshTokenParameter, p.RefreshWithAccessToken, p.RefreshRequestMethod = s.URL+"/extend", "ig_exchange_token", "access_token", true, "GET"
	p.SubjectField, p.Facts = "user_id", map[string]string{"user": "user_id"}
	p.FactsRequest = &catalog.FactsRequest{URL: s.URL + "/facts", Fields: map[string]string{"tenant_ids": "tenantId", "absent": "no"}}
	g, err := tcpClient(t).Exchange(deadlineIn(t, 20*time.Second), reg, Exchange{Code: credential.NewSecret("c")})
	if err != nil {
		t.Fatal(err)
	}
	if g.AccessToken.Reveal() != "long" || g.RefreshToken.Reveal() != "long" || g.ExpiresIn != 60*24*time.Hour || strings.Join(g.Scopes, " ") != "a b" ||
		g.Subject.User != "178" || !maps.Equal(g.Facts, map[string]string{"user": "178", "tenant_ids": "T1,T2"}) {
		t.Errorf("%+v, access %q", g, g.AccessToken.Reveal())
	}
	if l := s.take(t); l.path != "/token" || l.method != "POST" {
		t.Errorf("%+v", l)
	}
	if l := s.take(t); l.path != "/extend" || l.method != "GET" || l.params(t)["access_token"] != "short" || l.params(t)["grant_type"] != "ig_exchange_token" {
		t.Errorf("%+v", l)
	}
	if l := s.take(t); l.path != "/facts" || l.method != "GET" || l.header.Get("Authorization") != "Bearer long" || l.query != "" {
		t.Errorf("%+v", l)
	}

	// Facts that cannot be had cost the facts, and no grant.
	for _, answer := range []string{"500!", `"text"`, `{"errors":[]}`, ``, `{"error":"forbidden"}`} {
		answers["/facts"] = answer
		g, err := tcpClient(t).Exchange(deadlineIn(t, 20*time.Second), reg, Exchange{Code: credential.NewSecret("c")})
		if err != nil || g.AccessToken.Reveal() != "long" || len(g.Facts) != 1 {
			t.Errorf("%q: %+v, %v", answer, g.Facts, err)
		}
	}
	// A trade that fails leaves a token that ends within the hour: it is told.
	answers["/extend"] = `400!{"error":"invalid_request"}`
	_, err = tcpClient(t).Exchange(deadlineIn(t, 20*time.Second), reg, Exchange{Code: credential.NewSecret("c")})
	wantFailure(t, err, credential.Unrecognised, "invalid_request", true)
}

func TestFactsAreFoundInAnObjectAndInAListWithin(t *testing.T) {
	for body, want := range map[string]string{
		`{"data":{"sites":[{"id":"1"},{"id":2}]}}`: "1,2",
		`{"data":{"sites":{"id":"1"}}}`:            "1",
		`{"data":{"sites":[]}}`:                    "",
	} {
		got, ok := factsIn([]byte(body), &catalog.FactsRequest{ListPath: "data.sites", Fields: map[string]string{"ids": "id"}})
		if !ok || got["ids"] != want {
			t.Errorf("%s: %v, %v", body, got, ok)
		}
	}
	if got, ok := factsIn([]byte(`{"data":1}`), &catalog.FactsRequest{ListPath: "data.sites", Fields: map[string]string{"ids": "id"}}); ok {
		t.Errorf("out of nothing came %v", got)
	}
}

// A token that is traded by GET must not be traded twice either, although
// net/http repeats a GET that failed.
func TestAGetIsNotRepeatedOnAReusedConnection(t *testing.T) {
	var requests atomic.Int32
	base := rawServer(t, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for readRequest(r) {
			if requests.Add(1) > 1 {
				return // hung up on after the request was read
			}
			_, _ = io.WriteString(c, rawToken)
		}
	})
	client, ctx, reg := tcpClient(t), deadlineIn(t, 20*time.Second), registration(base)
	reg.Provider.TokenRequestMethod = http.MethodGet
	if _, err := client.Refresh(ctx, reg, credential.NewSecret("r1"), nil); err != nil {
		t.Fatal(err)
	}
	_, err := client.Refresh(ctx, reg, credential.NewSecret("r2"), nil)
	wantFailure(t, err, credential.Ambiguous, "connection_lost", true)
	if n := requests.Load(); n != 2 {
		t.Errorf("the server read %d requests, want 2", n)
	}
}

func TestAGetIsNotWrittenAfterItsDeadline(t *testing.T) {
	s := newScript(t, map[string]string{"/token": `{"access_token":"a"}`})
	reg := registration(s.URL)
	reg.Provider.TokenRequestMethod = http.MethodGet
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := tcpClient(t).Refresh(ctx, reg, credential.NewSecret("r"), nil)
	if f := failure(t, err); f.Class != credential.Transient || f.Sent || len(s.lines) > 0 {
		t.Errorf("%v (sent: %v), %d requests", f, f.Sent, len(s.lines))
	}
	// The secrets of its address are in no failure.
	s.Close()
	_, err = tcpClient(t).Refresh(deadlineIn(t, 20*time.Second), reg, credential.NewSecret("r-secret"), nil)
	if f := failure(t, err); strings.Contains(f.Error()+f.Detail, "secret") {
		t.Errorf("%v shows the address", f)
	}
}
