package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/cluster/link/issue"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/internal/config"
)

// clusterEnv makes the test binary a node with the configuration in the file
// that it names, for BenchmarkIdleCluster.
const clusterEnv = "GRANTD_BENCH_CLUSTER_NODE"

// idleTime is how long an idle cluster is watched, after as long as it takes to
// get quiet.
const (
	idleTime  = time.Minute
	quietTime = 10 * time.Second
)

// BenchmarkIdleCluster watches a cluster of three processes that nobody asks
// for anything, and reports how much of a core each takes (the mean and the
// most), and how many goroutines, descriptors, sockets and MiB of memory.
func BenchmarkIdleCluster(b *testing.B) {
	for b.Loop() {
		nodes := idleCluster(b)
		<-time.After(quietTime)
		var before []float64
		for _, n := range nodes {
			before = append(before, n.processorTime(b))
		}
		begin := time.Now()
		<-time.After(idleTime)
		var sum, most float64
		for i, n := range nodes {
			share := 100 * (n.processorTime(b) - before[i]) / time.Since(begin).Seconds()
			sum, most = sum+share, max(most, share)
		}
		b.ReportMetric(sum/benchNodes, "core-%")
		b.ReportMetric(most, "most-core-%")
		var goroutines, files, sockets, resident float64
		for _, n := range nodes {
			m := n.metrics(b)
			open, connected := n.descriptors(b)
			goroutines += m["go_goroutines"]
			resident += m["process_resident_memory_bytes"] / (1 << 20)
			files, sockets = files+open, sockets+connected
		}
		b.ReportMetric(goroutines/benchNodes, "goroutines")
		b.ReportMetric(files/benchNodes, "descriptors")
		b.ReportMetric(sockets/benchNodes, "sockets")
		b.ReportMetric(resident/benchNodes, "resident-MiB")
		b.ReportMetric(0, "ns/op")
		for _, n := range nodes {
			n.end(b)
		}
	}
}

// clusterProcess is a node in a process of its own, which ends with its input.
type clusterProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer
	conf  config.Config
	key   string
}

// idleCluster starts a cluster of processes and returns when all are ready.
func idleCluster(b *testing.B) []*clusterProcess {
	b.Helper()
	dir := benchDir(b)
	key := "grantd_" + strings.Repeat("k", 43)
	writeBench(b, filepath.Join(dir, "admin.key"), []byte(key+"\n"))
	authority, err := issue.New(time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	writeBench(b, filepath.Join(dir, "ca.pem"), authority.Pair().Cert)
	nodes := make([]*clusterProcess, benchNodes)
	var join []string
	for i := range nodes {
		name := nodeName(i)
		pair, err := authority.Node(name, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
		if err != nil {
			b.Fatal(err)
		}
		writeBench(b, filepath.Join(dir, name+".pem"), pair.Cert)
		writeBench(b, filepath.Join(dir, name+"-key.pem"), pair.Key)
		c := config.Default()
		c.Node.Name, c.Node.DataDir = name, filepath.Join(dir, name)
		c.HTTP.Listen, c.Cluster.Gossip, c.Cluster.RPC = freeAddr(b), freeAddr(b), freeAddr(b)
		c.Cluster.BootstrapExpect = benchNodes
		c.Cluster.TLS = config.MutualTLS{
			CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+"-key.pem"),
		}
		c.Seal.KEK = "file://" + filepath.Join(dir, "kek.json")
		c.Auth.AdminKeyFile = filepath.Join(dir, "admin.key")
		join = append(join, c.Cluster.Gossip)
		nodes[i] = &clusterProcess{conf: c, key: key}
	}
	if _, err := envelope.OpenKEK(nodes[0].conf.Seal.KEK, true); err != nil {
		b.Fatal(err)
	}
	for _, n := range nodes {
		n.conf.Cluster.Join = join
		n.start(b, dir)
	}
	for _, n := range nodes {
		n.await(b)
	}
	return nodes
}

func writeBench(b *testing.B, path string, data []byte) {
	b.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
}

func (n *clusterProcess) start(b *testing.B, dir string) {
	b.Helper()
	conf, err := json.Marshal(n.conf)
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(dir, n.conf.Node.Name+".json")
	writeBench(b, path, conf)
	n.cmd = exec.Command(os.Args[0])
	n.cmd.Env, n.cmd.Stderr = append(os.Environ(), clusterEnv+"="+path), os.Stderr
	if n.stdin, err = n.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.end(b) })
}

// end ends the process; doing it again does nothing.
func (n *clusterProcess) end(b *testing.B) {
	if n.stdin == nil {
		return
	}
	_ = n.stdin.Close()
	n.stdin = nil
	if err := n.cmd.Wait(); err != nil {
		b.Error(err)
	}
}

// runClusterNode is the main function of that process.
func runClusterNode(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var conf config.Config
	if err := json.Unmarshal(data, &conf); err != nil {
		return err
	}
	UseProcessors()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n, err := Start(ctx, Options{Config: conf, Version: "bench", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, n.Close(context.Background()))
}

// get asks the node's API.
func (n *clusterProcess) get(b *testing.B, path string) (body string, ok bool) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+n.conf.HTTP.Listen+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.key)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", false
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return string(text), err == nil && resp.StatusCode == http.StatusOK
}

func (n *clusterProcess) await(b *testing.B) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		if _, ok := n.get(b, "/readyz"); ok {
			return
		}
		if time.Now().After(deadline) {
			b.Fatal(n.conf.Node.Name, " does not get ready")
		}
		<-time.After(50 * time.Millisecond)
	}
}

// metrics are the node's figures that have no labels.
func (n *clusterProcess) metrics(b *testing.B) map[string]float64 {
	b.Helper()
	text, ok := n.get(b, "/metrics")
	if !ok {
		b.Fatal("no metrics: ", text)
	}
	m := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			m[name] = v
		}
	}
	return m
}

// ticks is how many ticks a second the kernel counts processor time in, on all
// machines that Go runs on.
const ticks = 100

// processorTime is what the process has used of the processors, in seconds.
func (n *clusterProcess) processorTime(b *testing.B) float64 {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may contain anything
	var user, system float64
	f := strings.Fields(rest)
	if _, err := fmt.Sscan(f[11]+" "+f[12], &user, &system); err != nil {
		b.Fatal(err)
	}
	return (user + system) / ticks
}

// descriptors are the process's open ones, and how many of them are sockets.
func (n *clusterProcess) descriptors(b *testing.B) (open, sockets float64) {
	b.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", n.cmd.Process.Pid)
	list, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range list {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			sockets++
		}
	}
	return float64(len(list)), sockets
}
