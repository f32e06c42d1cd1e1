package consensus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/storage"
)

// benchKeys is how many accounts the benchmarks write to.
const benchKeys = 20_000

// benchWrites are keys and values of about the size of a sealed account's
// change which, being sealed, do not compress.
func benchWrites() (keys, values [][]byte) {
	src := rand.NewChaCha8([32]byte{1})
	for i := range benchKeys {
		keys = append(keys, fmt.Appendf(nil, "a%08d", i))
		v := make([]byte, 1500)
		_, _ = src.Read(v)
		values = append(values, v)
	}
	return keys, values
}

// BenchmarkPropose measures proposals of 1.5 KB on the real disk beside what
// the same disk gives to bare synced Pebble commits in the same run: x-raw is
// the share of the latter's rate.
func BenchmarkPropose(b *testing.B) {
	keys, values := benchWrites()
	batches := make([][]byte, benchKeys)
	for i := range batches {
		batches[i] = set(b, string(keys[i]), string(values[i]))
	}
	for _, workers := range []int{1, 64, 512} {
		var raw float64
		b.Run(fmt.Sprintf("raw/workers=%d", workers), func(b *testing.B) {
			raw = benchRaw(b, workers, keys, values)
		})
		for _, shards := range []int{1, 32} {
			b.Run(fmt.Sprintf("groups=%d/workers=%d", shards, workers), func(b *testing.B) {
				rate := benchPropose(b, shards, workers, batches)
				if raw > 0 {
					b.ReportMetric(rate/raw, "x-raw")
				}
			})
		}
	}
}

// benchRaw commits b.N values with Sync and returns the rate per second.
func benchRaw(b *testing.B, workers int, keys, values [][]byte) float64 {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{MemTableSize: 16 << 20, MemTableStopWritesThreshold: 4, Logger: quiet{}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	return spread(b, workers, func(i int) error {
		return db.Set(keys[i%benchKeys], values[i%benchKeys], pebble.Sync)
	})
}

func benchPropose(b *testing.B, shards, workers int, batches [][]byte) float64 {
	dir := b.TempDir()
	db, err := storage.Open(filepath.Join(dir, "db"), storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	cfg := config("n1", shards)
	cfg.DB, cfg.SpoolDir = db, filepath.Join(dir, "spool")
	host, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	n := &node{t: b, fs: vfs.Default, db: db, host: host}
	defer n.stop()
	n.lead()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return spread(b, workers, func(i int) error {
		_, err := host.Group(uint16(i%shards)).Propose(ctx, batches[i%benchKeys])
		return err
	})
}

// spread runs op b.N times over the workers and returns the rate per second.
func spread(b *testing.B, workers int, op func(i int) error) float64 {
	b.ReportAllocs()
	var next atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	for range workers {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := op(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "op/s")
	return rate
}

// quiet drops Pebble's chatter.
type quiet struct{}

func (quiet) Infof(string, ...any)         {}
func (quiet) Errorf(string, ...any)        {}
func (quiet) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
