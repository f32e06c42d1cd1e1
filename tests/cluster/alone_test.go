package cluster

import "testing"

// TestNodeThatWasAloneFoundsWithItsData: a node with accounts gets a section on
// the cluster, others join, and the first one can go.
func TestNodeThatWasAloneFoundsWithItsData(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := c.add("n1", "n2", "n3")
	first, others := nodes[0], nodes[1:]
	first.alone = true
	first.start()
	c.eventually("the node alone is ready", first.ready)
	c.register()
	accounts := c.connect("acme", 24)
	c.checkGrants(t, accounts)
	first.stop()

	first.alone = false
	start(others...) // they must not found one without the data
	start(first)
	c.settled()
	c.checkGrants(t, accounts)

	first.kill()
	c.eventually("another node owns what the first one owned", func() error { return others[0].owned(first) })
	c.checkGrants(t, accounts)
}
