package node_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/internal/node/nodetest"
)

// TestANodeStaysReadyThroughAnElection: all of them see it, and somebody must
// get the requests.
func TestANodeStaysReadyThroughAnElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		time.Sleep(10 * time.Second)
		c.Kill("n1")
		for range 100 {
			for _, at := range c.Names() {
				if err := c.Core(at).Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// TestANodeThatLostTheMajorityIsNotReady, and is again when it is back.
func TestANodeThatLostTheMajorityIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		time.Sleep(10 * time.Second)
		c.Cut("n1", "")
		cut := time.Now()
		c.Await(10*time.Second, "n1 not to be ready", func() bool { return c.Core("n1").Ready(t.Context()) != nil })
		if took := time.Since(cut); took < 4*time.Second {
			t.Errorf("it was not ready after %v", took)
		}
		if err := c.Core("n1").Ready(t.Context()); !strings.Contains(err.Error(), "meta group has no leader") {
			t.Errorf("it says: %v", err)
		}
		for _, at := range []string{"n2", "n3"} {
			if err := c.Core(at).Ready(t.Context()); err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
		c.Heal("n1", "")
		c.Settle()
	})
}
