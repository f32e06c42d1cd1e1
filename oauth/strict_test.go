package oauth

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// loopback lets tests reach servers of their own.
var loopback = []Exception{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")}}

// bench is a strict provider and a client of it.
type bench struct {
	*strict.Provider
	client *Client
	reg    Registration
}

// inProcess is a bench without sockets, for synctest bubbles. The caller closes it.
func inProcess(t testing.TB) bench {
	t.Helper()
	p, err := strict.New(strict.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reg := registration("http://strict.test")
	reg.ClientID, reg.ClientSecret = "demo-basic", credential.NewSecret("demo-basic-secret")
	return bench{p, New(p.RoundTripper(), Options{}), reg}
}

// overHTTP is a bench behind a real socket.
func overHTTP(t testing.TB) bench {
	t.Helper()
	b := inProcess(t)
	srv := httptest.NewServer(b.Handler())
	tr := NewTransport(TransportOptions{Allow: loopback})
	t.Cleanup(func() { tr.CloseIdleConnections(); b.Close(); srv.Close() })
	b.client = New(tr, Options{})
	b.reg.Provider.TokenURL = srv.URL + "/token"
	b.reg.Provider.RevocationURL, b.reg.Provider.IntrospectionURL = srv.URL+"/revoke", srv.URL+"/introspect"
	return b
}

func (b bench) grant(t testing.TB) strict.Tokens {
	t.Helper()
	g, err := b.NewGrant("demo-basic", "anna", []string{"openid", "profile"})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// faults are all faults of the strict provider and what they must mean. A nil
// class is a success.
var faults = []struct {
	fault   strict.Fault
	class   credential.Class
	code    string
	sent    bool
	notHTTP bool // the fault is another one over a socket
}{
	{fault: strict.Fault{Kind: strict.FaultRefused}, class: credential.Transient, code: "connection_refused", notHTTP: true},
	{fault: strict.Fault{Kind: strict.FaultDropRequest}, class: credential.Ambiguous, code: "connection_lost", sent: true},
	{fault: strict.Fault{Kind: strict.FaultDropAnswer}, class: credential.Ambiguous, code: "connection_lost", sent: true},
	{fault: strict.Fault{Kind: strict.FaultStatus500}, class: credential.Transient, code: "server_error", sent: true},
	{fault: strict.Fault{Kind: strict.FaultStatus503, RetryAfter: 7 * time.Second}, class: credential.Transient, code: "temporarily_unavailable", sent: true},
	{fault: strict.Fault{Kind: strict.FaultStatus429, RetryAfter: 7 * time.Second}, class: credential.Transient, code: "rate_limited", sent: true},
	{fault: strict.Fault{Kind: strict.FaultHTML}, class: credential.Ambiguous, code: "html_answer", sent: true},
	{fault: strict.Fault{Kind: strict.FaultHTML, Status: 403}, class: credential.Unrecognised, code: "html_answer", sent: true},
	{fault: strict.Fault{Kind: strict.FaultHTML, Status: 502}, class: credential.Transient, code: "http_502", sent: true},
	{fault: strict.Fault{Kind: strict.FaultEndless}, class: credential.Ambiguous, code: "answer_too_long", sent: true},
	{fault: strict.Fault{Kind: strict.FaultEndless, Status: 400}, class: credential.Unrecognised, code: "answer_too_long", sent: true},
	{fault: strict.Fault{Kind: strict.FaultEndless, Status: 500}, class: credential.Transient, code: "answer_too_long", sent: true},
	{fault: strict.Fault{Kind: strict.FaultError200}, class: credential.Terminal, code: "invalid_grant", sent: true},
	{fault: strict.Fault{Kind: strict.FaultRedirect}, class: credential.Misconfigured, code: "redirect", sent: true},
	{fault: strict.Fault{Kind: strict.FaultRedirect, Status: 302}, class: credential.Misconfigured, code: "redirect", sent: true},
	{fault: strict.Fault{Kind: strict.FaultInvalidClient}, class: credential.Misconfigured, code: "invalid_client", sent: true},
	{fault: strict.Fault{Kind: strict.FaultUnrecognised}, class: credential.Unrecognised, code: "computer_says_no", sent: true},
	{fault: strict.Fault{Kind: strict.FaultErrorCode, Code: "invalid_grant"}, class: credential.Terminal, code: "invalid_grant", sent: true},
	{fault: strict.Fault{Kind: strict.FaultErrorCode, Code: "invalid_scope"}, class: credential.Unrecognised, code: "invalid_scope", sent: true},
	{fault: strict.Fault{Kind: strict.FaultEmpty}, class: credential.Ambiguous, code: "empty_answer", sent: true},
	{fault: strict.Fault{Kind: strict.FaultEmpty, Status: 400}, class: credential.Unrecognised, code: "empty_answer", sent: true},
	{fault: strict.Fault{Kind: strict.FaultTruncated}, class: credential.Ambiguous, code: "unreadable_answer", sent: true},
	{fault: strict.Fault{Kind: strict.FaultHugeToken, Size: 65 << 10}, class: credential.Ambiguous, code: "token_too_long", sent: true},
	{fault: strict.Fault{Kind: strict.FaultHugeToken}},
	{fault: strict.Fault{Kind: strict.FaultNoExpiresIn}},
	{fault: strict.Fault{Kind: strict.FaultStringExpiresIn}},
	{fault: strict.Fault{Kind: strict.FaultNoRefreshToken}},
	{fault: strict.Fault{Kind: strict.FaultLatency, Delay: 20 * time.Millisecond}},
	{fault: strict.Fault{Kind: strict.FaultSlowAnswer, Delay: 20 * time.Millisecond}},
}

func TestEveryFaultMeansWhatItMust(t *testing.T) {
	for _, tc := range faults {
		name := string(tc.fault.Kind)
		if tc.fault.Status != 0 {
			name += "_" + http.StatusText(tc.fault.Status)
		}
		t.Run(name, func(t *testing.T) {
			check := func(t *testing.T, b bench) {
				g := b.grant(t)
				if err := b.SetFaults(tc.fault); err != nil {
					t.Fatal(err)
				}
				got, err := b.client.Refresh(deadlineIn(t, 20*time.Second), b.reg, g.RefreshToken, nil)
				if tc.class == 0 {
					checkGrant(t, b, tc.fault.Kind, got, err)
					return
				}
				f := wantFailure(t, err, tc.class, tc.code, tc.sent)
				if f.RetryAfter != tc.fault.RetryAfter {
					t.Errorf("Retry-After is %v, want %v", f.RetryAfter, tc.fault.RetryAfter)
				}
			}
			t.Run("in process", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := inProcess(t)
					defer b.Close()
					check(t, b)
				})
			})
			if !tc.notHTTP {
				t.Run("over HTTP", func(t *testing.T) { check(t, overHTTP(t)) })
			}
		})
	}
}

