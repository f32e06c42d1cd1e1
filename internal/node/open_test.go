package node_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/internal/node"
	"github.com/grantd/grantd/internal/node/nodetest"
)

var errBroken = errors.New("broken")

// brokenKey is a key service that answers nothing.
type brokenKey struct{ tink.AEAD }

func (brokenKey) Encrypt(_, _ []byte) ([]byte, error) { return nil, errBroken }
func (brokenKey) Decrypt(_, _ []byte) ([]byte, error) { return nil, errBroken }

// TestAFailedStartLeavesNothingBehind, however far it came: the same node starts
// from the same disk and addresses right after it. That no goroutine is left is
// seen by the bubble.
func TestAFailedStartLeavesNothingBehind(t *testing.T) {
	for what, broken := range map[string]func(c *node.CoreConfig){
		"the store cannot be opened":    func(c *node.CoreConfig) { c.Dir = "store/\x00/"; c.FS = brokenFS(c.FS) },
		"the port gets no dial":         func(c *node.CoreConfig) { c.Cluster.Dial = nil },
		"the key service does not seal": func(c *node.CoreConfig) { c.KEK = envelope.NewKEK(brokenKey{}, "broken") },
		"gossip is misconfigured":       func(c *node.CoreConfig) { c.Cluster.Gossip.Join = []string{"nowhere"} },
		"no such number of shards":      func(c *node.CoreConfig) { c.Shards = 1 << 20 },
		"raft's times cannot be":        func(c *node.CoreConfig) { c.Cluster.Timing = consensus.Timing{Heartbeat: time.Nanosecond} },
		"the policy cannot be":          func(c *node.CoreConfig) { c.Policy.MarginMin, c.Policy.MarginMax = time.Hour, time.Minute },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := nodetest.New(t, nodetest.Options{Expect: 1})
				cfg := c.Config("n1", false)
				broken(&cfg)
				began := time.Now()
				if err := c.Open(within(t, time.Minute), cfg); err == nil || errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
					t.Fatalf("%v after %v", err, time.Since(began))
				}
				c.Start("n1")
				c.Settle()
			})
		})
	}
}

// TestAnEndOfTheRPCIsTold: a node that others cannot ask must not go on as if
// nothing was. An end in order is none.
func TestAnEndOfTheRPCIsTold(t *testing.T) {
	for what, end := range map[string]func(*nodetest.Cluster){
		"the listener fails": func(c *nodetest.Cluster) { c.Core("n1").EndRPC() },
		"the node is closed": func(c *nodetest.Cluster) { c.Stop("n1") },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := nodetest.New(t, nodetest.Options{Expect: 1})
				cfg := c.Config("n1", false)
				var told []error
				cfg.Failed = func(err error) { told = append(told, err) }
				if err := c.Open(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
				end(c)
				synctest.Wait()
				if fails := what == "the listener fails"; (len(told) > 0) != fails {
					t.Errorf("told: %v", told)
				}
			})
		})
	}
}

// TestANodeThatHasStoppedSaysThatItOwnsNothing, so that who still took it for
// the owner asks the next.
func TestANodeThatHasStoppedSaysThatItOwnsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodetest.New(t, nodetest.Options{Expect: 1})
		c.Start("n1")
		c.Settle()
		c.Fill(t.Context(), "n1", 1)
		core := c.Core("n1")
		c.Stop("n1")
		if _, err := core.Actors.Refresh(t.Context(), nodetest.Ref(0), nil); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("refresh: %v", err)
		}
		if _, _, err := core.Actors.Import(t.Context(), c.Grant(nodetest.Ref(1))); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("import: %v", err)
		}
	})
}
