package authserver

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/credential"
)

// maxBody bounds every body that is read here.
const maxBody = 1 << 20

// maxRecord is how many requests a proxy remembers; older ones are forgotten.
const maxRecord = 1 << 16

// Request is a request to the token end point, as it reached the server.
type Request struct {
	Method string
	Path   string
	Grant  string // grant_type
	// Presented marks the refresh token of the request: the same mark is the
	// same token. Empty: there was none.
	Presented string
	// Issued is the refresh token of the answer, for tests that go on with the
	// grant by themselves.
	Issued credential.Secret
	Began  time.Time
	Ended  time.Time // zero: not answered yet
	Status int       // 0: not answered yet
	Code   string    // error code of the answer
}

// Proxy stands in front of a server, passes everything through, and keeps a
// record of what reached the token end point. It is safe for concurrent use.
type Proxy struct {
	front     *httptest.Server
	transport *http.Transport
	target    atomic.Pointer[url.URL]
	key       [32]byte // of the marks

	mu       sync.Mutex
	requests []*Request
}

func newProxy() *Proxy {
	p := &Proxy{transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	_, _ = rand.Read(p.key[:]) // never fails
	reverse := &httputil.ReverseProxy{
		Transport: p.transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(p.target.Load())
			r.Out.Host = r.In.Host // the server shall think that it is reached where it says it is
		},
	}
	p.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case p.target.Load() == nil:
			http.Error(w, "the server is not there yet", http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, "/token"):
			p.record(w, r, reverse)
		default:
			reverse.ServeHTTP(w, r)
		}
	}))
	return p
}

// URL is the server's address, as its clients see it, without a slash at its end.
func (p *Proxy) URL() string { return p.front.URL }

func (p *Proxy) forwardTo(u *url.URL) { p.target.Store(u) }

// close waits until all requests are answered.
func (p *Proxy) close() {
	p.front.Close()
	p.transport.CloseIdleConnections()
}

// Requests returns what reached the token end point, in the order of arrival.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Request, len(p.requests))
	for i, r := range p.requests {
		all[i] = *r
	}
	return all
}

// Refreshes returns those of the [Proxy.Requests] that are refreshes.
func (p *Proxy) Refreshes() []Request {
	return slices.DeleteFunc(p.Requests(), func(r Request) bool { return r.Grant != "refresh_token" })
}

// record passes a request to the token end point on and notes it.
func (p *Proxy) record(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the body could not be read, or is too long", http.StatusRequestEntityTooLarge)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body)) // what is no form has no grant_type
	noted := &Request{
		Method:    r.Method,
		Path:      r.URL.Path,
		Grant:     form.Get("grant_type"),
		Presented: p.mark(form.Get("refresh_token")),
		Began:     time.Now(),
	}
	p.add(noted)
	seen := &capture{ResponseWriter: w, status: http.StatusOK}
	next.ServeHTTP(seen, r)

	var answer struct {
		Error        string `json:"error"`
		RefreshToken string `json:"refresh_token"`
	}
	_ = json.Unmarshal(seen.body.Bytes(), &answer) // what is no JSON has neither
	p.mu.Lock()
	defer p.mu.Unlock()
	noted.Ended = time.Now()
	noted.Status = seen.status
	noted.Code = answer.Error
	noted.Issued = credential.NewSecret(answer.RefreshToken)
}

func (p *Proxy) add(r *Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, r)
	if over := len(p.requests) - maxRecord; over > 0 {
		p.requests = slices.Delete(p.requests, 0, over)
	}
}

func (p *Proxy) mark(token string) string {
	if token == "" {
		return ""
	}
	mac := hmac.New(sha256.New, p.key[:])
	mac.Write([]byte(token))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// capture keeps a copy of an answer on its way out.
type capture struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (c *capture) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *capture) Write(b []byte) (int, error) {
	if c.body.Len() < maxBody {
		c.body.Write(b)
	}
	return c.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what lies below.
func (c *capture) Unwrap() http.ResponseWriter { return c.ResponseWriter }
