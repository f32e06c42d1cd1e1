package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/cluster/link/issue"
	"github.com/grantd/grantd/internal/config"
	"github.com/grantd/grantd/internal/node"
)

const socketsKey = "an-admin-key-for-tests"

// onSockets returns the configurations of three nodes on loopback addresses.
func onSockets(t *testing.T) map[string]config.Config {
	t.Helper()
	dir, net := t.TempDir(), fmt.Sprintf("127.%d.%d", 64+rand.N(100), 1+rand.N(250))
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	now := time.Now()
	ca, err := issue.New(now.Add(-time.Hour), now.AddDate(0, 0, 30))
	if err != nil {
		t.Fatal(err)
	}
	authority, admin := write("ca.pem", ca.Pair().Cert), write("admin.key", []byte(socketsKey+"\n"))
	gossip := write("gossip.keys", []byte("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"))
	nodes := make(map[string]config.Config)
	for i := range 3 {
		name, host := fmt.Sprintf("n%d", i+1), fmt.Sprintf("%s.%d", net, i+1)
		pair, err := ca.Node(name, now.Add(-time.Hour), now.AddDate(0, 0, 20))
		if err != nil {
			t.Fatal(err)
		}
		c := config.Default()
		c.Node.Name, c.Node.DataDir = name, filepath.Join(dir, name)
		c.HTTP.Listen = host + ":8420"
		c.Cluster.RPC, c.Cluster.Gossip, c.Cluster.Join = host+":8422", host+":8423", []string{net + ".1:8423", net + ".2:8423"}
		c.Cluster.BootstrapExpect, c.Cluster.Shards, c.Cluster.GossipKey = 3, 4, gossip
		c.Cluster.TLS = config.MutualTLS{CA: authority, Cert: write(name+".pem", pair.Cert), Key: write(name+".key", pair.Key)}
		c.Seal.KEK = "file://" + filepath.Join(dir, "kek.json")
		c.Auth.AdminKeyFile = admin
		nodes[name] = c.Complete()
	}
	return nodes
}

// call sends a request and returns its status.
func call(t *testing.T, client *http.Client, method, addr, path, body string) (status int, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, bytes.NewBufferString(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+socketsKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	told, err := io.ReadAll(resp.Body)
	if resp.StatusCode >= http.StatusBadRequest && path != "/readyz" {
		t.Logf("%s: %s %s at %s: %s", time.Now().Format(time.StampMilli), method, path, addr, told)
	}
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

// unhurried is for a machine that is busy with other tests, and the race detector.
// A leader that does not hear of the others in time steps down, and then nobody
// can say what becomes of an import that is under way: not what this is about.
var unhurried = consensus.Timing{Heartbeat: 3 * time.Second, Election: 3 * time.Second, Lease: 2 * time.Second}

// TestNodesOnRealSockets: three nodes as a program runs them; one of them gets
// SIGTERM while callers ask those that are ready, and no request fails.
func TestNodesOnRealSockets(t *testing.T) {
	configs := onSockets(t)
	nodes := make(map[string]*node.Node)
	stop := func(n *node.Node) error {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		return n.Close(ctx)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, c := range configs {
		all.Go(func() {
			n, err := node.Start(within(t, time.Minute), node.Options{Config: c, Version: "test", Timing: unhurried, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Errorf("start %s: %v", name, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			nodes[name] = n
		})
	}
	all.Wait()
	defer func() {
		for name, n := range nodes {
			all.Go(func() {
				if err := stop(n); err != nil {
					t.Errorf("stop %s: %v", name, err)
				}
			})
		}
		all.Wait()
	}()
	if t.Failed() {
		return
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for name, c := range configs {
		deadline := time.Now().Add(20 * time.Second)
		for {
			status, err := call(t, client, "GET", c.HTTP.Listen, "/readyz", "")
			if err == nil && status == http.StatusOK {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is not ready: %d %v", name, status, err)
			}
			pause(t, 20*time.Millisecond)
		}
	}
	if status, err := call(t, client, "PUT", configs["n1"].HTTP.Listen, "/v1/integrations/demo",
		`{"provider":"custom","client_id":"x","client_secret":"y","token_url":"https://idp.example/token"}`); err != nil || status/100 != 2 {
		t.Fatalf("integration: %d %v", status, err)
	}
	const accounts = 8
	for i := range accounts {
		body := fmt.Sprintf(`{"tenant":"acme","id":"a%d","integration":"demo","credentials":{"type":"api_key","api_key":"k%d"}}`, i, i)
		if status, err := call(t, client, "POST", configs["n2"].HTTP.Listen, "/v1/accounts", body); err != nil || status != http.StatusCreated {
			t.Fatalf("account %d: %d %v", i, status, err)
		}
	}
	done := make(chan struct{})
	var balancer balancer
	for _, c := range configs {
		all.Go(func() { balancer.watch(t, client, c.HTTP.Listen, done) })
	}
	asked := 0
	for i := range accounts {
		all.Go(func() {
			for turn := 0; ; turn++ {
				select {
				case <-done:
					return
				default:
				}
				addr, ok := balancer.next(i + turn)
				if !ok {
					pause(t, 10*time.Millisecond)
					continue
				}
				method, path, body, want := "GET", fmt.Sprintf("/v1/accounts/acme/a%d/token", i), "", http.StatusOK
				if turn%2 == 1 {
					method, path, want = "POST", "/v1/accounts", http.StatusCreated
					body = fmt.Sprintf(`{"tenant":"acme","id":"b%d-%d","integration":"demo","credentials":{"type":"api_key","api_key":"k"}}`, i, turn)
				}
				status, err := call(t, client, method, addr, path, body)
				mu.Lock()
				asked++
				mu.Unlock()
				if err != nil || status != want {
					t.Errorf("%s %s at %s: %d %v", method, path, addr, status, err)
					return
				}
				pause(t, 2*time.Millisecond)
			}
		})
	}
	pause(t, time.Second)
	t.Log("n1 is stopped", time.Now().Format(time.StampMilli))
	if err := stop(nodes["n1"]); err != nil {
		t.Errorf("stop under load: %v", err)
	}
	delete(nodes, "n1")
	pause(t, 2*time.Second)
	close(done)
	all.Wait()
	t.Logf("%d requests", asked)
}

// balancer sends requests to nodes that say they are ready.
type balancer struct {
	mu    sync.Mutex
	ready []string
}

// watch looks whether a node is ready, ten times a second.
func (b *balancer) watch(t *testing.T, client *http.Client, addr string, done <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := call(t, client, "GET", addr, "/readyz", "")
		b.mu.Lock()
		b.ready = slices.DeleteFunc(b.ready, func(a string) bool { return a == addr })
		if err == nil && status == http.StatusOK {
			b.ready = append(b.ready, addr)
		}
		b.mu.Unlock()
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}

// next is where the nth request goes.
func (b *balancer) next(n int) (addr string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ready) == 0 {
		return "", false
	}
	return b.ready[n%len(b.ready)], true
}

// pause lets time pass in which others work.
func pause(t *testing.T, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