func checkGrant(t *testing.T, b bench, kind strict.FaultKind, g credential.Grant, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	wantLife := strict.DefaultAccessTTL
	if kind == strict.FaultNoExpiresIn {
		wantLife = 0
	}
	if g.ExpiresIn != wantLife || g.TokenType != "Bearer" || strings.Join(g.Scopes, " ") != "openid profile" {
		t.Errorf("got %+v", g)
	}
	if !b.TokenLive(g.AccessToken) {
		t.Error("the access token does not work")
	}
	if kind == strict.FaultNoRefreshToken {
		if !g.RefreshToken.IsZero() {
			t.Error("a refresh token out of nothing")
		}
	} else if !b.TokenLive(g.RefreshToken) {
		t.Error("the refresh token does not work")
	}
}

func TestTimeOutsTellWhetherAnythingWasSent(t *testing.T) {
	for _, kind := range []strict.FaultKind{strict.FaultLatency, strict.FaultSlowAnswer} {
		synctest.Test(t, func(t *testing.T) {
			b := inProcess(t)
			defer b.Close()
			g := b.grant(t)
			if err := b.SetFaults(strict.Fault{Kind: kind, Delay: time.Minute}); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, err := b.client.Refresh(t.Context(), b.reg, g.RefreshToken, nil)
			wantFailure(t, err, credential.Ambiguous, "timeout", true)
			if took := time.Since(start); took != DefaultTimeout {
				t.Errorf("took %v, want the client's own bound %v", took, DefaultTimeout)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = b.client.Refresh(ctx, b.reg, g.RefreshToken, nil)
			wantFailure(t, err, credential.Transient, "canceled", false)
			ctx, cancel = context.WithDeadline(t.Context(), time.Now())
			defer cancel()
			_, err = b.client.Refresh(ctx, b.reg, g.RefreshToken, nil)
			if f := failure(t, err); f.Class != credential.Transient || f.Sent {
				t.Errorf("a deadline that had passed: %v (sent: %v)", f, f.Sent)
			}
		})
	}
}

func TestSpentRefreshTokenIsTerminal(t *testing.T) {
	b := overHTTP(t)
	g := b.grant(t)
	ctx := deadlineIn(t, 20*time.Second)
	if _, err := b.client.Refresh(ctx, b.reg, g.RefreshToken, []string{"openid"}); err != nil {
		t.Fatal(err)
	}
	_, err := b.client.Refresh(ctx, b.reg, g.RefreshToken, nil)
	wantFailure(t, err, credential.Terminal, "invalid_grant", true)
	_, err = b.client.Refresh(ctx, b.reg, credential.Secret{}, nil)
	wantFailure(t, err, credential.Terminal, credential.ReasonNoRefreshToken, false)
}

func TestClientsAuthenticateAsRegistered(t *testing.T) {
	odd := "p: ä+&%=/secret"
	for _, tc := range []struct {
		name   string
		method catalog.AuthMethod
		client strict.Client
	}{
		{"basic", catalog.ClientSecretBasic, strict.Client{ID: "a:b+c", Secret: credential.NewSecret(odd), Auth: strict.AuthBasic, OnlyRegisteredAuth: true}},
		{"unknown is basic", "", strict.Client{ID: "b", Secret: credential.NewSecret(odd), Auth: strict.AuthBasic, OnlyRegisteredAuth: true}},
		{"post", catalog.ClientSecretPost, strict.Client{ID: "c", Secret: credential.NewSecret(odd), Auth: strict.AuthPost, OnlyRegisteredAuth: true}},
		{"public", catalog.NoSecret, strict.Client{ID: "d", Auth: strict.AuthNone}},
		{"unknown without a secret is public", "", strict.Client{ID: "e", Auth: strict.AuthNone}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := strict.New(strict.Options{Clients: []strict.Client{tc.client}})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			g, err := p.NewGrant(tc.client.ID, "anna", []string{"openid"})
			if err != nil {
				t.Fatal(err)
			}
			reg := registration("http://strict.test")
			reg.ClientID, reg.ClientSecret, reg.Provider.TokenAuthMethod = tc.client.ID, tc.client.Secret, tc.method
			c := New(p.RoundTripper(), Options{})
			if _, err := c.Refresh(t.Context(), reg, g.RefreshToken, nil); err != nil {
				t.Error(err)
			}
			if tc.client.Auth == strict.AuthNone {
				return
			}
			if _, err := c.ClientCredentials(t.Context(), reg, []string{"api"}); err != nil {
				t.Error(err)
			}
			reg.ClientSecret = credential.NewSecret("wrong")
			_, err = c.Refresh(t.Context(), reg, g.RefreshToken, nil)
			wantFailure(t, err, credential.Misconfigured, "invalid_client", true)
		})
	}
}

