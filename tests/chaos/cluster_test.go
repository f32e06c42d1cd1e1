package chaos

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/tests/process"
	"github.com/grantd/grantd/wire"
)

const (
	shards = 6
	tenant = "acme"

	// attemptTimeout is how long a caller waits for one node before it asks another.
	attemptTimeout = 3 * time.Second
	// steadyTimeout bounds how long a cluster may take to be as it should.
	steadyTimeout = time.Minute
)

func nodeNames() []string { return []string{"n1", "n2", "n3"} }

// configuration has the times of a provider whose tokens live for seconds in the
// place of an hour: what matters is that a token lives longer, once it is due,
// than a node takes to come back.
const configuration = `
node: {name: %[1]s, data_dir: %[2]q}
http: {listen: "%[3]s:8420", shutdown_timeout: 10s}
cluster:
  gossip: "%[3]s:7946"
  rpc: "%[3]s:7947"
  join: [%[4]s]
  bootstrap_expect: 3
  shards: %[5]d
  gossip_key: %[6]q
  tls: {ca: %[7]q, cert: %[8]q, key: %[9]q}
seal: {kek: %[10]q}
auth: {admin_key_file: %[11]q}
outgoing: {allow: ["%[12]s"]}
log: {format: json}
refresh:
  margin_min: 7s
  margin_max: 9s
  short_lifetime: 20s
  call_timeout: 1s
  commit_timeout: 2s
  backoff_min: 50ms
  backoff_max: 500ms
  uncertain_hold: 20s
  passivate_after: 5s
`

// cluster is three nodes, and what they share.
type cluster struct {
	dir      string
	net      *network
	nodes    []*node
	provider *provider
	admin    wire.Secret
	callers  wire.Secret // API key of the callers
}

// newCluster makes and starts a cluster. On tmpfs each node's data lies on a
// small file system of its own.
func newCluster(t *testing.T, seed uint64, smallDisks bool) *cluster {
	t.Helper()
	w := newNetwork(t, nodeNames()) // first: it may skip the test
	must(t, process.DependsOn("../.."))
	c := &cluster{dir: t.TempDir(), net: w}
	binary := build(t, c.dir)
	c.provider = newProvider(t, w, c.dir, seed)
	c.secrets(t)
	for _, name := range w.nodes {
		n := &node{name: name, space: w.space(name), addr: w.addr(name), binary: binary, env: []string{"SSL_CERT_FILE=" + c.provider.ca}, dir: filepath.Join(c.dir, name), http: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: 128, IdleConnTimeout: time.Minute}, Timeout: startTimeout,
		}}
		must(t, os.MkdirAll(n.control(""), 0o700))
		if smallDisks {
			mountSmall(t, n.dataDir(), w.space(name))
		}
		must(t, os.WriteFile(filepath.Join(n.dir, "grantd.yaml"), []byte(c.configuration(n)), 0o600))
		var err error
		n.log, err = os.Create(filepath.Join(n.dir, "log"))
		must(t, err)
		c.nodes = append(c.nodes, n)
		t.Cleanup(func() { n.end(t) })
	}
	must(t, c.start(t.Context(), c.nodes...))
	c.register(t)
	return c
}

// binaries are built once for all clusters of the process.
var binaries struct {
	once sync.Once
	out  []byte
	err  error
	data []byte
}

// build builds grantd, with its failpoints, into a folder.
func build(t *testing.T, dir string) (binary string) {
	t.Helper()
	binary = filepath.Join(dir, "grantd")
	binaries.once.Do(func() {
		cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", "failpoints", "-o", binary, "../../cmd/node")
		if binaries.out, binaries.err = cmd.CombinedOutput(); binaries.err == nil {
			binaries.data, binaries.err = os.ReadFile(binary)
		}
	})
	if binaries.err != nil {
		t.Fatalf("build grantd: %v\n%s", binaries.err, binaries.out)
	}
	must(t, os.WriteFile(binary, binaries.data, 0o700))
	return binary
}

// secrets makes what the nodes prove themselves and seal with, and the admin key.
func (c *cluster) secrets(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "../../scripts/certs", "--dir", c.path("certs"), "node"}, c.net.nodes...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("certificates: %v\n%s", err, out)
	}
	_, err := envelope.OpenKEK("file://"+c.path("kek.json"), true)
	must(t, err)
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	c.admin = wire.Secret("grantd_" + base64.RawURLEncoding.EncodeToString(b[:]))
	must(t, os.WriteFile(c.path("admin.key"), []byte(c.admin.Reveal()+"\n"), 0o600))
}

