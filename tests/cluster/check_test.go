package cluster

import (
	"os"
	"strings"
	"testing"
)

// TestCheckOfAClusterConfigurationFindsWhatAStartWould: serve --check.
func TestCheckOfAClusterConfigurationFindsWhatAStartWould(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.add("n1", "n2")
	c.makeCerts(c.path("other"), "node", "n1")
	short := c.path("short.key")
	must(t, os.WriteFile(short, []byte("c2hvcnQ=\n"), 0o600))
	open := c.path("open.key")
	must(t, os.WriteFile(open, nil, 0o644))
	for what, tc := range map[string]struct {
		spoil  func(*node)
		status int
		says   []string
	}{
		"nothing":                       {func(*node) {}, 0, []string{"The configuration is right."}},
		"no gossip key":                 {func(n *node) { n.gossipKey = "" }, 0, []string{"warning: cluster.gossip_key", "right"}},
		"a gossip key that is none":     {func(n *node) { n.gossipKey = short }, 1, []string{"cluster.gossip_key", "16, 24 or 32"}},
		"a gossip key for all to read":  {func(n *node) { n.gossipKey = open }, 1, []string{"chmod 600"}},
		"no certificate":                {func(n *node) { n.cert = "" }, 1, []string{"cluster.tls", "only some of"}},
		"a certificate that is missing": {func(n *node) { n.papers(c.certs, "n9") }, 1, []string{"cluster.tls", "n9.pem"}},
		"another node's certificate":    {func(n *node) { n.papers(c.certs, "n2") }, 1, []string{"cluster.tls", "node/n2", "node/n1 is needed"}},
		"a foreign authority":           {func(n *node) { n.ca = c.path("other", "ca.pem") }, 1, []string{"cluster.tls", "not signed by the cluster's authority"}},
		"no authority":                  {func(n *node) { n.ca = n.key }, 1, []string{"cluster.tls", "authorities"}},
		"a key of another certificate":  {func(n *node) { n.key = c.path("certs", "n2-key.pem") }, 1, []string{"cluster.tls", "does not match"}},
		"no node to be":                 {func(n *node) { n.expect = 0 }, 1, []string{"cluster.bootstrap_expect"}},
		"too many shards":               {func(n *node) { n.shards = 5000 }, 1, []string{"cluster.shards"}},
		"no port":                       {func(n *node) { n.host = "" }, 1, []string{"cluster.gossip", "cluster.rpc"}},
		"a member without a port":       {func(n *node) { n.join = []string{"127.0.0.1"} }, 1, []string{"cluster.join"}},
	} {
		n := *c.nodes[0]
		tc.spoil(&n)
		status, said := n.check()
		if status != tc.status {
			t.Errorf("%s: exit status %d instead of %d: %s", what, status, tc.status, said)
		}
		for _, w := range tc.says {
			if !strings.Contains(said, w) {
				t.Errorf("%s: %q does not say %q", what, said, w)
			}
		}
		if _, err := os.Stat(n.dataDir); err == nil {
			t.Errorf("%s: the check made a data folder", what)
		}
	}
}
