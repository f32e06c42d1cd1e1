package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/bench/strict/stricttest"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/wire"
)

const (
	shards      = 6
	integration = "crm"
	accessTTL   = 10 * time.Second
)

// cluster is some nodes, what they share, and the provider beside them.
type cluster struct {
	t        *testing.T
	dir      string
	certs    string // folder of certificates
	admin    wire.Secret
	http     *http.Client
	provider *strict.Provider
	base     string // of the provider
	nodes    []*node
	secrets  []string // that were made meanwhile
}

// newCluster makes what nodes share, and a provider whose access tokens live so
// short that accounts are refreshed all the time. All of it is gone when t ends.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	return newClusterOf(t, accessTTL)
}

// newClusterOf is newCluster with another life of access tokens.
func newClusterOf(t *testing.T, accessTTL time.Duration) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), admin: "grantd_the-admin-key-of-a-test", http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second,
	}}
	c.certs = c.path("certs")
	c.provider, c.base = stricttest.Serve(t, strict.Options{AccessTTL: accessTTL})
	must(t, os.WriteFile(c.path("admin.key"), []byte(c.admin.Reveal()+"\n"), 0o600))
	newKEK(t, c.path("kek.json"))
	t.Cleanup(c.close)
	return c
}

func newKEK(t *testing.T, path string) {
	t.Helper()
	_, err := envelope.OpenKEK("file://"+path, true)
	must(t, err)
}

func (c *cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

// close ends all nodes, looks for secrets in their logs, and shows these where
// the test has failed.
func (c *cluster) close() {
	c.http.CloseIdleConnections()
	for _, n := range c.nodes {
		if n.proc != nil {
			n.kill()
		}
	}
	c.searchLogs()
	if c.t.Failed() {
		for _, n := range c.nodes {
			text := n.log.String()
			c.t.Logf("the end of the log of %s (%s):\n%s", n.name, n.host, text[max(0, len(text)-12000):])
		}
	}
}

// searchLogs looks for what must not be there.
func (c *cluster) searchLogs() {
	c.t.Helper()
	secrets := append(c.secrets, "strict_a_", "strict_r_", "demo-basic-secret", c.admin.Reveal(), "PRIVATE KEY")
	if b, err := os.ReadFile(filepath.Join(c.certs, "gossip.key")); err == nil {
		secrets = append(secrets, strings.Fields(string(b))...)
	}
	for _, n := range c.nodes {
		text := n.log.String()
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				c.t.Errorf("the log of %s holds a secret that begins with %.9s", n.name, secret)
			}
		}
	}
}

// lastHost numbers the addresses that nodes were given.
var lastHost atomic.Int64

// newHost returns an address of the loopback network that no other node of this
// process has, and that of another process hardly has.
func newHost(t *testing.T) string {
	t.Helper()
	number := int64(os.Getpid())*16 + (lastHost.Add(1)-1)/250
	host := net.IPv4(127, byte(2+number/250%250), byte(1+number%250), byte(1+lastHost.Load()%250)).String()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Skipf("every node needs a loopback address of its own, as Linux has them: %v", err)
	}
	must(t, l.Close())
	return host
}

// makeCerts runs scripts/certs.
func (c *cluster) makeCerts(dir string, args ...string) {
	c.t.Helper()
	cmd := exec.Command(program(c.t, "certs"), append([]string{"--dir", dir}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("certs %v: %v\n%s", args, err, out)
	}
}

// add makes nodes that found a cluster together, or join it: each names all
// that were there before and those that come with it.
func (c *cluster) add(names ...string) []*node {
	c.t.Helper()
	c.makeCerts(c.certs, append([]string{"node"}, names...)...)
	first := len(c.nodes)
	for _, name := range names {
		n := &node{
			c: c, name: name, host: newHost(c.t), binary: program(c.t, "grantd"),
			shards: shards, kek: c.path("kek.json"), gossipKey: filepath.Join(c.certs, "gossip.key"), dataDir: c.path(name), log: &logbook{},
		}
		n.papers(c.certs, name)
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes[first:] {
		n.expect = min(len(c.nodes), 9)
		for _, m := range c.nodes {
			n.join = append(n.join, m.gossip())
		}
	}
	return c.nodes[first:]
}

// up starts nodes and waits until they are a cluster.
func up(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := newCluster(t)
	start(c.add(names...)...)
	c.settled()
	return c
}

func start(nodes ...*node) {
	for _, n := range nodes {
		n.start()
	}
}

// eventually tries until it succeeds, for a while.
func (c *cluster) eventually(what string, try func() error) {
	c.t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			c.t.Fatalf("not within %v: %s: %v", startTimeout, what, err)
		}
	}
}

