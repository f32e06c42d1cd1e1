package herd_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/grantd/grantd/bench/herd"
)

// BenchmarkBaseline is the cost of a crowd of 1,000 callers by itself: a bare
// handler answers them.
func BenchmarkBaseline(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"type":"oauth2","access_token":"x"}`)
	}))
	defer srv.Close()
	var sum herd.Waits
	for b.Loop() {
		w, err := herd.Baseline(context.Background(), srv.URL, 1000, 1000)
		if err != nil {
			b.Fatal(err)
		}
		sum.P50, sum.Max = sum.P50+w.P50, sum.Max+w.Max
	}
	b.ReportMetric(sum.P50/float64(b.N), "p50-ms")
	b.ReportMetric(sum.Max/float64(b.N), "max-ms")
}
