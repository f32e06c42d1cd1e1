package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/grantd/grantd/credential"
)

// benchAccount is an account as a large provider makes it: with two sealed
// tokens of about 1 KB together, its record takes about 1.3 KB.
func benchAccount(i int) credential.Account {
	token := func(n int) credential.Sealed {
		rng := rand.New(rand.NewPCG(uint64(i), uint64(n)))
		b := make(credential.Sealed, n)
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		return b
	}
	return credential.Account{
		Ref: ref(i), Kind: credential.KindOAuth2, Integration: "salesforce-main", Provider: "salesforce",
		State: credential.StateActive, Scopes: []string{"api", "refresh_token", "offline_access"},
		Generation: 17, TokenType: "Bearer", AccessToken: token(800), RefreshToken: token(250), RefreshGeneration: 17,
		ExpiresAt: t0.Add(time.Hour), NextRefreshAt: t0.Add(time.Duration(i) * time.Millisecond),
		LastRefreshAt: t0, CreatedAt: t0, UpdatedAt: t0, HistoryNext: 300,
	}
}

// benchChange is the outcome of a refresh: new tokens, a new place in the
// schedule, a line of history and an event.
func benchChange(i int, rev uint64) credential.Change {
	before := benchAccount(i)
	after := before.Clone()
	after.Generation++
	after.NextRefreshAt = before.NextRefreshAt.Add(time.Hour)
	return credential.Change{
		Ref: before.Ref, Expect: rev, Before: &before, After: after,
		Lines:  []credential.Line{{At: t0, What: credential.WhatRefreshed, Generation: after.Generation, Attempt: "01J9Z3K4M5N6P7Q8R9S0T1U2V3", Node: "n1"}},
		Events: []credential.Event{{ID: "01J9Z3K4M5N6P7Q8R9S0T1U2V3", Type: credential.EventRefreshed, Ref: after.Ref, At: t0, Generation: after.Generation, Integration: after.Integration}},
	}
}

func openBench(b *testing.B) *DB {
	b.Helper()
	db, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

// fill creates n accounts by entries 1 to n.
func fill(b *testing.B, g *Group, n int) {
	b.Helper()
	for from := 0; from < n; from += 100 {
		var commands []Command
		for i := from; i < min(n, from+100); i++ {
			a := benchAccount(i)
			batch, err := Encode(credential.Change{Ref: a.Ref, After: a})
			if err != nil {
				b.Fatal(err)
			}
			commands = append(commands, Command{Index: uint64(i + 1), Term: 1, Batch: batch})
		}
		if _, err := g.Apply(commands); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	c := benchChange(1, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkApply applies outcomes of refreshes, so many in a call; the time is
// that of one.
func BenchmarkApply(b *testing.B) {
	const accounts, chunk = 10_000, 2048
	for _, size := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("calls of %d", size), func(b *testing.B) {
			g := openBench(b).Group(1)
			fill(b, g, accounts)
			load := outcomes{revs: make([]uint64, accounts), index: accounts}
			for i := range load.revs {
				load.revs[i] = uint64(i + 1)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += chunk {
				b.StopTimer()
				commands := load.next(b, min(chunk, b.N-done))
				b.StartTimer()
				for call := range slices.Chunk(commands, size) {
					results, err := g.Apply(call)
					if err != nil || results[0].Conflict {
						b.Fatalf("%+v, %v", results, err)
					}
				}
			}
		})
	}
}

// outcomes makes entries that change one account after the other.
type outcomes struct {
	revs  []uint64
	index uint64
}

func (o *outcomes) next(b *testing.B, n int) []Command {
	commands := make([]Command, n)
	for j := range commands {
		i := int(o.index) % len(o.revs)
		batch, err := Encode(benchChange(i, o.revs[i]))
		if err != nil {
			b.Fatal(err)
		}
		o.index++
		o.revs[i] = o.index
		commands[j] = Command{Index: o.index, Term: 1, Batch: batch}
	}
	return commands
}

func BenchmarkAccount(b *testing.B) {
	const accounts = 10_000
	g := openBench(b).Group(1)
	fill(b, g, accounts)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % accounts
		if _, _, err := g.Account(ref(i)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSyncedAppend appends entries of 1.5 KB from many goroutines, each to
// the log of a group of its own, beside synced commits of the same size to a bare Pebble.
func BenchmarkSyncedAppend(b *testing.B) {
	for _, writers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("log/%d", writers), func(b *testing.B) {
			db := openBench(b)
			each(b, writers, func(w int) func() error {
				log, err := db.Group(uint16(w)).Log()
				if err != nil {
					b.Fatal(err)
				}
				e := Entry{Term: 1, Data: make([]byte, 1500), At: t0}
				return func() error {
					e.Index++
					return log.Append([]Entry{e})
				}
			})
		})
		b.Run(fmt.Sprintf("pebble/%d", writers), func(b *testing.B) {
			p, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: failer{logger: Options{}.withDefaults().Logger}, MemTableSize: DefaultMemTableBytes, FormatMajorVersion: pebbleFormat})
			if err != nil {
				b.Fatal(err)
			}
			each(b, writers, func(w int) func() error {
				key, value := logKey(uint16(w), 0), make([]byte, 1526)
				n := byte(0)
				return func() error {
					n++
					key[10] = n
					return p.Set(key, value, pebble.Sync)
				}
			})
			if err := p.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// each runs b.N calls spread over so many goroutines, each with a function of
// its own.
func each(b *testing.B, writers int, newCall func(writer int) func() error) {
	b.Helper()
	var next atomic.Int64
	var calls []func() error
	for w := range writers {
		calls = append(calls, newCall(w))
	}
	done := make(chan error, writers)
	b.ResetTimer()
	for _, call := range calls {
		go func() {
			var err error
			for err == nil && next.Add(1) <= int64(b.N) {
				err = call()
			}
			done <- err
		}()
	}
	for range calls {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func BenchmarkSnapshot(b *testing.B) {
	const accounts = 20_000
	db := openBench(b)
	g := db.Group(1)
	fill(b, g, accounts)
	var stream bytes.Buffer
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			stream.Reset()
			if _, err := g.Export(&stream); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(stream.Len()))
	})
	b.Run("import", func(b *testing.B) {
		to := openBench(b).Group(1)
		b.SetBytes(int64(stream.Len()))
		for b.Loop() {
			if err := to.Import(bytes.NewReader(stream.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
