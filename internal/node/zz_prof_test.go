package node

import "testing"

func BenchmarkZZRefreshOnly(b *testing.B) {
	x := startBench(b, "http://127.0.0.1/token", nil)
	refs := x.accounts(b, 512)
	b.ResetTimer()
	for b.Loop() {
		var v []float64
		for range 5 {
			v = append(v, rate(512, func(w int) { x.refresh(b, refs[w]) }))
		}
		b.ReportMetric(median(v), "refresh/s")
	}
	b.ReportMetric(0, "ns/op")
}
