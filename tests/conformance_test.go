package tests

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/bench/strict/stricttest"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/authserver"
)

// The demo provider stands in for a real server in most of grantd's tests, so
// it must do what a real one does. Here both go through the same steps, and
// each writes down what its client sees; the two accounts must be the same.

const conformanceTTL = time.Minute

func TestDemoProviderBehavesAsOIDCProvider(t *testing.T) {
	real := authserver.Start(t, authserver.OIDCProvider, authserver.Options{AccessTTL: conformanceTTL})
	demo := startDemo(t, conformanceTTL)
	for _, step := range conformanceSteps {
		t.Run(step.name, func(t *testing.T) {
			want, got := &witness{t: t, app: real.App}, &witness{t: t, app: demo}
			step.do(want)
			step.do(got)
			if len(want.seen) == 0 {
				t.Fatal("the step saw nothing")
			}
			if !slices.Equal(want.seen, got.seen) {
				t.Errorf("oidc-provider:\n  %s\nthe demo provider:\n  %s",
					strings.Join(want.seen, "\n  "), strings.Join(got.seen, "\n  "))
			}
		})
	}
}

func TestDemoProviderTokensEndInTimeAsThoseOfOIDCProvider(t *testing.T) {
	servers := map[string]func(authserver.Method) *authserver.App{
		"oidc-provider": authserver.Start(t, authserver.OIDCProvider, authserver.Options{AccessTTL: time.Second}).App,
		"demo provider": startDemo(t, time.Second),
	}
	for name, app := range servers {
		t.Run(name, func(t *testing.T) {
			client := app(authserver.Basic)
			grant, err := client.Authorize(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			look := time.NewTicker(20 * time.Millisecond)
			defer look.Stop()
			began := time.Now()
			for active := true; active; <-look.C {
				a, err := client.Introspect(t.Context(), grant.AccessToken)
				if err != nil {
					t.Fatal(err)
				}
				if active = a.Active; time.Since(began) > 20*time.Second {
					t.Fatal("a token of one second lives for twenty")
				}
			}
			if alive, err := client.Alive(t.Context(), grant.RefreshToken); err != nil || !alive {
				t.Errorf("the grant is alive: %v, %v", alive, err)
			}
		})
	}
}

// startDemo serves the demo provider until t ends, and returns its applications.
func startDemo(t *testing.T, accessTTL time.Duration) func(authserver.Method) *authserver.App {
	t.Helper()
	secret := credential.NewSecret(rand.Text() + rand.Text())
	_, base := stricttest.Serve(t, strict.Options{AccessTTL: accessTTL, Clients: []strict.Client{
		{ID: "test-basic", Secret: secret, Auth: strict.AuthBasic},
		{ID: "test-post", Secret: secret, Auth: strict.AuthPost},
		{ID: "test-public", Auth: strict.AuthNone},
	}})
	metadata, err := authserver.Discover(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[authserver.Method]string{authserver.Basic: "test-basic", authserver.Post: "test-post", authserver.None: "test-public"}
	return func(m authserver.Method) *authserver.App {
		app := &authserver.App{
			Metadata: metadata, ClientID: ids[m], Method: m, RedirectURI: "http://127.0.0.1:1/callback",
			Scopes: []string{"openid", "offline_access", "profile"},
		}
		if m != authserver.None {
			app.Secret = secret
		}
		return app
	}
}

// witness writes down what a client sees at one server.
type witness struct {
	t    *testing.T
	app  func(authserver.Method) *authserver.App
	seen []string
}

func (w *witness) note(format string, args ...any) {
	w.seen = append(w.seen, fmt.Sprintf(format, args...))
}

// see writes an answer down, without what differs from one answer to the next.
func (w *witness) see(what string, a authserver.Answer, err error) authserver.Answer {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	w.note("%s: %v, %s", what, a, looks(a))
	return a
}

// looks describes an answer: tokens by what surrounds them, a refusal by the
// scheme of authentication that it asks for.
func looks(a authserver.Answer) string {
	if a.AccessToken.IsZero() {
		scheme, _, _ := strings.Cut(a.Header.Get("WWW-Authenticate"), " ")
		return fmt.Sprintf("challenge %q", scheme)
	}
	lifetime := "as configured" // the second that the request took may be taken off
	if a.ExpiresIn > conformanceTTL || a.ExpiresIn < conformanceTTL-10*time.Second {
		lifetime = a.ExpiresIn.String()
	}
	return fmt.Sprintf("refresh token %v, type %q, scope %q, lifetime %s, cache %q",
		!a.RefreshToken.IsZero(), a.TokenType, a.Scope, lifetime, a.Header.Get("Cache-Control"))
}

func (w *witness) grant(m authserver.Method) (*authserver.App, authserver.Answer) {
	w.t.Helper()
	app := w.app(m)
	a, err := app.Authorize(w.t.Context())
	return app, w.see("the code is redeemed", a, err)
}

func (w *witness) refresh(app *authserver.App, what string, token credential.Secret) authserver.Answer {
	w.t.Helper()
	a, err := app.Refresh(w.t.Context(), token)
	return w.see(what, a, err)
}

func (w *witness) post(app *authserver.App, what, endpoint string, form url.Values) authserver.Answer {
	w.t.Helper()
	a, err := app.Post(w.t.Context(), endpoint, form)
	return w.see(what, a, err)
}

// active writes down whether a token is.
func (w *witness) active(what string, token credential.Secret) {
	w.t.Helper()
	a, err := w.app(authserver.Basic).Introspect(w.t.Context(), token)
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	w.note("%s: HTTP %d, active %v", what, a.Status, a.Active)
}

// atOnce refreshes several times at once and returns the one answer with tokens.
func (w *witness) atOnce(app *authserver.App, n int, token credential.Secret) authserver.Answer {
	w.t.Helper()
	answers, errs := make([]authserver.Answer, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { answers[i], errs[i] = app.Refresh(w.t.Context(), token) })
	}
	wg.Wait()
	var winner authserver.Answer
	var all []string
	for i, a := range answers {
		if errs[i] != nil {
			w.t.Fatal(errs[i])
		}
		if a.OK() {
			winner = a
		}
		all = append(all, a.String())
	}
	slices.Sort(all)
	w.note("%d refreshes at once: %v", n, all)
	return winner
}
