package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/internal/config"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/wire"
)

// The benchmarks run a real node on a real disk (under BENCH_DIR, else the
// temporary directory), each beside its baseline, in turns, and report the
// median of the ratios.

// rounds and roundTime are how often and how long each side has its turn.
const (
	rounds    = 5
	roundTime = time.Second
)

// bench is a node for benchmarks, and the strict provider that it refreshes at.
type bench struct {
	core     *Core
	provider *strict.Provider
	dir      string
}

// benchDir returns a folder on the disk that is measured. From now on the
// benchmark runs on as many processors as a node does.
func benchDir(b *testing.B) string {
	b.Helper()
	parent := os.Getenv("BENCH_DIR")
	if parent == "" {
		parent = os.TempDir()
	}
	dir, err := os.MkdirTemp(parent, "grantd-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	before := runtime.GOMAXPROCS(0)
	UseProcessors() // for the baseline, too
	b.Cleanup(func() { runtime.GOMAXPROCS(before) })
	return dir
}

// startBench starts a node whose requests to the provider go through
// transport; nil: straight into it.
func startBench(b *testing.B, tokenURL string, transport http.RoundTripper) *bench {
	b.Helper()
	dir := benchDir(b)
	provider, err := strict.New(strict.Options{AccessTTL: time.Hour, RecordCapacity: 1024})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(provider.Close)
	if transport == nil {
		transport = provider.RoundTripper()
	}
	kek, err := envelope.OpenKEK("file://"+filepath.Join(dir, "kek.json"), true)
	if err != nil {
		b.Fatal(err)
	}
	core, err := Open(b.Context(), CoreConfig{
		Name: "n1", Dir: filepath.Join(dir, "store"), KEK: kek, Transport: transport, Policy: actors.Policy{Concurrency: 1024},
		Logger: slog.New(slog.DiscardHandler), Fatal: func(reason string) { panic(reason) },
	})
	if err != nil {
		b.Fatal(err)
	}
	x := &bench{core: core, provider: provider, dir: dir}
	b.Cleanup(func() { x.close(b) })
	_, _, err = core.Registry.PutIntegration(b.Context(), "demo", demoSpec(tokenURL), credential.NewSecret("demo-basic-secret"))
	if err != nil {
		b.Fatal(err)
	}
	return x
}

// close ends the node; doing it again does nothing.
func (x *bench) close(b *testing.B) {
	if x.core == nil {
		return
	}
	if err := x.core.Close(context.Background()); err != nil {
		b.Error(err)
	}
	x.core = nil
}

func demoSpec(tokenURL string) registry.IntegrationSpec {
	return registry.IntegrationSpec{Provider: "custom", ClientID: "demo-basic", Overrides: map[string]json.RawMessage{
		"token_url": json.RawMessage(strconv.Quote(tokenURL)), "refresh_rotation": json.RawMessage(`"rotating"`),
	}}
}

// accounts imports n accounts with live grants.
func (x *bench) accounts(b *testing.B, n int) []credential.Ref {
	b.Helper()
	refs := make([]credential.Ref, n)
	each(64, n, func(i int) {
		tok, err := x.provider.NewGrant("demo-basic", "user", nil)
		if err != nil {
			b.Error(err)
			return
		}
		refs[i] = credential.Ref{Tenant: "acme", ID: fmt.Sprintf("a%06d", i)}
		_, _, err = x.core.Actors.Import(b.Context(), credential.Import{
			Ref: refs[i], Integration: "demo", Kind: credential.KindOAuth2, Secret: tok.AccessToken, RefreshToken: tok.RefreshToken,
			ExpiresAt: time.Now().Add(tok.ExpiresIn),
		})
		if err != nil {
			b.Error(err)
		}
	})
	return refs
}

// each calls fn for 0 to n-1 from some goroutines.
func each(workers, n int, fn func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				fn(i)
			}
		})
	}
	wg.Wait()
}

