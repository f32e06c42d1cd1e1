package cluster

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCertificatesAndGossipKeyAreExchangedUnderLoad: the authority, all
// certificates and the gossip key are new in the end, and no call has failed.
// Then the
// old papers are good for nothing, and a node that starts again gets along with
// the new ones.
func TestCertificatesAndGossipKeyAreExchangedUnderLoad(t *testing.T) {
	t.Parallel()
	c := up(t, "n1", "n2", "n3")
	c.register()
	accounts := c.connect("acme", 24)
	oldCA, err := os.ReadFile(filepath.Join(c.certs, "ca.pem"))
	must(t, err)
	oldKey := c.gossipKeys()[0]
	must(t, os.CopyFS(c.path("old"), os.DirFS(c.certs)))
	l := c.load(accounts, c.nodes, 4, never)
	l.passes(100)

	taken := func(words ...string) func() {
		marks := make([]int, len(c.nodes))
		for i, n := range c.nodes {
			marks[i] = n.log.mark()
		}
		return func() {
			for i, n := range c.nodes {
				n.says(marks[i], words...)
			}
		}
	}
	newKey := randomKey()
	for _, step := range []struct {
		certs []string
		keys  []string
	}{
		{[]string{"new-ca"}, []string{oldKey, newKey}},
		{[]string{"node", "n1", "n2", "n3"}, []string{newKey, oldKey}},
		{[]string{"drop-old-ca"}, []string{newKey}},
	} {
		certs, keys := taken("certificate files are exchanged"), taken("gossip: the keys have changed")
		c.makeCerts(c.certs, step.certs...)
		c.setGossipKeys(step.keys...)
		certs()
		keys()
		l.passes(100)
	}
	c.settled()
	l.check()
	newCA, err := os.ReadFile(filepath.Join(c.certs, "ca.pem"))
	must(t, err)
	if strings.Contains(string(newCA), string(oldCA)) || c.gossipKeys()[0] == oldKey {
		t.Fatal("nothing was exchanged")
	}
	for i, n := range c.nodes {
		if n.log.count(0, "node is dead") > 0 {
			t.Errorf("%s has lost sight of another node", n.name)
		}
		(&attack{t: t, c: c}).refusedTLS(n, "the old certificate", papers{c.path("old"), "n2"}, alpnRPC)
		if i == 0 || long() {
			n.stop()
			n.start()
			c.settled()
		}
	}
	c.checkGrants(t, accounts)
}

func randomKey() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

func (c *cluster) gossipKeys() []string {
	b, err := os.ReadFile(filepath.Join(c.certs, "gossip.key"))
	must(c.t, err)
	return strings.Fields(string(b))
}

// setGossipKeys puts a new file in place of the old one.
func (c *cluster) setGossipKeys(keys ...string) {
	c.t.Helper()
	c.secrets = append(c.secrets, keys...)
	fresh := filepath.Join(c.certs, ".gossip.key.new")
	must(c.t, os.WriteFile(fresh, []byte(strings.Join(keys, "\n")+"\n"), 0o600))
	must(c.t, os.Rename(fresh, filepath.Join(c.certs, "gossip.key")))
}
