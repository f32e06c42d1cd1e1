package consensus

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/grantd/grantd/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a host over a store in memory.
type node struct {
	t    testing.TB
	fs   vfs.FS
	db   *storage.DB
	host *Host
	// crashed is set before a crash: what the node says later does not count.
	crashed atomic.Bool
}

// config is a small host's.
func config(name string, shards int) Config {
	return Config{Node: name, Shards: shards, SpoolDir: "spool", Logger: slog.New(slog.DiscardHandler)}
}

// startNode opens store and host over fs.
func startNode(t testing.TB, fs vfs.FS, cfg Config) *node {
	t.Helper()
	db, err := storage.Open("data", storage.Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	cfg.DB, cfg.FS = db, fs
	host, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &node{t: t, fs: fs, db: db, host: host}
}

// stop closes host and store.
func (n *node) stop() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.host.Close(ctx); err != nil {
		n.t.Error(err)
	}
	if err := n.db.Close(); err != nil {
		n.t.Error(err)
	}
}

// lead waits until the node leads all its groups and returns their terms.
func (n *node) lead() map[uint16]uint64 {
	n.t.Helper()
	terms := map[uint16]uint64{}
	timeout := time.After(20 * time.Second)
	for len(terms) < n.host.Shards()+1 {
		select {
		case c := <-n.host.Leadership():
			if !c.Leading {
				n.t.Fatalf("leadership of group %d was lost", c.Group)
			}
			terms[c.Group] = c.Term
		case <-timeout:
			n.t.Fatalf("leads only %d groups", len(terms))
		}
	}
	return terms
}

// put is a batch that sets a key if it is at a revision.
func put(t testing.TB, key string, expect uint64, value string) []byte {
	t.Helper()
	b, err := storage.Batch{
		Checks: []storage.Check{{Key: []byte(key), Revision: expect}},
		Puts:   []storage.Put{{Key: []byte(key), Value: []byte(value)}},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// set is a batch that sets a key in any case.
func set(t testing.TB, key, value string) []byte {
	t.Helper()
	b, err := storage.Batch{Puts: []storage.Put{{Key: []byte(key), Value: []byte(value)}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// read returns a key's value in a group's state, or how it failed.
func read(g *Group, key string) string {
	v, _, err := g.State().Get([]byte(key))
	if err != nil {
		return fmt.Sprintf("<%v>", err)
	}
	return string(v)
}

// killGoroutine ends the calling goroutine, of raft, as a process's end would.
func killGoroutine() { runtime.Goexit() }
