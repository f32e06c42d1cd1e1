package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

// provider accepts the token of one generation only and counts requests.
type provider struct {
	*httptest.Server
	accepts  atomic.Value // string
	requests atomic.Int64
	bodies   sync.Map
}

func newProvider(t *testing.T) *provider {
	p := &provider{}
	p.accepts.Store(tokenOf(0).Reveal())
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := p.requests.Add(1)
		b, _ := io.ReadAll(r.Body)
		p.bodies.Store(n, string(b))
		if r.URL.Path == "/away" {
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+p.accepts.Load().(string) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "refused")
			return
		}
		_, _ = io.WriteString(w, "welcome")
	}))
	t.Cleanup(p.Close)
	return p
}

func newTransport(t *testing.T, f *fakeAPI, p *provider) *http.Client {
	s := newClient(t, f).TokenSource(account, client.SourceOptions{})
	return &http.Client{Transport: &client.Transport{Source: s, Base: p.Client().Transport}, Timeout: 10 * time.Second}
}

func read(t *testing.T, res *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRequestsGoOutWithTheToken(t *testing.T) {
	f, p := &fakeAPI{lifetime: time.Hour}, newProvider(t)
	c := newTransport(t, f, p)
	req, err := http.NewRequest("GET", p.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if got := read(t, res, err); got != "welcome" || req.Header.Get("Authorization") != "" {
		t.Errorf("%q; the caller's own request has %v", got, req.Header)
	}
}

func TestA401IsReportedAndTheRequestRepeatedOnce(t *testing.T) {
	f, p := &fakeAPI{lifetime: time.Hour}, newProvider(t)
	c := newTransport(t, f, p)
	p.accepts.Store(tokenOf(1).Reveal()) // generation 0 was revoked
	res, err := c.Post(p.URL, "text/plain", strings.NewReader("payload"))
	if got := read(t, res, err); got != "welcome" {
		t.Fatalf("%d %q", res.StatusCode, got)
	}
	first, _ := p.bodies.Load(int64(1))
	second, _ := p.bodies.Load(int64(2))
	if p.requests.Load() != 2 || first != "payload" || second != "payload" || f.count("POST") != 1 {
		t.Errorf("%d requests with %q and %q, %d reports", p.requests.Load(), first, second, f.count("POST"))
	}
}

func TestAProviderThatRefusesEveryTokenIsAskedTwice(t *testing.T) {
	f, p := &fakeAPI{lifetime: time.Hour}, newProvider(t)
	c := newTransport(t, f, p)
	p.accepts.Store("none")
	res, err := c.Get(p.URL)
	if got := read(t, res, err); got != "refused" || res.StatusCode != 401 || p.requests.Load() != 2 || f.count("POST") != 1 {
		t.Errorf("%d %q, %d requests, %d reports", res.StatusCode, got, p.requests.Load(), f.count("POST"))
	}
}

func TestABodyThatCannotBeReadAgainIsNotRepeated(t *testing.T) {
	f, p := &fakeAPI{lifetime: time.Hour}, newProvider(t)
	c := newTransport(t, f, p)
	p.accepts.Store(tokenOf(1).Reveal())
	res, err := c.Post(p.URL, "text/plain", io.MultiReader(strings.NewReader("payload")))
	if got := read(t, res, err); got != "refused" || p.requests.Load() != 1 || f.count("POST") != 1 {
		t.Errorf("%d %q, %d requests, %d reports", res.StatusCode, got, p.requests.Load(), f.count("POST"))
	}
	res, err = c.Get(p.URL) // the next request has the new token
	if got := read(t, res, err); got != "welcome" || p.requests.Load() != 2 {
		t.Errorf("%q, %d requests", got, p.requests.Load())
	}
}

func TestTheProvidersAnswerIsKeptWhenTheReportFails(t *testing.T) {
	f, p := &fakeAPI{lifetime: time.Hour}, newProvider(t)
	c := newTransport(t, f, p)
	read1, err := c.Get(p.URL)
	read(t, read1, err)
	p.accepts.Store("none")
	f.set(func() { f.down = true })
	res, err := c.Get(p.URL)
	if got := read(t, res, err); got != "refused" || res.StatusCode != 401 {
		t.Errorf("%d %q", res.StatusCode, got)
	}
}

// TestARedirectToAnotherHostTakesNoTokenAlong: net/http takes the Authorization
// header off such a request, a careless transport would put it on again.
func TestARedirectToAnotherHostTakesNoTokenAlong(t *testing.T) {
	f, p := &fakeAPI{lifetime: time.Hour}, newProvider(t)
	leaked := make(chan string, 2)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked <- r.Header.Get("Authorization")
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/deeper", http.StatusFound)
		}
	}))
	defer other.Close()
	res, err := newTransport(t, f, p).Get(p.URL + "/away?to=" + other.URL)
	read(t, res, err)
	for range 2 {
		if got := <-leaked; got != "" {
			t.Errorf("the other host got %q", got)
		}
	}
	res, err = newTransport(t, f, p).Get(p.URL + "/away?to=/home")
	if got := read(t, res, err); got != "welcome" {
		t.Errorf("a redirect within the host: %d %q", res.StatusCode, got)
	}
}

func TestCredentialsOfOtherKinds(t *testing.T) {
	var got string
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization") + r.Header.Get("X-Key")
	})
	srv := httptest.NewServer(h)
	defer srv.Close()
	answer := func(tok wire.Token) *client.TokenSource {
		return newClient(t, roundTrip(func(r *http.Request) (*http.Response, error) { return answerOf(r, 200, tok), nil })).TokenSource(account, client.SourceOptions{})
	}
	basic := &http.Client{Transport: &client.Transport{Source: answer(wire.Token{Type: wire.TypeBasic, Username: "u", Password: "p"}), Base: srv.Client().Transport}}
	res, err := basic.Get(srv.URL)
	if read(t, res, err); got != "Basic dTpw" {
		t.Errorf("basic: %q", got)
	}
	key := &client.Transport{Source: answer(wire.Token{Type: wire.TypeAPIKey, APIKey: "k"}), Base: srv.Client().Transport}
	if _, err := (&http.Client{Transport: key}).Get(srv.URL); err == nil || !strings.Contains(err.Error(), "Transport.Authorize") {
		t.Errorf("api_key without Authorize: %v", err)
	}
	key.Authorize = func(r *http.Request, t wire.Token) error { r.Header.Set("X-Key", t.APIKey.Reveal()); return nil }
	res, err = (&http.Client{Transport: key}).Get(srv.URL)
	if read(t, res, err); got != "k" {
		t.Errorf("api_key: %q", got)
	}
}

func TestWithoutATokenNothingIsSent(t *testing.T) {
	f, p := &fakeAPI{problem: &wire.Problem{Status: 409, Code: wire.CodeDisconnected}}, newProvider(t)
	closed := &closeRecorder{Reader: strings.NewReader("x")}
	req, err := http.NewRequest("POST", p.URL, closed)
	if err != nil {
		t.Fatal(err)
	}
	_, err = newTransport(t, f, p).Do(req)
	var e *client.Error
	if !errors.As(err, &e) || e.Code != wire.CodeDisconnected || p.requests.Load() != 0 || !closed.closed.Load() {
		t.Errorf("%v, %d requests, body closed %t", err, p.requests.Load(), closed.closed.Load())
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type closeRecorder struct {
	io.Reader
	closed atomic.Bool
}

func (c *closeRecorder) Close() error { c.closed.Store(true); return nil }
