package cluster

import (
	"testing"
	"time"
)

// TestNodesAreUpgradedOneByOne: three nodes of the version before are replaced
// by ones of this version, under load; then one of them goes back, and forth
// again. Mixed, they refresh, and one takes over from the other when it dies or
// stands still.
func TestNodesAreUpgradedOneByOne(t *testing.T) {
	t.Parallel()
	before, now := grantdBefore(t), program(t, "grantd")
	c := newClusterOf(t, time.Hour)
	for _, n := range c.add("n1", "n2", "n3") {
		n.binary = before
		n.start()
	}
	c.settled()
	c.register()
	accounts := c.connect("acme", 24)
	l := c.load(accounts, c.nodes, 4, always)
	l.passes(200)

	change := func(n *node, binary string) {
		n.stop()
		n.binary = binary
		n.start()
		c.settled()
		l.passes(200)
		c.checkGrants(t, accounts)
	}
	change(c.nodes[0], now)
	change(c.nodes[1], now)
	// Mixed, two new and an old one; and new accounts, made at any of them.
	accounts = append(accounts, c.connect("mixed", 9)...)
	c.refreshAll(accounts)
	l.hush()
	for _, n := range []*node{c.nodes[2], c.nodes[0]} { // an old one, a new one
		n.kill()
		c.eventually("others own what the node owned", func() error { return c.nodes[1].owned(n) })
		l.passes(200)
		c.checkGrants(t, accounts)
		n.start()
		c.settled()
	}
	c.nodes[2].pause()
	c.eventually("others own what the node owned", func() error { return c.nodes[1].owned(c.nodes[2]) })
	l.passes(20)
	c.nodes[2].resume()
	c.settled()
	l.quiet.Store(false)
	c.refreshAll(accounts)
	change(c.nodes[2], now)
	change(c.nodes[2], before) // and back
	c.refreshAll(accounts)
	change(c.nodes[2], now)
	l.check()
	c.checkGrants(t, accounts)
}

// refreshAll has all accounts refreshed, each asked for at all nodes in turn.
func (c *cluster) refreshAll(accounts []account) {
	c.t.Helper()
	nodes := c.running()
	for i, a := range accounts {
		api := nodes[i%len(nodes)].api()
		token, err := api.Token(c.t.Context(), a.name, time.Second)
		must(c.t, err)
		seen, err := nodes[(i+1)%len(nodes)].api().Refresh(c.t.Context(), a.name, &token.Generation)
		if err != nil || seen.Generation <= token.Generation {
			c.t.Errorf("refresh of %s, generation %d: %d, %v", a.name, token.Generation, seen.Generation, err)
		}
	}
}
