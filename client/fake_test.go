package client_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	apiKey  = "gk_t3st-k3y"
	account = "acme/gh"
)

// fakeAPI answers for one account, without a network, so that it works in a
// synctest bubble.
type fakeAPI struct {
	mu         sync.Mutex
	generation uint64
	lifetime   time.Duration
	problem    *wire.Problem // answered in place of a token
	down       bool
	delay      time.Duration
	requests   []string // "METHOD path?query body"
	headers    []http.Header
}

func (f *fakeAPI) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body = " " + string(b)
	}
	f.mu.Lock()
	f.requests = append(f.requests, req.Method+" "+req.URL.RequestURI()+body)
	f.headers = append(f.headers, req.Header)
	delay, down := f.delay, f.down
	f.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	if down {
		return nil, io.ErrUnexpectedEOF
	}
	return f.answer(req, body)
}

func (f *fakeAPI) answer(req *http.Request, body string) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problem != nil {
		return answerOf(req, f.problem.Status, f.problem), nil
	}
	if strings.HasSuffix(req.URL.Path, "/refresh") {
		var in wire.RefreshRequest
		if err := json.Unmarshal([]byte(body), &in); err != nil {
			return nil, err
		}
		if in.StaleGeneration == nil || *in.StaleGeneration == f.generation {
			f.generation++
		}
		return answerOf(req, 200, wire.Account{Generation: f.generation}), nil
	}
	t := wire.Token{Type: wire.TypeOAuth2, AccessToken: tokenOf(f.generation), TokenType: "bearer", Generation: f.generation}
	if f.lifetime > 0 {
		t.ExpiresAt = wire.At(time.Now().Add(f.lifetime))
	}
	return answerOf(req, 200, t), nil
}

func answerOf(req *http.Request, status int, v any) *http.Response {
	b, _ := json.Marshal(v)
	h := http.Header{"X-Request-Id": {"r1"}}
	if status == 503 {
		h.Set("Retry-After", "7")
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(string(b))), Request: req}
}

func tokenOf(generation uint64) wire.Secret {
	return wire.Secret("token-" + string(rune('a'+generation)))
}

func (f *fakeAPI) count(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func (f *fakeAPI) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func newClient(t testing.TB, rt http.RoundTripper) *client.Client {
	t.Helper()
	c, err := client.New("http://grantd.test/", apiKey, client.Options{HTTP: &http.Client{Transport: rt}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
