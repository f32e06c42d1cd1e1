// Package quirks replays what providers do in their own way: for each one with a
// special answer, the shapes that its public documents show, with values made
// up, go through the real client, over TCP, against the strict provider acting
// them. It promises that the catalogue and package oauth together understand
// each of these providers: exchange, refresh, terminal and transient error. It
// leaves to others whether the documents tell the truth.
package quirks

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clientID    = "the-client"
	secret      = "the-clients-secret"
	redirectURI = "http://127.0.0.1/callback"
)

// stage is one provider, acted.
type stage struct {
	t       testing.TB
	f       *fixture
	acted   *strict.Provider
	client  *oauth.Client
	wires   *wires
	reg     oauth.Registration
	ctx     context.Context
	scopes  []string
	refresh bool // there are refresh tokens, or what serves as such
}

func TestEveryQuirkIsUnderstood(t *testing.T) {
	c, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			p, ok := c.Get(name)
			if !ok {
				t.Fatal("the catalogue has no such provider; rename or remove the fixture")
			}
			s := newStage(t, p, f)
			s.play()
		})
	}
}

// play goes through the life of a grant.
func (s *stage) play() {
	if s.f.Machine {
		s.machine()
		return
	}
	code := s.authorize()
	if !s.refresh {
		s.unavailable(func() (credential.Grant, error) { return s.exchange(code) })
	}
	g, err := s.exchange(code)
	if err != nil {
		s.t.Fatalf("exchange: %v", err)
	}
	s.check("exchange", g, s.f.Want)
	if !s.refresh {
		_, err = s.exchange(code) // a code is good once
		s.wantFailure("code that was used", err, s.f.Want.Terminal)
		return
	}
	if g.RefreshToken.IsZero() {
		s.t.Fatal("exchange: no refresh token")
	}
	for range 2 {
		again, err := s.client.Refresh(s.ctx, s.reg, g.RefreshToken, nil)
		if err != nil {
			s.t.Fatalf("refresh: %v", err)
		}
		if again.AccessToken.Reveal() == g.AccessToken.Reveal() {
			s.t.Error("refresh: the same access token")
		}
		s.check("refresh", again, s.f.Want.refreshed())
		if again.RefreshToken.IsZero() {
			again.RefreshToken = g.RefreshToken
		}
		g = again
	}
	s.unavailable(func() (credential.Grant, error) { return s.client.Refresh(s.ctx, s.reg, g.RefreshToken, nil) })
	grant, _, ok := s.acted.GrantOf(g.AccessToken)
	if !ok || s.acted.Revoke(grant) != nil {
		s.t.Fatal("the grant could not be revoked")
	}
	_, err = s.client.Refresh(s.ctx, s.reg, g.RefreshToken, nil)
	s.wantFailure("dead grant", err, s.f.Want.Terminal)
}

// machine is the same for a client that asks for itself.
func (s *stage) machine() {
	ask := func() (credential.Grant, error) { return s.client.ClientCredentials(s.ctx, s.reg, s.scopes) }
	s.unavailable(ask)
	g, err := ask()
	if err != nil {
		s.t.Fatalf("client credentials: %v", err)
	}
	s.check("client credentials", g, s.f.Want)
	s.reg.ClientSecret = credential.NewSecret("another")
	_, err = ask()
	s.wantFailure("wrong secret", err, "misconfigured: invalid_client")
}