func (c *cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

func (c *cluster) configuration(n *node) string {
	var join []string
	for _, name := range c.net.nodes {
		if name != n.name {
			join = append(join, fmt.Sprintf("%q", c.net.addr(name)+":7946"))
		}
	}
	return fmt.Sprintf(configuration, n.name, n.dataDir(), n.addr, strings.Join(join, ", "), shards,
		c.path("certs", "gossip.key"), c.path("certs", "ca.pem"), c.path("certs", n.name+".pem"), c.path("certs", n.name+"-key.pem"),
		"file://"+c.path("kek.json"), c.path("admin.key"), c.net.host())
}

// dataDir is the folder that holds everything that the node stores.
func (n *node) dataDir() string { return filepath.Join(n.dir, "data") }

// end ends the node at the end of the test.
func (n *node) end(t *testing.T) {
	if p, _ := n.process(); p != nil {
		_ = p.Stop(syscall.SIGCONT, os.Kill)
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", n.name, p.Output())
		}
	}
	n.http.CloseIdleConnections()
	must(t, n.log.Close())
}

// smallDisk is the size of a disk that can be filled.
const smallDisk = "size=200m"

// mountSmall mounts a small file system in memory.
func mountSmall(t *testing.T, dir, name string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	must(t, syscall.Mount(name, dir, "tmpfs", 0, smallDisk))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// start starts nodes at once: the first start needs all of them.
func (c *cluster) start(ctx context.Context, nodes ...*node) error {
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { errs[i] = n.start(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// register makes the integrations, and a key for the callers.
func (c *cluster) register(t *testing.T) {
	t.Helper()
	c.steady(t)
	admin, err := c.nodes[0].as(c.admin)
	must(t, err)
	for _, known := range clients() {
		settings := map[string]any{"token_url": c.provider.url + "/token", "refresh_rotation": "rotating"}
		if known.Grace > 0 {
			settings["refresh_reuse_grace_seconds"] = int(known.Grace / time.Second)
		}
		encoded := map[string]json.RawMessage{}
		for name, v := range settings {
			encoded[name], err = json.Marshal(v)
			must(t, err)
		}
		_, err := admin.PutIntegration(t.Context(), known.ID, wire.NewIntegration{
			Provider: wire.ProviderCustom, ClientID: known.ID, ClientSecret: wire.Secret(known.Secret.Reveal()), Settings: encoded,
		})
		must(t, err)
	}
	key, err := admin.CreateKey(t.Context(), wire.NewKey{Tenant: tenant, Permissions: []string{wire.PermTokensRead, wire.PermAccountsRead, wire.PermAccountsWrite}})
	must(t, err)
	c.callers = key.Secret
}

// steady waits until all nodes serve and each owns its share, and all of them
// agree about it.
func (c *cluster) steady(t *testing.T) {
	t.Helper()
	eventually(t, steadyTimeout, "a steady cluster", func() error {
		for _, n := range c.nodes {
			if !n.runs() {
				t.Fatalf("%s ended, and nothing was done to it that explains it", n.name)
			}
		}
		var first []string
		for _, n := range c.nodes {
			owners, err := c.owners(t.Context(), n)
			if err != nil {
				return err
			}
			count := map[string]int{}
			for shard, owner := range owners {
				count[owner]++
				if first != nil && first[shard] != owner {
					return fmt.Errorf("%s takes %s for the owner of shard %d, another node %s", n.name, owner, shard, first[shard])
				}
			}
			for _, m := range c.nodes {
				if count[m.name] != shards/len(c.nodes) {
					return fmt.Errorf("as %s sees it, %s owns %d shards of %d", n.name, m.name, count[m.name], shards)
				}
			}
			first = owners
		}
		return nil
	})
}

// owners asks a node that is ready who owns the shards.
func (c *cluster) owners(ctx context.Context, n *node) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if err := n.ready(ctx); err != nil {
		return nil, err
	}
	api, err := n.as(c.admin)
	if err != nil {
		return nil, err
	}
	seen, err := api.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	owners := make([]string, shards)
	for _, s := range seen.Shards {
		owners[s.ID] = s.Owner
	}
	return owners, nil
}
