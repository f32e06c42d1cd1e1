package strict_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuer   = "http://strict.test"
	redirect = "http://127.0.0.1:9/callback"
)

// newProvider returns a provider that is closed at the end of the test.
func newProvider(t testing.TB, o strict.Options) *strict.Provider {
	t.Helper()
	o.Issuer = issuer
	p, err := strict.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func newGrant(t testing.TB, p *strict.Provider, client string) strict.Tokens {
	t.Helper()
	tokens, err := p.NewGrant(client, "anna", []string{"openid", "profile"})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// answer is what came back over HTTP.
type answer struct {
	Status int
	Header http.Header
	Raw    string

	AccessToken  string          `json:"access_token"`
	RefreshToken string          `json:"refresh_token"`
	ExpiresIn    json.RawMessage `json:"expires_in"`
	Scope        string          `json:"scope"`
	TokenType    string          `json:"token_type"`
	Error        string          `json:"error"`
	Active       bool            `json:"active"`
	Subject      string          `json:"sub"`
	Client       string          `json:"client_id"`
}

// caller sends requests to a provider, through any transport.
type caller struct {
	t    testing.TB
	rt   http.RoundTripper
	base string
}

func inProcess(t testing.TB, p *strict.Provider) caller { return caller{t, p.RoundTripper(), issuer} }

// try sends a request and reads up to a MiB of its answer.
func (c caller) try(ctx context.Context, method, path string, header http.Header, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	res, err := c.rt.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return answer{}, err
	}
	a := answer{Status: res.StatusCode, Header: res.Header, Raw: string(raw)}
	_ = json.Unmarshal(raw, &a) // not every answer is JSON, and the tests see that
	return a, nil
}

// post sends a form as a client authenticates by default: the demo clients by
// their registered method.
func (c caller) post(path, client string, form url.Values) answer {
	c.t.Helper()
	a, err := c.tryPost(context.Background(), path, client, form)
	if err != nil {
		c.t.Fatalf("POST %s: %v", path, err)
	}
	return a
}

func (c caller) tryPost(ctx context.Context, path, client string, form url.Values) (answer, error) {
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	switch client {
	case "demo-post":
		form.Set("client_id", client)
		form.Set("client_secret", client+"-secret")
	case "demo-public":
		form.Set("client_id", client)
	case "":
	default:
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(client+":"+client+"-secret")))
	}
	return c.try(ctx, http.MethodPost, path, h, form.Encode())
}

func (c caller) refresh(client, token string) answer {
	c.t.Helper()
	return c.post("/token", client, refreshForm(token))
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// me asks the protected resource and returns the status.
func (c caller) me(token string) answer {
	c.t.Helper()
	a, err := c.try(context.Background(), http.MethodGet, "/api/me", http.Header{"Authorization": {"Bearer " + token}}, "")
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorize sends the browser to the provider and returns where it is sent next.
func (c caller) authorize(client string, change url.Values) (answer, url.Values) {
	c.t.Helper()
	q := url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirect}, "scope": {"openid profile"}, "state": {"st"},
		"code_challenge": {challenge()}, "code_challenge_method": {"S256"},
	}
	for k, v := range change {
		q[k] = v
	}
	a, err := c.try(context.Background(), http.MethodGet, "/auth?"+q.Encode(), nil, "")
	if err != nil {
		c.t.Fatal(err)
	}
	loc, err := url.Parse(a.Header.Get("Location"))
	if err != nil {
		c.t.Fatal(err)
	}
	return a, loc.Query()
}

func (c caller) exchange(client, code string, change url.Values) answer {
	c.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier}}
	for k, v := range change {
		form[k] = v
	}
	return c.post("/token", client, form)
}

// wantStatus fails unless the answer has the status and OAuth error ("" for none).
func wantStatus(t testing.TB, a answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.Error != code {
		t.Fatalf("answered %d %q, want %d %q; body %.200s", a.Status, a.Error, status, code, a.Raw)
	}
}

func last(t testing.TB, p *strict.Provider) strict.Request {
	t.Helper()
	all := p.Record()
	if len(all) == 0 {
		t.Fatal("nothing was recorded")
	}
	return all[len(all)-1]
}

func secret(s string) credential.Secret { return credential.NewSecret(s) }

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("waited in vain for: " + what)
		}
	}
}