func newStage(t testing.TB, p catalog.Provider, f *fixture) *stage {
	p = p.Clone()
	if len(f.Variables) > 0 {
		raw, err := json.Marshal(f.Variables)
		if err != nil {
			t.Fatal(err)
		}
		if p, err = catalog.Override(p, map[string]json.RawMessage{"url_variables": raw}); err != nil {
			t.Fatal(err)
		}
	}
	rotation := strict.RotationStrict
	if p.RefreshRotation == catalog.Static && !p.RefreshWithAccessToken {
		rotation = strict.RotationStatic
	}
	auth := strict.AuthBasic
	if p.TokenAuthMethod == catalog.ClientSecretPost {
		auth = strict.AuthPost
	}
	acted, err := strict.New(strict.Options{AccessTTL: time.Hour, Clients: []strict.Client{{
		ID: clientID, Secret: credential.NewSecret(secret), Auth: auth, OnlyRegisteredAuth: true, Rotation: rotation,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(acted.Act(f.shape(t, p)))
	tr := oauth.NewTransport(oauth.TransportOptions{Allow: []oauth.Exception{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}})
	t.Cleanup(func() { tr.CloseIdleConnections(); srv.Close(); acted.Close() })
	w := &wires{to: strings.TrimPrefix(srv.URL, "http://"), rt: tr}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return &stage{
		t: t, f: f, acted: acted, client: oauth.New(w, oauth.Options{}), wires: w, ctx: ctx,
		reg:     oauth.Registration{Provider: &p, ClientID: clientID, ClientSecret: credential.NewSecret(secret)},
		scopes:  f.Scopes,
		refresh: p.RefreshRotation != catalog.NoRefresh,
	}
}

// shape is how the provider looks: the paths are the catalogue's, all else the
// fixture's.
func (f *fixture) shape(t testing.TB, p catalog.Provider) strict.Shape {
	s := strict.Shape{
		AuthPath: "/auth", TokenPath: pathOf(t, p, p.TokenURL), RefreshPath: f.RefreshPath, ExtensionPath: pathOf(t, p, p.ExtensionURL),
		Method: f.Method, RefreshMethod: f.RefreshMethod, Names: f.Names, AuthNames: f.AuthNames, GrantTypes: f.GrantTypes,
		Needs: f.Needs, RefreshNeeds: f.RefreshNeeds, CodeName: f.CodeName, Callback: f.Callback, TradesAccess: f.TradesAccess,
		Exchanged: f.Exchanged.recorded(), Extended: f.Extended.recorded(), Refreshed: f.Refreshed.recorded(),
		Errors: map[string]strict.Recorded{}, Resources: map[string]strict.Recorded{},
	}
	if p.AuthorizationURL != "" {
		s.AuthPath = pathOf(t, p, p.AuthorizationURL)
	}
	if f.Terminal.Body != "" || f.Terminal.Status != 0 {
		s.Errors["invalid_grant"] = f.Terminal.recorded()
	}
	if f.Transient.Body != "" || f.Transient.Status != 0 {
		s.Errors["temporarily_unavailable"] = f.Transient.recorded()
	}
	for path, r := range f.Resources {
		s.Resources[path] = r.recorded()
	}
	return s
}

func pathOf(t testing.TB, p catalog.Provider, endpoint string) string {
	if endpoint == "" {
		return ""
	}
	for name, value := range p.URLVariables {
		endpoint = strings.ReplaceAll(endpoint, "{"+name+"}", cmp.Or(value, "x"))
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return u.Path
}

// authorize goes to the provider as a browser would and returns the code; what
// else the callback tells is taken in.
func (s *stage) authorize() credential.Secret {
	reg := s.reg
	if reg.Provider.AuthorizationURL == "" { // the provider itself calls with a code
		p := reg.Provider.Clone()
		p.AuthorizationURL = "https://nobody.example/auth"
		reg.Provider = &p
	}
	if len(s.f.StartVariables) > 0 { // the callback tells others than one starts with
		p, err := reg.Provider.WithVariables(s.f.StartVariables)
		if err != nil {
			s.t.Fatal(err)
		}
		reg.Provider = &p
	}
	address, err := oauth.AuthorizationURL(reg, oauth.AuthorizationRequest{
		RedirectURI: redirectURI, State: "the-state", Scopes: s.scopes, Verifier: credential.NewSecret(strings.Repeat("v", 43)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := s.wires.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	back, err := res.Location()
	if err != nil || back.Query().Get("state") != "the-state" {
		s.t.Fatalf("authorization: HTTP %d, %v", res.StatusCode, err)
	}
	variables, facts, err := s.reg.Provider.FromCallback(back.Query().Get)
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := s.reg.Provider.WithVariables(variables)
	if err != nil {
		s.t.Fatal(err)
	}
	s.reg.Provider = &p
	if !maps.Equal(facts, s.f.Want.CallbackFacts) {
		s.t.Errorf("the callback tells %v, want %v", facts, s.f.Want.CallbackFacts)
	}
	code := back.Query().Get(cmp.Or(p.CallbackCodeParameter, "code"))
	if code == "" {
		s.t.Fatalf("no code in the callback, which has %v", slices.Sorted(maps.Keys(back.Query())))
	}
	return credential.NewSecret(code)
}

func (s *stage) exchange(code credential.Secret) (credential.Grant, error) {
	return s.client.Exchange(s.ctx, s.reg, oauth.Exchange{Code: code, RedirectURI: redirectURI, Verifier: credential.NewSecret(strings.Repeat("v", 43))})
}

// unavailable asks while the provider is busy: nothing must be used up.
func (s *stage) unavailable(ask func() (credential.Grant, error)) {
	if err := s.acted.SetFaults(strict.Fault{Kind: strict.FaultStatus503}); err != nil {
		s.t.Fatal(err)
	}
	_, err := ask()
	s.wantFailure("busy provider", err, s.f.Want.Transient)
	if f, ok := err.(*credential.Failure); ok && f.RetryAfter != time.Duration(s.f.Want.RetryAfter)*time.Second {
		s.t.Errorf("busy provider: come again in %s, want %d s", f.RetryAfter, s.f.Want.RetryAfter)
	}
	if err := s.acted.SetFaults(); err != nil {
		s.t.Fatal(err)
	}
}

// check compares a grant with what the fixture wants of it.
func (s *stage) check(what string, g credential.Grant, want want) {
	s.t.Helper()
	if !s.acted.TokenLive(g.AccessToken) {
		s.t.Errorf("%s: the access token is none of the provider's", what)
	}
	if !near(g.ExpiresIn, want.ExpiresIn) || !near(g.RefreshExpiresIn, want.RefreshExpiresIn) {
		s.t.Errorf("%s: the access token lives %s, the refresh token %s; want %d s and %d s", what, g.ExpiresIn, g.RefreshExpiresIn, want.ExpiresIn, want.RefreshExpiresIn)
	}
	if !slices.Equal(g.Scopes, want.Scopes) {
		s.t.Errorf("%s: scopes %q, want %q", what, g.Scopes, want.Scopes)
	}
	if facts := credential.MergeFacts(credential.MergeFacts(nil, want.Facts), want.RequestedFacts); !maps.Equal(g.Facts, facts) {
		s.t.Errorf("%s: facts %v, want %v", what, g.Facts, facts)
	}
	if g.Subject.User != want.Subject {
		s.t.Errorf("%s: the user is %q, want %q", what, g.Subject.User, want.Subject)
	}
	if g.TokenType != cmp.Or(want.TokenType, "Bearer") {
		s.t.Errorf("%s: the type is %q, want %q", what, g.TokenType, want.TokenType)
	}
	facts := credential.MergeFacts(credential.MergeFacts(nil, s.f.Want.CallbackFacts), g.Facts)
	if base, err := s.reg.Provider.APIBase(facts); want.APIBase != "" && (err != nil || base != want.APIBase) {
		s.t.Errorf("%s: the API is at %q, want %q, %v", what, base, want.APIBase, err)
	}
	if host := s.wires.last(); want.TokenHost != "" && host != want.TokenHost {
		s.t.Errorf("%s: %s was asked, want %s", what, host, want.TokenHost)
	}
}

// near allows for the seconds that the test takes.
func near(got time.Duration, want int) bool {
	d := time.Duration(want)*time.Second - got
	return d >= -2*time.Second && d <= 30*time.Second && (want > 0) == (got > 0)
}

func (s *stage) wantFailure(what string, err error, want string) {
	s.t.Helper()
	f, ok := err.(*credential.Failure)
	if !ok {
		s.t.Errorf("%s: %v, want a failure", what, err)
		return
	}
	if got := f.Class.String() + ": " + f.Code; got != want {
		s.t.Errorf("%s is %q, want %q (%s)", what, got, want, f.Detail)
	}
}

// wires lead every host to the acted provider, and remember whom was asked for.
type wires struct {
	to string
	rt http.RoundTripper

	mu   sync.Mutex
	host string
}

// RoundTrip implements http.RoundTripper.
func (w *wires) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	if r.Header.Get("Content-Type") != "" || r.URL.Query().Has("grant_type") {
		w.host = r.URL.Host
	}
	w.mu.Unlock()
	led := r.Clone(r.Context())
	led.URL.Scheme, led.URL.Host = "http", w.to
	return w.rt.RoundTrip(led)
}

// last is the host of the last token request.
func (w *wires) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.host
}
