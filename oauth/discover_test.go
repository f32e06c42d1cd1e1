package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// web is a number of pages, by URL, and what was asked for.
type web struct {
	mu    sync.Mutex
	pages map[string]page
	asked []string
}

type page struct {
	status int
	body   string
	age    string // Cache-Control
	err    error
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, r.Method+" "+r.URL.String())
	p, ok := w.pages[r.URL.String()]
	if !ok {
		p = page{status: 404, body: "nothing"}
	}
	if p.err != nil {
		return nil, p.err
	}
	return &http.Response{StatusCode: p.status, Header: http.Header{"Cache-Control": {p.age}}, Body: io.NopCloser(strings.NewReader(p.body)), Request: r}, nil
}

func (w *web) set(url string, p page) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pages == nil {
		w.pages = map[string]page{}
	}
	w.pages[url] = p
}

func (w *web) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

// metadata are those of an issuer whose end points are below it.
func metadata(issuer string, change map[string]any) string {
	m := map[string]any{
		"issuer": issuer, "authorization_endpoint": issuer + "/auth", "token_endpoint": issuer + "/token",
		"revocation_endpoint": issuer + "/revoke", "introspection_endpoint": issuer + "/introspect",
		"device_authorization_endpoint": issuer + "/device", "userinfo_endpoint": issuer + "/me",
	}
	maps.Copy(m, change)
	b, _ := json.Marshal(m)
	return string(b)
}

// onlyIssuer is a registration of which nothing but the issuer is known.
func onlyIssuer(issuer string) Registration {
	return Registration{Provider: &catalog.Provider{ID: "p", Issuer: issuer}, ClientID: "the-client", ClientSecret: credential.NewSecret(clientSecret)}
}

const issuer = "https://as.example/tenant"

func TestIssuerAloneIsEnough(t *testing.T) {
	for _, place := range []string{issuer + "/.well-known/openid-configuration", "https://as.example/.well-known/oauth-authorization-server/tenant", "https://as.example/.well-known/openid-configuration/tenant"} {
		w := &web{}
		w.set(place, page{status: 200, body: metadata(issuer, map[string]any{
			"token_endpoint_auth_methods_supported": []string{"client_secret_post"}, "authorization_response_iss_parameter_supported": true,
		})})
		w.set(issuer+"/token", page{status: 200, body: `{"access_token":"a"}`})
		w.set(issuer+"/revoke", page{status: 200})
		w.set(issuer+"/introspect", page{status: 200, body: `{"active":true}`})
		c, reg := New(w, Options{}), onlyIssuer(issuer)
		if _, err := c.Refresh(t.Context(), reg, credential.NewSecret("r"), nil); err != nil {
			t.Fatalf("%s: %v", place, err)
		}
		if err := c.Revoke(t.Context(), reg, credential.NewSecret("r"), ""); err != nil {
			t.Errorf("%s: %v", place, err)
		}
		if in, err := c.Introspect(t.Context(), reg, credential.NewSecret("r")); err != nil || !in.Active {
			t.Errorf("%s: %v", place, err)
		}
		address, err := c.Authorize(t.Context(), reg, AuthorizationRequest{State: "s"})
		if err != nil || !strings.HasPrefix(address, issuer+"/auth?") {
			t.Errorf("%s: %s, %v", place, address, err)
		}
		full, err := c.Complete(t.Context(), reg)
		if p := full.Provider; err != nil || p.TokenAuthMethod != catalog.ClientSecretPost || !p.AuthorizationResponseIss || p.DeviceAuthorizationURL != issuer+"/device" {
			t.Errorf("%s: %+v, %v", place, p, err)
		}
		if reg.Provider.TokenURL != "" {
			t.Error("the caller's provider was changed")
		}
		if found := strings.Count(strings.Join(w.asked, "\n"), place); found != 1 {
			t.Errorf("%s was asked for %d times", place, found)
		}
	}
}

func TestProviderWithATokenEndPointIsNotLookedUp(t *testing.T) {
	w := &web{}
	w.set("https://p.example/token", page{status: 200, body: `{"access_token":"a"}`})
	reg := registration("https://p.example")
	reg.Provider.Issuer = issuer
	if _, err := New(w, Options{}).Refresh(t.Context(), reg, credential.NewSecret("r"), nil); err != nil || w.count() != 1 {
		t.Errorf("%v, asked for %v", err, w.asked)
	}
}

