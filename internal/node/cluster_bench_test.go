package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/cluster/link"
	"github.com/grantd/grantd/cluster/link/issue"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/wire"
)

// benchNodes is how many nodes the benchmarks of clusters run: all shards are on
// all of them.
const benchNodes = 3

// benchCluster is a cluster in this process: TCP, TLS and disks are real.
type benchCluster struct {
	cores    []*Core
	provider *strict.Provider
	dir      string
}

// startCluster starts a cluster and returns when each shard is owned by the node
// that should own it.
func startCluster(b *testing.B) *benchCluster {
	b.Helper()
	dir := benchDir(b)
	provider, err := strict.New(strict.Options{AccessTTL: time.Hour, RecordCapacity: 1024})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(provider.Close)
	x := &benchCluster{cores: make([]*Core, benchNodes), provider: provider, dir: dir}
	configs := clusterConfigs(b)
	kek, err := envelope.OpenKEK("file://"+filepath.Join(dir, "kek.json"), true)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	all, starting := errgroup.WithContext(ctx)
	for i := range x.cores {
		all.Go(func() (err error) {
			x.cores[i], err = Open(starting, CoreConfig{
				Name: nodeName(i), Dir: filepath.Join(dir, nodeName(i)), Shards: consensus.DefaultShards, KEK: kek, Transport: provider.RoundTripper(),
				Policy: actors.Policy{Concurrency: 1024}, Cluster: configs[i],
				Logger: slog.New(slog.DiscardHandler), Fatal: func(reason string) { panic(reason) },
			})
			return err
		})
	}
	b.Cleanup(func() { x.close(b) })
	if err := all.Wait(); err != nil {
		b.Fatal(err)
	}
	for !x.settled() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			b.Fatal("the shards do not settle")
		}
	}
	_, _, err = x.cores[0].Registry.PutIntegration(b.Context(), "demo", demoSpec("http://127.0.0.1/token"), credential.NewSecret("demo-basic-secret"))
	if err != nil {
		b.Fatal(err)
	}
	return x
}

func nodeName(i int) string { return fmt.Sprint("n", i+1) }

