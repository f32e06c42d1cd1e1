package cluster

import (
	"errors"
	"syscall"
	"testing"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

// unbegun tells a call that nobody has begun to answer: the connection was
// refused, or the node says that it is starting.
func unbegun(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || client.CodeOf(err) == wire.CodeNotReady
}

// TestNoRequestFailsWhenNodesAreStopped: SIGTERM to each node in turn, under
// load, over connections that are kept alive.
func TestNoRequestFailsWhenNodesAreStopped(t *testing.T) {
	t.Parallel()
	c := up(t, "n1", "n2", "n3")
	c.register()
	accounts := c.connect("acme", 60)
	l := c.load(accounts, c.nodes, 16, unbegun)
	l.passes(200)
	for _, n := range c.nodes {
		mark := n.log.mark()
		n.stop()
		if moved := n.log.count(mark, `"msg":"placement"`, `"step":"transfer"`); moved < shards/len(c.nodes) {
			t.Errorf("%s handed over %d shards before it went, and owned %d", n.name, moved, shards/len(c.nodes))
		}
		l.passes(200)
		for _, m := range c.running() {
			c.eventually("others own what the node owned", func() error { return m.owned(n) })
		}
		n.start()
		c.settled()
		l.passes(200)
	}
	l.check()
	c.checkGrants(t, accounts)
}