func TestMetadataThatMustNotBeBelieved(t *testing.T) {
	place := issuer + "/.well-known/openid-configuration"
	other := "https://as.example/.well-known/oauth-authorization-server/tenant"
	for name, tc := range map[string]struct {
		page  page
		class credential.Class
		code  string
	}{
		"another issuer":          {page{status: 200, body: metadata("https://evil.example", nil)}, credential.Misconfigured, "issuer_mismatch"},
		"the issuer with a slash": {page{status: 200, body: metadata(issuer+"/", nil)}, credential.Misconfigured, "issuer_mismatch"},
		"the issuer in capitals":  {page{status: 200, body: metadata("https://AS.example/tenant", nil)}, credential.Misconfigured, "issuer_mismatch"},
		"no issuer":               {page{status: 200, body: `{}`}, credential.Misconfigured, "issuer_mismatch"},
		"a plain token end point": {page{status: 200, body: metadata(issuer, map[string]any{"token_endpoint": "http://as.example/token"})}, credential.Misconfigured, "bad_metadata"},
		"this machine":            {page{status: 200, body: metadata(issuer, map[string]any{"token_endpoint": "http://127.0.0.1/token"})}, credential.Misconfigured, "bad_metadata"},
		"a password":              {page{status: 200, body: metadata(issuer, map[string]any{"userinfo_endpoint": "https://u:p@as.example/"})}, credential.Misconfigured, "bad_metadata"},
		"a variable":              {page{status: 200, body: metadata(issuer, map[string]any{"token_endpoint": "https://{x}.example/"})}, credential.Misconfigured, "bad_metadata"},
		"script":                  {page{status: 200, body: metadata(issuer, map[string]any{"authorization_endpoint": "javascript:alert(1)"})}, credential.Misconfigured, "bad_metadata"},
		"a number":                {page{status: 200, body: metadata(issuer, map[string]any{"token_endpoint": 7})}, credential.Misconfigured, "bad_metadata"},
		"HTML":                    {page{status: 200, body: "<html>"}, credential.Misconfigured, "bad_metadata"},
		"no end":                  {page{status: 200, body: `{"issuer":"` + strings.Repeat("x", maxBody)}, credential.Misconfigured, "bad_metadata"},
		"a redirect":              {page{status: 302}, credential.Misconfigured, "no_metadata"},
		"not there":               {page{status: 404}, credential.Misconfigured, "no_metadata"},
		"broken":                  {page{status: 503}, credential.Transient, "no_metadata"},
		"no answer":               {page{err: errors.New("gone")}, credential.Transient, "connection_lost"},
		"not a public address":    {page{err: fmt.Errorf("dial: %w", ErrAddressRefused)}, credential.Misconfigured, "address_refused"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &web{}
			w.set(place, tc.page)
			c := New(w, Options{})
			for range 2 { // the failure is kept for a while
				_, err := c.Refresh(t.Context(), onlyIssuer(issuer), credential.NewSecret("r"), nil)
				wantFailure(t, err, tc.class, tc.code, false)
			}
			for _, asked := range w.asked {
				if asked != "GET "+place && asked != "GET "+other && !strings.HasSuffix(asked, "openid-configuration/tenant") {
					t.Errorf("asked for %s", asked)
				}
			}
			if w.count() > 3 {
				t.Errorf("asked for %v", w.asked)
			}
		})
	}
	for _, bad := range []string{"http://as.example", "https://as.example?x", "https://u:p@as.example", "as.example", "https://as.example/#a"} {
		_, err := New(&web{}, Options{}).Discover(t.Context(), bad)
		if f := failure(t, err); f.Class != credential.Misconfigured || f.Sent {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestPageForEveryAddressHidesNoMetadata: some hosts answer whatever is asked.
func TestPageForEveryAddressHidesNoMetadata(t *testing.T) {
	w := &web{}
	w.set("https://as.example/.well-known/oauth-authorization-server/tenant", page{status: 200, body: "<html>welcome"})
	w.set("https://as.example/.well-known/openid-configuration/tenant", page{status: 200, body: metadata("https://as.example", nil)})
	w.set(issuer+"/.well-known/openid-configuration", page{status: 200, body: metadata(issuer, nil)})
	m, err := New(w, Options{}).Discover(t.Context(), issuer)
	if err != nil || m.TokenURL != issuer+"/token" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestMetadataAreKeptRefreshedAndOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place := "https://as.example/.well-known/oauth-authorization-server/tenant"
		w := &web{}
		w.set(place, page{status: 200, body: metadata(issuer, nil), age: "public, max-age=600"})
		c := New(w, Options{})
		token := func() (string, error) {
			full, err := c.Complete(t.Context(), onlyIssuer(issuer))
			if err != nil {
				return "", err
			}
			return full.Provider.TokenURL, nil
		}
		expect := func(when, url string, requests int) {
			t.Helper()
			if got, err := token(); err != nil || got != url || w.count() != requests {
				t.Errorf("%s: %s, %v, after %d requests; want %s after %d", when, got, err, w.count(), url, requests)
			}
		}
		expect("at first", issuer+"/token", 1)
		time.Sleep(9 * time.Minute)
		expect("while fresh", issuer+"/token", 1)
		w.set(place, page{status: 200, body: metadata(issuer, map[string]any{"token_endpoint": issuer + "/token2"}), age: "max-age=1"})
		time.Sleep(2 * time.Minute)
		expect("when it was changed", issuer+"/token2", 2)
		time.Sleep(minFresh - time.Second)
		expect("a short max-age is no more than five minutes", issuer+"/token2", 2)
		w.set(place, page{status: 200, body: metadata("https://evil.example", nil)})
		time.Sleep(2 * time.Second)
		expect("while the issuer is taken over", issuer+"/token2", 5) // it is looked for at the other places
		time.Sleep(askAgain - time.Second)
		expect("it is not asked at each use", issuer+"/token2", 5)
		c.Doubt(issuer)
		c.Doubt("https://other.example")
		expect("it is asked again where it is doubted, and used on if that fails", issuer+"/token2", 8)
		expect("once", issuer+"/token2", 8)
		w.set(place, page{err: errors.New("down")})
		time.Sleep(6 * 24 * time.Hour)
		expect("days later", issuer+"/token2", 9)
		time.Sleep(3 * 24 * time.Hour)
		if _, err := token(); err == nil {
			t.Error("metadata of nine days ago are used")
		}
		w.set(place, page{status: 200, body: metadata(issuer, nil)})
		time.Sleep(askAgain)
		if got, err := token(); err != nil || got != issuer+"/token" {
			t.Errorf("after the outage: %s, %v", got, err)
		}
	})
}