// clusterConfigs are those of nodes that do not know each other yet.
func clusterConfigs(b *testing.B) []*ClusterConfig {
	b.Helper()
	authority, err := issue.New(time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	var configs []*ClusterConfig
	var join []string
	for i := range benchNodes {
		pair, err := authority.Node(nodeName(i), time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
		if err != nil {
			b.Fatal(err)
		}
		papers := link.PEM{CA: authority.Pair().Cert, Cert: pair.Cert, Key: pair.Key}
		id, err := link.OpenIdentity(func() (link.PEM, error) { return papers, nil }, nodeName(i), slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		rpc, meet := ln.Addr().String(), freeAddr(b)
		dial, err := dialFrom(rpc)
		if err != nil {
			b.Fatal(err)
		}
		join = append(join, meet)
		configs = append(configs, &ClusterConfig{
			Identity: id, Listener: ln, Dial: dial, RPC: rpc, HTTP: rpc, Version: "bench",
			Gossip: gossip.Config{Bind: meet}, Expect: benchNodes, Replicas: benchNodes,
		})
	}
	for _, c := range configs {
		c.Gossip.Join = join
	}
	return configs
}

// freeAddr is an address that was free a moment ago.
func freeAddr(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// settled reports whether all nodes know all shards to be where they should be.
func (x *benchCluster) settled() bool {
	for _, core := range x.cores {
		if core.Ready(context.Background()) != nil {
			return false
		}
		for shard := range core.host.Shards() {
			s, known := core.cluster.placement.Load().View().Shard(uint16(shard))
			if owner, _ := core.cluster.leader(shard); !known || owner == "" || owner != s.Owner {
				return false
			}
		}
	}
	return true
}

// close ends one node after the other, so that each can say good-bye to those
// that are left.
func (x *benchCluster) close(b *testing.B) {
	for _, core := range x.cores {
		if core == nil {
			continue
		}
		if err := core.Close(context.Background()); err != nil {
			b.Error(err)
		}
	}
}

// owner is the number of the node that owns an account.
func (x *benchCluster) owner(ref credential.Ref) int {
	owner, _ := x.cores[0].cluster.leader(x.cores[0].shardOf(ref))
	return slices.IndexFunc(x.cores, func(c *Core) bool { return c.name == owner })
}

// accounts imports n accounts with live grants.
func (x *benchCluster) accounts(b *testing.B, n int) []credential.Ref {
	b.Helper()
	refs := make([]credential.Ref, n)
	each(64, n, func(i int) {
		tok, err := x.provider.NewGrant("demo-basic", "user", nil)
		if err != nil {
			b.Error(err)
			return
		}
		refs[i] = credential.Ref{Tenant: "acme", ID: fmt.Sprintf("a%06d", i)}
		_, _, err = x.cores[i%benchNodes].Accounts().Import(b.Context(), credential.Import{
			Ref: refs[i], Integration: "demo", Kind: credential.KindOAuth2, Secret: tok.AccessToken, RefreshToken: tok.RefreshToken,
			ExpiresAt: time.Now().Add(tok.ExpiresIn),
		})
		if err != nil {
			b.Error(err)
		}
	})
	return refs
}

// BenchmarkClusterTokenElsewhere: the median latency of a fresh token over HTTP
// that is asked of a node that does not own the account, beside one that does.
// Each of 64 callers has an account of his own, so that all nodes have the same
// share of the work on both sides.
func BenchmarkClusterTokenElsewhere(b *testing.B) {
	x := startCluster(b)
	const callers = 64
	refs := x.accounts(b, callers)
	_, key, err := x.cores[0].Registry.CreateKey(b.Context(), registry.KeySpec{Tenant: "*", Permissions: []string{wire.PermTokensRead}})
	if err != nil {
		b.Fatal(err)
	}
	var servers []string
	for _, core := range x.cores {
		n := &Node{core: core}
		servers = append(servers, serveBench(b, httpapi.Server(n.api(Options{Logger: slog.New(slog.DiscardHandler)}))))
	}
	side := func(from int) func() float64 {
		clients := make([]*client, callers)
		for w, ref := range refs {
			server := servers[(x.owner(ref)+from)%benchNodes]
			clients[w] = clientOf(b, server, "/v1/accounts/"+ref.String()+"/token", key.Reveal())
		}
		return func() float64 {
			took := make([][]float64, callers)
			rate(callers, func(w int) {
				begin := time.Now()
				clients[w].get()
				took[w] = append(took[w], float64(time.Since(begin).Nanoseconds())/1e3)
			})
			return median(slices.Concat(took...))
		}
	}
	elsewhere, owner := side(1), side(0)
	elsewhere() // connects
	compareIn(b, "-p50-µs", elsewhere, owner)
}

// BenchmarkClusterRefresh: accounts of three nodes refreshed at once, each at
// its owner, against a provider in the process, beside raw synced Pebble commits
// by as many goroutines on the same disk. A refresh is two commits, each stored
// three times. What all write-ahead logs take for a refresh is reported, and the
// processor time of all nodes together; and how many failed, as some do where
// other work takes the machine away for longer than raft waits.
func BenchmarkClusterRefresh(b *testing.B) {
	for _, n := range []int{64, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := startCluster(b)
			refs := x.accounts(b, n)
			owners := make([]httpapi.Accounts, n)
			for i, ref := range refs {
				owners[i] = x.cores[x.owner(ref)].Accounts()
			}
			var done, failed atomic.Int64
			var written, processor float64
			refreshes := func() float64 {
				wal, cpu, before, begin := x.walBytes(), processorTime(), done.Load(), time.Now()
				rate(n, func(w int) {
					if _, err := owners[w].Refresh(b.Context(), refs[w], nil); err != nil {
						failed.Add(1)
						b.Log(err)
						return
					}
					done.Add(1)
				})
				written += x.walBytes() - wal
				processor += (processorTime() - cpu).Seconds()
				return float64(done.Load()-before) / time.Since(begin).Seconds()
			}
			compare(b, refreshes, func() float64 {
				return rawCommits(b, x.dir, n, func(w, k int) []byte { return fmt.Appendf(nil, "k%03d-%08d", w, k) })
			})
			b.ReportMetric(written/float64(done.Load()), "WAL-B/refresh")
			b.ReportMetric(processor/float64(done.Load())*1e6, "cpu-µs/refresh")
			b.ReportMetric(float64(failed.Load()), "failed")
			for _, v := range x.provider.Judge() {
				b.Errorf("the provider saw %+v", v)
			}
		})
	}
}

// walBytes is what all nodes have written to their write-ahead logs.
func (x *benchCluster) walBytes() (sum float64) {
	for _, core := range x.cores {
		sum += float64(core.db.Metrics().WALBytesWritten)
	}
	return sum
}

// processorTime is what this process has used of the processors.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serveBench serves until the benchmark ends, and returns where.
func serveBench(b *testing.B, s *http.Server) (addr string) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(ln) }()
	b.Cleanup(func() { _ = s.Close(); <-served })
	return ln.Addr().String()
}
