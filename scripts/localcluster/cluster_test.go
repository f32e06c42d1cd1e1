package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/internal/config"
	"github.com/grantd/grantd/wire"
)

// A whole cluster is started, broken and ended by the commands in README.md,
// which a test in tests/ runs.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCluster(t *testing.T, size int) (*cluster, *bytes.Buffer) {
	out := &bytes.Buffer{}
	c := &cluster{dir: t.TempDir(), out: out}
	for i := range size {
		c.Nodes = append(c.Nodes, newMember(i+1))
	}
	return c, out
}

func TestConfigurationsOfNodesAreRight(t *testing.T) {
	for _, size := range []int{1, 3, maxNodes} {
		c, _ := newCluster(t, size)
		taken := map[string]string{}
		for _, n := range c.Nodes {
			got, warnings, err := config.Parse(n.Name, []byte(c.config(n, size)), nil, nil)
			if err != nil || len(warnings) > 0 {
				t.Fatalf("%s of %d: %v, warnings %q", n.Name, size, err, warnings)
			}
			for _, addr := range []string{got.HTTP.Listen, got.Cluster.Gossip, got.Cluster.RPC, got.Node.DataDir} {
				if by := taken[addr]; by != "" {
					t.Errorf("%s and %s both have %s", by, n.Name, addr)
				}
				taken[addr] = n.Name
			}
			if !got.Cluster.Enabled() || got.Node.Name != n.Name || got.Cluster.BootstrapExpect != size || len(got.Cluster.Join) != size-1 {
				t.Errorf("%s of %d: %+v", n.Name, size, got.Cluster)
			}
		}
	}
}

func TestACutStopsWhatOthersSendAndNotWhatANodeTellsItself(t *testing.T) {
	want := `add table ip grantd_cluster
add chain ip grantd_cluster input { type filter hook input priority 0; }
add rule ip grantd_cluster input ip saddr 127.0.1.2 ip daddr != 127.0.1.2 drop
add rule ip grantd_cluster input ip daddr 127.0.1.2 ip saddr != 127.0.1.2 drop
`
	if got := cutRules(newMember(2).Host); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := exec.LookPath("nft"); err != nil {
		return
	}
	check := exec.Command("nft", "--check", "-f", "-")
	check.Stdin = strings.NewReader(want)
	if out, err := check.CombinedOutput(); err != nil && strings.Contains(string(out), "syntax error") { // others come of its rights
		t.Errorf("nft does not take the rules: %v %s", err, out)
	}
}

func TestStatusShowsProcessesNodesAndShards(t *testing.T) {
	c, out := newCluster(t, 2)
	if err := c.show(wire.Cluster{
		Nodes: []wire.Node{{ID: "n1", State: wire.NodeAlive, ShardsOwned: 2}, {ID: "n2", State: wire.NodeDead}},
		Shards: []wire.Shard{
			{ID: 0, Owner: "n1", Term: 3, Replicas: []string{"n1", "n2"}},
			{ID: 1, Term: 12, Replicas: []string{"n1", "n2"}},
		},
	}, "n1"); err != nil {
		t.Fatal(err)
	}
	want := `NODE  PROCESS  HTTP            STATE  SHARDS OWNED
n1    -        127.0.0.1:8431  alive  2
n2    -        127.0.0.1:8432  dead   0

SHARD  OWNER  TERM  REPLICAS
0      n1     3     n1 n2
1      -      12    n1 n2

(as n1 sees it)
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	out.Reset()
	if err := c.status(t.Context()); err == nil || !strings.Contains(err.Error(), "no node runs") {
		t.Errorf("nothing runs: %v", err)
	}
	if !strings.Contains(out.String(), "n2    -        127.0.0.1:8432  -      0\n") || strings.Contains(out.String(), "SHARD ") {
		t.Errorf("nothing runs:\n%s", out)
	}
}

func TestOnlyProcessesOfTheClusterAreEnded(t *testing.T) {
	c, _ := newCluster(t, 1)
	c.Nodes[0].PID = os.Getpid() // the number was used again
	if err := c.end(t.Context(), c.Nodes[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{os.Getpid(), 0, -1} {
		if c.ours(pid, "localcluster") {
			t.Errorf("process %d is taken for one of the cluster", pid)
		}
	}
}

func TestWaitingEndsWithTheProcess(t *testing.T) {
	c, _ := newCluster(t, 1)
	if err := c.await(t.Context(), c.Nodes[0]); !errors.Is(err, errEnded) {
		t.Errorf("a node that does not run: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := until(ctx, "it", func() error { cancel(); return errors.New("not yet") })
	if err == nil || err.Error() != "it: not yet" {
		t.Errorf("given up: %v", err)
	}
}

func TestStateIsKeptBetweenCommands(t *testing.T) {
	c, _ := newCluster(t, 2)
	c.Nodes[1].PID = 7
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	again := &cluster{dir: c.dir}
	if err := again.load(); err != nil {
		t.Fatal(err)
	}
	n, err := again.node("n2")
	if err != nil || *n != *c.Nodes[1] {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := again.node("n3"); err == nil {
		t.Error("there is an n3")
	}
	if err := c.up(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "down") {
		t.Errorf("a second cluster: %v", err)
	}
}

func TestWrongUsage(t *testing.T) {
	t.Setenv("GRANTD_CLUSTER_DIR", t.TempDir())
	for _, args := range [][]string{nil, {"up"}, {"up", "1", "2"}} {
		if err := run(t.Context(), args); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, args := range [][]string{{"up", "0"}, {"up", "many"}, {"status"}, {"kill", "n1"}} {
		if err := run(t.Context(), args); err == nil || errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