func TestManyAskOnce(t *testing.T) {
	var asked atomic.Int32
	release := make(chan struct{})
	c := New(roundTrip(func(r *http.Request) (*http.Response, error) {
		asked.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		<-release
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(metadata(issuer, nil))), Request: r}, nil
	}), Options{})
	synctest.Test(t, func(t *testing.T) {
		release = make(chan struct{})
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := c.Discover(t.Context(), issuer); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
	})
	if asked.Load() != 1 {
		t.Errorf("%d requests", asked.Load())
	}
}

func TestDirectoryIsBounded(t *testing.T) {
	var d directory
	now := time.Now()
	for i := range maxIssuers + 20 {
		d.put(fmt.Sprint(i), &listing{ask: now.Add(time.Duration(i) * time.Second)})
	}
	if len(d.of) != maxIssuers || d.get("0") != nil || d.get(fmt.Sprint(maxIssuers+19)) == nil {
		t.Errorf("%d issuers are kept", len(d.of))
	}
}

// An issuer on the Internet names an end point within the machine's network. The
// real transport refuses it, although the issuer itself may be reached.
func TestMetadataCannotLeadToPrivateAddresses(t *testing.T) {
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/openid-configuration" {
			w.WriteHeader(404)
			return
		}
		_, _ = io.WriteString(w, metadata(srv.URL, map[string]any{"token_endpoint": "https://169.254.169.254/token", "userinfo_endpoint": "https://10.0.0.1/"}))
	}))
	t.Cleanup(srv.Close)
	tr := NewTransport(TransportOptions{Allow: loopback})
	t.Cleanup(tr.CloseIdleConnections)
	c := New(tr, Options{})
	_, err := c.Refresh(deadlineIn(t, 20*time.Second), onlyIssuer(srv.URL), credential.NewSecret("r"), nil)
	wantFailure(t, err, credential.Misconfigured, "address_refused", false)
	_, err = c.Userinfo(deadlineIn(t, 20*time.Second), onlyIssuer(srv.URL), credential.NewSecret("a"))
	wantFailure(t, err, credential.Misconfigured, "address_refused", false)
	// Nor is the issuer asked where its own address is not public.
	strict := NewTransport(TransportOptions{})
	t.Cleanup(strict.CloseIdleConnections)
	_, err = New(strict, Options{}).Discover(deadlineIn(t, 20*time.Second), srv.URL)
	wantFailure(t, err, credential.Misconfigured, "address_refused", false)
}

// A token end point that redirects to the metadata service of a cloud is not
// followed, over the real transport.
func TestTokenEndPointThatRedirectsInwardIsNotFollowed(t *testing.T) {
	reached := false
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	t.Cleanup(inner.Close)
	for _, where := range []string{"http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", inner.URL} {
		srv := httptest.NewServer(http.RedirectHandler(where, http.StatusTemporaryRedirect))
		tr := NewTransport(TransportOptions{Allow: loopback})
		_, err := New(tr, Options{}).Refresh(deadlineIn(t, 20*time.Second), registration(srv.URL), credential.NewSecret("r"), nil)
		f := wantFailure(t, err, credential.Misconfigured, "redirect", true)
		if strings.Contains(f.Error(), "meta-data") {
			t.Errorf("%v shows the path", f)
		}
		tr.CloseIdleConnections()
		srv.Close()
	}
	if reached {
		t.Error("the redirect was followed")
	}
}
