package strict_test

import (
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/grantd/grantd/bench/strict"
)

// BenchmarkRefresh is one refresh request in process, each processor with a
// grant of its own.
func BenchmarkRefresh(b *testing.B) {
	p := newProvider(b, strict.Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c, g := inProcess(b, p), newGrant(b, p, "demo-basic")
		token := g.RefreshToken.Reveal()
		for pb.Next() {
			a := c.refresh("demo-basic", token)
			if a.Status != 200 {
				b.Fatal(a.Raw)
			}
			token = a.RefreshToken
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	if v := p.Judge(); len(v) > 0 {
		b.Fatal(v)
	}
}

// BenchmarkRefreshOverHTTP is the same over loopback.
func BenchmarkRefreshOverHTTP(b *testing.B) {
	p := newProvider(b, strict.Options{})
	c := serve(b, p)
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		token := newGrant(b, p, "demo-basic").RefreshToken.Reveal()
		for pb.Next() {
			a := c.refresh("demo-basic", token)
			if a.Status != 200 {
				b.Fatal(a.Raw)
			}
			token = a.RefreshToken
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkClientCredentials is one token for the client itself, in process.
func BenchmarkClientCredentials(b *testing.B) {
	p := newProvider(b, strict.Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c := inProcess(b, p)
		for pb.Next() {
			if a := c.post("/token", "demo-basic", url.Values{"grant_type": {"client_credentials"}}); a.Status != 200 {
				b.Fatal(a.Raw)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkNewGrant makes grants as the herd does, and shows what one weighs.
func BenchmarkNewGrant(b *testing.B) {
	var n atomic.Int64
	p := newProvider(b, strict.Options{MaxGrants: 1 << 40})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.NewGrant("demo-basic", "anna", nil); err != nil {
				b.Fatal(err)
			}
			n.Add(1)
		}
	})
	if got := p.Report().Grants; int64(got) != n.Load() {
		b.Fatalf("%d grants exist, %d were made", got, n.Load())
	}
}
