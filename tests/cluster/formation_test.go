package cluster

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/grantd/grantd/wire"
)

// TestClusterFormsInWhateverOrderItsNodesStart: with a long gap after each node,
// in which it gets tired of waiting, and without. Then a fourth node joins, who
// knows only one of them.
func TestClusterFormsInWhateverOrderItsNodesStart(t *testing.T) {
	t.Parallel()
	orders := [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {1, 0, 2}, {2, 0, 1}, {0, 2, 1}}
	gaps := func(i int) bool { return i < len(orders)/2 || long() }
	clusters := make([]*cluster, len(orders))
	for i := range clusters {
		clusters[i] = newCluster(t)
		clusters[i].add("n1", "n2", "n3")
	}
	for step := range 3 {
		for i, c := range clusters {
			c.nodes[orders[i][step]].start()
		}
		for i, c := range clusters {
			if step < 2 && gaps(i) {
				c.nodes[orders[i][step]].says(0, "no cluster yet")
			}
		}
	}
	for _, c := range clusters {
		c.settled()
	}
	for i, c := range clusters {
		if i >= 3 && !long() {
			continue
		}
		fourth := c.add("n4")[0]
		fourth.join = []string{c.nodes[i%3].gossip()}
		fourth.start()
	}
	for _, c := range clusters {
		c.settled()
	}
}

// TestNodeThatDoesNotFitIsRefused: each with one line that says what to do, and
// the cluster goes on.
func TestNodeThatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	c := up(t, "n1", "n2", "n3")
	c.register()
	accounts := c.connect("acme", 12)
	removed := c.add("n4")[0]
	start(removed)
	c.settled()
	c.remove(removed)
	n := c.add("kek", "shards", "papers", "foreign", "own-data", "deaf")

	newKEK(t, c.path("other-kek.json"))
	n[0].kek = c.path("other-kek.json")
	n[1].shards = shards + 1
	n[2].papers(c.certs, "n1")
	c.makeCerts(c.path("foreign-certs"), "node", "foreign")
	n[3].papers(c.path("foreign-certs"), "foreign")
	n[4].alone = true
	n[4].start()
	c.eventually("the node alone is ready", n[4].ready)
	n[4].stop()
	n[4].alone = false
	deaf := n[5]
	deaf.gossipKey = c.path("foreign-certs", "gossip.key")

	// A node that lost its data.
	lost := c.nodes[2]
	lost.kill()
	must(t, os.RemoveAll(lost.dataDir))

	closed := []string{"node n4 was removed from the cluster for good", "empty its data directory and give it a new name"}
	if said := removed.refused().why(); !hasAll(said, closed...) {
		t.Errorf("with its data: %s", said)
	}
	must(t, os.RemoveAll(removed.dataDir)) // half of what it was told to do

	deaf.start()
	var started []*refusal
	for _, each := range append(n[:5:5], removed, lost) {
		started = append(started, each.refused())
	}
	for i, words := range [][]string{
		{"node kek has another key-encryption key than the cluster", "seal.kek"},
		{"is configured for 7 shards and the cluster has 6", "cluster.shards"},
		{"cluster.tls", "node/n1", "node/papers is needed"},
		{"certificate", "authority has not signed", "cluster.tls"},
		{"this node has data of its own", "empty data directory"},
		closed,
		{"n3 belongs to a node with other data", "lost its data", "new name"},
	} {
		said := started[i].why()
		for _, w := range words {
			if !strings.Contains(said, w) {
				t.Errorf("%s: %q does not say %q", started[i].n.name, said, w)
			}
		}
	}
	// One that cannot gossip hears nobody who could refuse it.
	deaf.says(0, "no other node was found")
	deaf.says(0, "gossip", "key")
	if !deaf.runs() {
		t.Error("the node with another gossip key does not wait")
	}
	deaf.stop()
	for _, name := range []string{"n1", "n2"} {
		seen, err := c.node(name).api().Cluster(t.Context())
		must(t, err)
		for _, s := range seen.Nodes {
			if s.ID != "n1" && s.ID != "n2" && (s.ID != "n3" || s.State != wire.NodeDead) {
				t.Errorf("%s sees %s %s", name, s.ID, s.State)
			}
		}
	}
	c.checkGrants(t, accounts)
}

// remove takes a node out of the cluster for good, and stops it.
func (c *cluster) remove(n *node) {
	c.t.Helper()
	c.eventually(n.name+" is removed", func() error {
		r, err := c.nodes[0].api().RemoveNode(c.t.Context(), n.name)
		if err == nil && r.State != wire.NodeRemoved {
			err = fmt.Errorf("it is %s and holds %d shards", r.State, r.ShardsLeft)
		}
		return err
	})
	n.stop()
}