func TestRevokedTokensAreInactive(t *testing.T) {
	b := overHTTP(t)
	g := b.grant(t)
	ctx := deadlineIn(t, 20*time.Second)
	before := time.Now()
	in, err := b.client.Introspect(ctx, b.reg, g.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	if !in.Active || in.Subject != "anna" || in.ClientID != "demo-basic" || strings.Join(in.Scopes, " ") != "openid profile" ||
		in.ExpiresAt.Sub(before) < 55*time.Second || in.ExpiresAt.Sub(before) > 65*time.Second {
		t.Errorf("got %+v", in)
	}
	if err := b.client.Revoke(ctx, b.reg, g.RefreshToken, HintRefreshToken); err != nil {
		t.Fatal(err)
	}
	if in, err = b.client.Introspect(ctx, b.reg, g.AccessToken); err != nil || in.Active {
		t.Errorf("after the revocation: %+v, %v", in, err)
	}
	if b.GrantAlive(g.Grant) {
		t.Error("the grant lives")
	}
	b.reg.Provider.RevocationURL, b.reg.Provider.IntrospectionURL = "", ""
	wantFailure(t, b.client.Revoke(ctx, b.reg, g.RefreshToken, ""), credential.Misconfigured, "bad_revocation_url", false)
	_, err = b.client.Introspect(ctx, b.reg, g.AccessToken)
	wantFailure(t, err, credential.Misconfigured, "bad_introspection_url", false)
}

func TestIntrospectionThatIsNoneIsUnrecognised(t *testing.T) {
	b := inProcess(t)
	defer b.Close()
	if err := b.SetFaults(strict.Fault{Kind: strict.FaultHTML, Endpoint: strict.EndpointIntrospect}, strict.Fault{Kind: strict.FaultInvalidClient, Endpoint: strict.EndpointRevoke}); err != nil {
		t.Fatal(err)
	}
	_, err := b.client.Introspect(t.Context(), b.reg, b.grant(t).AccessToken)
	wantFailure(t, err, credential.Unrecognised, "no_introspection", true)
	err = b.client.Revoke(t.Context(), b.reg, b.grant(t).RefreshToken, "")
	wantFailure(t, err, credential.Misconfigured, "invalid_client", true)
}
