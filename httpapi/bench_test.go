package httpapi_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/httpapi"
	"github.com/prometheus/client_golang/prometheus"
)

// oneToken hands out the same token at no cost.
type oneToken struct {
	*fakeAccounts
	token credential.Token
}

func (o oneToken) NoteHandout(context.Context, credential.Ref, credential.Handout) error { return nil }

func (o oneToken) Token(context.Context, credential.Ref, time.Duration) (credential.Token, error) {
	return o.token, nil
}

func benchHandler(b *testing.B) http.Handler {
	w := newWorld(b)
	return httpapi.New(httpapi.Deps{
		Keys: w.fakeKeys,
		Accounts: oneToken{token: credential.Token{Kind: credential.KindOAuth2, Secret: credential.NewSecret(strings.Repeat("t", 1024)),
			TokenType: "Bearer", ExpiresAt: time.Now().Add(time.Hour), Scopes: []string{"read", "write"}, Generation: 7}},
	}, httpapi.Options{Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

const benchPath = acmeGitHub + "/token?min_ttl=30s"

// BenchmarkTokenHandler is the handler alone, without a connection.
func BenchmarkTokenHandler(b *testing.B) {
	h := benchHandler(b)
	r := httptest.NewRequest("GET", benchPath, nil)
	r.Header.Set("Authorization", "Bearer "+acmeKey)
	w := &discard{h: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		h.ServeHTTP(w, r)
	}
	if w.status != http.StatusOK {
		b.Fatalf("status %d", w.status)
	}
}

type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(s int)           { d.status = s }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkTokenOverHTTP asks the API and a bare handler that writes the same
// bytes by turns, over 64 connections each, and reports the ratio of their
// requests per second: 1 means that the API costs nothing.
func BenchmarkTokenOverHTTP(b *testing.B) {
	h := benchHandler(b)
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("GET", benchPath, nil)
	r.Header.Set("Authorization", "Bearer "+acmeKey)
	h.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
	const perRound = 4000
	api, plain := startTraffic(b, h), startTraffic(b, bare)
	api.run(b, perRound) // warm up
	plain.run(b, perRound)
	var apiTime, bareTime time.Duration
	rounds := 0
	for b.Loop() {
		bareTime += plain.run(b, perRound)
		apiTime += api.run(b, perRound)
		rounds++
	}
	n := float64(rounds * perRound)
	b.ReportMetric(n/apiTime.Seconds(), "api-req/s")
	b.ReportMetric(n/bareTime.Seconds(), "bare-req/s")
	b.ReportMetric(bareTime.Seconds()/apiTime.Seconds(), "ratio")
}

// traffic is a server with 64 connections to it.
type traffic struct {
	url    string
	client *http.Client
}

func startTraffic(b *testing.B, h http.Handler) *traffic {
	srv := httpapi.Server(h)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	tr := &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections, DisableCompression: true}
	b.Cleanup(func() { tr.CloseIdleConnections(); _ = srv.Close(); <-done })
	return &traffic{url: "http://" + ln.Addr().String() + benchPath, client: &http.Client{Transport: tr}}
}

const connections = 64

// run sends n requests and returns how long that took.
func (l *traffic) run(b *testing.B, n int) time.Duration {
	start := time.Now()
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			for range n / connections {
				req, _ := http.NewRequest("GET", l.url, nil)
				req.Header.Set("Authorization", "Bearer "+acmeKey)
				res, err := l.client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					b.Error(res.Status)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