var errNotSettled = errors.New("the cluster is not settled")

// running are the nodes that run now.
func (c *cluster) running() (list []*node) {
	for _, n := range c.nodes {
		if n.runs() {
			list = append(list, n)
		}
	}
	return list
}

// settled waits until every node that runs is ready and sees all others that
// run alive, and every shard with an owner and as many replicas as there can be,
// every node owning its share.
func (c *cluster) settled() {
	c.t.Helper()
	nodes := c.running()
	c.eventually("the cluster settles", func() error {
		for _, n := range nodes {
			if !n.runs() {
				c.t.Fatalf("%s has ended by itself", n.name)
			}
			if err := n.ready(); err != nil {
				return err
			}
			if err := n.sees(nodes); err != nil {
				return fmt.Errorf("%s: %w", n.name, err)
			}
		}
		return nil
	})
}

// sees compares the node's view of the cluster with what should be.
func (n *node) sees(nodes []*node) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	seen, err := n.api().Cluster(ctx)
	if err != nil {
		return err
	}
	states := map[string]wire.Node{}
	for _, s := range seen.Nodes {
		states[s.ID] = s
	}
	for _, m := range nodes {
		s := states[m.name]
		if s.State != wire.NodeAlive {
			return fmt.Errorf("%w: %s is %q", errNotSettled, m.name, s.State)
		}
		if least, most := shards/len(nodes), (shards+len(nodes)-1)/len(nodes); s.ShardsOwned < least || s.ShardsOwned > most {
			return fmt.Errorf("%w: %s owns %d shards", errNotSettled, m.name, s.ShardsOwned)
		}
	}
	for _, s := range seen.Shards {
		if s.Owner == "" || len(s.Replicas) != min(3, len(nodes)) {
			return fmt.Errorf("%w: shard %d has owner %q, replicas %v", errNotSettled, s.ID, s.Owner, s.Replicas)
		}
	}
	return nil
}

// owned says whether every shard has an owner now, and none of them is gone.
func (n *node) owned(gone *node) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	seen, err := n.api().Cluster(ctx)
	if err != nil {
		return err
	}
	for _, s := range seen.Shards {
		if s.Owner == "" || s.Owner == gone.name {
			return fmt.Errorf("%w: shard %d has owner %q", errNotSettled, s.ID, s.Owner)
		}
	}
	return nil
}

// register makes the provider's integration.
func (c *cluster) register() {
	c.t.Helper()
	n := wire.NewIntegration{Provider: wire.ProviderCustom, ClientID: "demo-basic", ClientSecret: "demo-basic-secret", Settings: map[string]json.RawMessage{}}
	for name, value := range map[string]string{
		"token_url": c.base + "/token", "revocation_url": c.base + "/revoke", "refresh_rotation": "rotating",
	} {
		n.Settings[name] = wire.AppendString(nil, value)
	}
	_, err := c.running()[0].api().PutIntegration(c.t.Context(), integration, n)
	must(c.t, err)
}

// account is a connected account, and its grant at the provider.
type account struct{ name, grant string }

// connect imports accounts of one tenant, by whatever nodes run.
func (c *cluster) connect(tenant string, count int) []account {
	c.t.Helper()
	nodes := c.running()
	list := make([]account, count)
	for i := range list {
		grant, err := c.provider.NewGrant("demo-basic", fmt.Sprint("user-", i), nil)
		must(c.t, err)
		seconds := int64(grant.ExpiresIn / time.Second)
		id := fmt.Sprint("a", i)
		_, err = nodes[i%len(nodes)].api().CreateAccount(c.t.Context(), wire.NewAccount{Tenant: tenant, ID: id, Integration: integration, Credentials: wire.Credentials{
			Type: wire.TypeOAuth2, AccessToken: wire.Secret(grant.AccessToken.Reveal()), RefreshToken: wire.Secret(grant.RefreshToken.Reveal()), ExpiresIn: &seconds,
		}})
		must(c.t, err)
		list[i] = account{tenant + "/" + id, grant.Grant}
	}
	return list
}
