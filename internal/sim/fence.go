package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/bench/strict"
)

// Exchange is a request of the node and what came of it, as seen from the
// node's side of the wire. Tokens are named by strict.TokenHash.
type Exchange struct {
	Process   int
	Path      string
	GrantType string
	Scope     string
	Presented string // the refresh token
	Grant     string // whose token that is, by strict's name
	// Sent and Ended enclose the time in flight; Got is when the process had the
	// answer in hand, zero where none came or nobody was there to take it.
	Sent, Ended, Got time.Time
	Order            int64 // when it was sent, by the clock of all that was told
	Reached          bool  // the provider saw it
	Status           int
	Code             string // the OAuth error code of the answer
	Access, Refresh  string // the tokens of the answer
}

// granted reports whether the process got tokens.
func (x *Exchange) granted() bool { return !x.Got.IsZero() && x.Access != "" }

// rotated reports whether the answer, received or not, brought another refresh token.
func (x *Exchange) rotated() bool { return x.Refresh != "" && x.Refresh != x.Presented }

// wire carries the requests of all processes of a machine to the provider, and
// remembers them.
type wire struct {
	provider *strict.Provider
	rt       http.RoundTripper
	clock    *atomic.Int64
	twice    bool // a mutation: each token request is sent twice
	// delay, where not 0, is how long the first token request is on its way,
	// whatever its deadline: a mutation.
	delay time.Duration
	first atomic.Bool // it has been sent
	// hasty, where not nil, is told each answer as it comes in: a mutation.
	hasty func(Exchange)

	mu   sync.Mutex
	seen []Exchange
	late []string // requests of processes that had stopped
}

// fence is the wire as one process has it: it ends with the process.
type fence struct {
	*wire
	process *process
}

var errDead = errors.New("sim: this process is dead")

// RoundTrip implements http.RoundTripper.
func (f *fence) RoundTrip(req *http.Request) (*http.Response, error) {
	if f.twice && req.URL.Path == "/token" {
		return f.repeat(req)
	}
	return f.once(req)
}

func (f *fence) once(req *http.Request) (*http.Response, error) {
	p := f.process
	p.stand()
	if p.closed.Load() {
		f.mu.Lock()
		f.late = append(f.late, req.URL.Path)
		f.mu.Unlock()
	}
	if p.dead.Load() {
		return nil, errors.Join(errDead, closeBody(req))
	}
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	if f.delay > 0 && req.URL.Path == "/token" && !f.first.Swap(true) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		p.sleep(f.delay)
		req.Body, ctx = io.NopCloser(bytes.NewReader(body)), context.WithoutCancel(ctx)
	}
	defer context.AfterFunc(p.ctx, cancel)() // a dead process leaves its connections
	x := Exchange{Process: p.number, Path: req.URL.Path, Sent: time.Now(), Order: f.clock.Add(1)}
	var reached atomic.Bool
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { reached.Store(true) }}
	var form bytes.Buffer
	sent := req.WithContext(httptrace.WithClientTrace(ctx, trace))
	sent.Body = tee{io.TeeReader(req.Body, &form), req.Body}
	res, err := f.rt.RoundTrip(sent)
	x.Ended, x.Reached = time.Now(), reached.Load()
	x.asked(f.provider, form.Bytes())
	if err == nil {
		err = x.answered(res)
	}
	p.stand()
	if err == nil && p.dead.Load() {
		err = errDead
	}
	if err == nil {
		x.Got = time.Now()
	}
	f.mu.Lock()
	f.seen = append(f.seen, x)
	f.mu.Unlock()
	if f.hasty != nil && x.granted() {
		f.hasty(x)
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

// repeat sends a request and, when it is answered, sends it once more.
func (f *fence) repeat(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	again := func() *http.Request {
		r := req.Clone(req.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		return r
	}
	res, err := f.once(again())
	if err == nil {
		_, _ = f.once(again())
	}
	return res, err
}

type tee struct {
	io.Reader
	io.Closer
}

func closeBody(req *http.Request) error {
	if req.Body == nil {
		return nil
	}
	return req.Body.Close()
}

func (x *Exchange) asked(p *strict.Provider, form []byte) {
	v, err := url.ParseQuery(string(form))
	if err != nil {
		return
	}
	x.GrantType, x.Scope = v.Get("grant_type"), v.Get("scope")
	x.Presented = strict.TokenHash(v.Get("refresh_token"))
	x.Grant, _, _ = p.GrantOf(secret(v.Get("refresh_token")))
}

// answered reads the answer and puts it back.
func (x *Exchange) answered(res *http.Response) error {
	b, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	res.Body = io.NopCloser(bytes.NewReader(b))
	x.Status = res.StatusCode
	var told struct {
		Error   string `json:"error"`
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if json.Unmarshal(b, &told) == nil {
		x.Code, x.Access, x.Refresh = told.Error, strict.TokenHash(told.Access), strict.TokenHash(told.Refresh)
	}
	return nil
}

// exchanges returns all that was sent, in the order of its end.
func (w *wire) exchanges() []Exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Exchange{}, w.seen...)
}
