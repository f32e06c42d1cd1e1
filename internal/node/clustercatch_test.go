package node_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/internal/node/nodetest"
)

// TestANodeThatIsBehindDoesNotSayWhatThereIsNot: only a node that hears of the
// leader says that a tenant has no keyset; others say that it may be tried again.
func TestANodeThatIsBehindDoesNotSayWhatThereIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		c.Fill(t.Context(), "n2", 1)
		leader, _ := c.MetaLeader("n1")
		open := func(at string) error {
			_, err := c.Core(at).Sealer.Open(within(t, 5*time.Second), credential.Label{Tenant: "nobody", Account: "a"}, credential.Sealed("x"))
			return err
		}
		for _, at := range c.Names() {
			if err := open(at); !errors.Is(err, credential.ErrSealed) {
				t.Errorf("%s: %v", at, err)
			}
		}
		for _, at := range c.Names() {
			if at == leader {
				continue
			}
			c.Cut(at, "")
			if err := open(at); !errors.Is(err, credential.ErrNoQuorum) || errors.Is(err, credential.ErrSealed) {
				t.Errorf("%s, cut off: %v", at, err)
			}
			c.Heal(at, "")
		}
		c.Settle()
	})
}

// TestANodeIsReadyWhenItKnowsWhatTheOthersKnow.
func TestANodeIsReadyWhenItKnowsWhatTheOthersKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		c.Fill(t.Context(), "n2", 1)
		leader, _ := c.MetaLeader("n1")
		c.Start("n4")
		c.Await(time.Minute, "n4 to be ready", func() bool { return c.Core("n4").Ready(t.Context()) == nil })
		if _, ok := c.Core("n4").Registry.Integration(nodetest.Integration); !ok {
			t.Errorf("n4 is ready and does not know of the integration; the leader is %s", leader)
		}
	})
}