// rate is how often a second fn can be done from so many goroutines; each is
// given its number.
func rate(workers int, fn func(worker int)) float64 {
	var done atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range workers {
		wg.Go(func() {
			for time.Since(begin) < roundTime {
				fn(w)
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds()
}

// compare runs both sides in turns and reports the median rates and the median
// ratio of subject to baseline.
func compare(b *testing.B, subject, baseline func() float64) {
	b.Helper()
	compareIn(b, "/s", subject, baseline)
}

// compareIn is compare of what is counted in another unit.
func compareIn(b *testing.B, unit string, subject, baseline func() float64) {
	b.Helper()
	for b.Loop() {
		var s, base, ratios []float64
		for range rounds {
			y := baseline()
			x := subject()
			s, base, ratios = append(s, x), append(base, y), append(ratios, x/y)
		}
		b.ReportMetric(median(s), "subject"+unit)
		b.ReportMetric(median(base), "baseline"+unit)
		b.ReportMetric(median(ratios), "ratio")
		b.ReportMetric(0, "ns/op")
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// BenchmarkFreshTokenOverHTTP: a fresh token over HTTP, 64 connections, beside
// a bare handler that writes the same bytes.
func BenchmarkFreshTokenOverHTTP(b *testing.B) {
	x := startBench(b, "http://127.0.0.1/token", nil)
	ref := x.accounts(b, 1)[0]
	_, key, err := x.core.Registry.CreateKey(b.Context(), registry.KeySpec{Tenant: "*", Permissions: []string{wire.PermTokensRead}})
	if err != nil {
		b.Fatal(err)
	}
	n := &Node{core: x.core}
	api := httpapi.New(httpapi.Deps{
		Accounts: x.core.Actors, Integrations: apiIntegrations{x.core.Registry, x.core.provider.keeper}, Keys: apiKeys{x.core.Registry},
		Providers: newAPIProviders(x.core.Registry, x.core.Catalog), Cluster: n.cluster, Metrics: http.NotFoundHandler(), Ready: x.core.Ready,
	}, httpapi.Options{Logger: slog.New(slog.DiscardHandler)})
	path := "/v1/accounts/" + ref.String() + "/token"
	grantd := newClient(b, httpapi.Server(api), path, key.Reveal())
	body := grantd.get()
	bare := newClient(b, httpapi.Server(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(body)
	})), path, key.Reveal())
	compare(b,
		func() float64 { return rate(64, func(int) { grantd.get() }) },
		func() float64 { return rate(64, func(int) { bare.get() }) })
}

// client asks one path of one server again and again.
type client struct {
	b   testing.TB
	c   *http.Client
	req *http.Request
}

func newClient(b *testing.B, s *http.Server, path, key string) *client {
	b.Helper()
	return clientOf(b, serveBench(b, s), path, key)
}

// clientOf asks a server that is up.
func clientOf(b *testing.B, addr, path, key string) *client {
	b.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	t := &http.Transport{MaxIdleConnsPerHost: 1024, MaxConnsPerHost: 1024}
	b.Cleanup(t.CloseIdleConnections)
	return &client{b, &http.Client{Transport: t}, req}
}

func (c *client) get() []byte {
	resp, err := c.c.Do(c.req.Clone(context.Background()))
	if err != nil {
		c.b.Error(err)
		return nil
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		c.b.Errorf("status %d, %v: %s", resp.StatusCode, err, body)
	}
	return body
}

// BenchmarkFreshTokenInProcess: read and opened past the mailbox, beside one
// request and answer through it.
func BenchmarkFreshTokenInProcess(b *testing.B) {
	x := startBench(b, "http://127.0.0.1/token", nil)
	ref := x.accounts(b, 1)[0]
	a, err := x.core.Actors.Account(b.Context(), ref)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("snapshot", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := x.core.Actors.Token(b.Context(), ref, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	older := a.Generation - 1
	b.Run("mailbox", func(b *testing.B) { // answered at once: the generation is newer already
		b.ReportAllocs()
		for b.Loop() {
			if _, err := x.core.Actors.Refresh(b.Context(), ref, &older); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRefresh512InProcess: 512 accounts refreshed at once against a
// provider in the process, beside raw synced Pebble commits by as many
// goroutines on the same disk. A refresh is two commits: the ratio is of
// refreshes to commits, so that 0.5 would be a free protocol.
//
// The raw commits have the bytes of a refresh's two (1.5 KB each in the
// write-ahead log) and, as sealed ones do, they do not compress. Those of
// "stored" go to new keys, as log entries do, so that what they write is flushed
// and compacted like ours. Those of "overwritten" go to the same 512 keys again
// and again: it shows the bare write-ahead log, for next to nothing of it is
// ever stored.
func BenchmarkRefresh512InProcess(b *testing.B) {
	x := startBench(b, "http://127.0.0.1/token", nil)
	refs := x.accounts(b, 512)
	refreshes := func() float64 { return rate(512, func(w int) { x.refresh(b, refs[w]) }) }
	b.Run("stored", func(b *testing.B) {
		compare(b, refreshes, func() float64 {
			return rawCommits(b, x.dir, 512, func(w, n int) []byte { return fmt.Appendf(nil, "k%03d-%08d", w, n) })
		})
	})
	b.Run("overwritten", func(b *testing.B) {
		compare(b, refreshes, func() float64 {
			return rawCommits(b, x.dir, 512, func(w, _ int) []byte { return fmt.Appendf(nil, "k%03d-%08d", w, 0) })
		})
	})
	x.judge(b)
}

// rawCommits is how many synced commits a second so many goroutines make with a
// Pebble in parent that is tuned as the store's is. It is a new one each time,
// and closed, so that its compactions do not burden our turn.
func rawCommits(b *testing.B, parent string, workers int, key func(worker, n int) []byte) float64 {
	b.Helper()
	dir := filepath.Join(parent, "raw")
	raw, err := pebble.Open(dir, &pebble.Options{
		Logger: quiet{}, MemTableSize: storage.DefaultMemTableBytes, MemTableStopWritesThreshold: 4,
		L0CompactionThreshold: 10, L0StopWritesThreshold: 40, LBaseMaxBytes: 64 << 20,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := errors.Join(raw.Close(), os.RemoveAll(dir)); err != nil {
			b.Error(err)
		}
	}()
	value := make([]byte, 1480)
	_, _ = rand.Read(value)
	counts := make([]int, workers)
	return rate(workers, func(w int) {
		counts[w]++
		if err := raw.Set(key(w, counts[w]), value, pebble.Sync); err != nil {
			b.Error(err)
		}
	})
}

func (x *bench) refresh(b *testing.B, ref credential.Ref) {
	if _, err := x.core.Actors.Refresh(b.Context(), ref, nil); err != nil {
		b.Error(err)
	}
}

func (x *bench) judge(b *testing.B) {
	b.Helper()
	for _, v := range x.provider.Judge() {
		b.Errorf("the provider saw %+v", v)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

// BenchmarkRefresh512OverHTTP: the same over real HTTP, beside bare refresh
// requests to the same provider: one that answers at once, so that all three
// compete for the same processors, and one that takes as long as those do that
// live elsewhere.
func BenchmarkRefresh512OverHTTP(b *testing.B) {
	provider, err := strict.New(strict.Options{AccessTTL: time.Hour, RecordCapacity: 1024})
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: provider.Handler()}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(ln) }()
	b.Cleanup(func() { _ = server.Close(); <-served; provider.Close() })
	tokenURL := "http://" + ln.Addr().String() + "/token"
	transport := transport([]config.Allow{{Prefix: netip.MustParsePrefix("127.0.0.1/32")}}, 1024)
	b.Cleanup(transport.CloseIdleConnections)
	x := startBench(b, tokenURL, transport)
	x.provider.Close()
	x.provider = provider
	refs := x.accounts(b, 512)
	bare := newBareClient(b, provider, tokenURL, 512)
	turns := func(b *testing.B) {
		compare(b, func() float64 { return rate(512, func(w int) { x.refresh(b, refs[w]) }) }, func() float64 { return rate(512, bare.refresh) })
	}
	b.Run("at_once", turns)
	fault, err := provider.AddFault(strict.Fault{Kind: strict.FaultLatency, Delay: 50 * time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("after_50ms", turns)
	provider.RemoveFault(fault)
	x.judge(b)
}

// bareClient refreshes without grantd: form, POST, parse, remember.
type bareClient struct {
	b      testing.TB
	url    string
	client *http.Client
	tokens []string
}

func newBareClient(b *testing.B, p *strict.Provider, tokenURL string, n int) *bareClient {
	b.Helper()
	t := &http.Transport{MaxIdleConnsPerHost: n, MaxConnsPerHost: n}
	b.Cleanup(t.CloseIdleConnections)
	c := &bareClient{b, tokenURL, &http.Client{Transport: t}, make([]string, n)}
	for i := range c.tokens {
		tok, err := p.NewGrant("demo-basic", "user", nil)
		if err != nil {
			b.Fatal(err)
		}
		c.tokens[i] = tok.RefreshToken.Reveal()
	}
	return c
}

func (c *bareClient) refresh(w int) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {c.tokens[w]}}
	req, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(form.Encode()))
	if err != nil {
		c.b.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("demo-basic", "demo-basic-secret")
	resp, err := c.client.Do(req)
	if err != nil {
		c.b.Error(err)
		return
	}
	var body struct {
		RefreshToken string `json:"refresh_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&body)
	_ = resp.Body.Close()
	if err != nil || body.RefreshToken == "" {
		c.b.Errorf("status %d, %v", resp.StatusCode, err)
		return
	}
	c.tokens[w] = body.RefreshToken
}
