package node_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/internal/node/nodetest"
)

// TestCallersWaitForTheElectionAndLittleMore: of 32 shards, whichever node is
// asked.
func TestCallersWaitForTheElectionAndLittleMore(t *testing.T) {
	const shards, accounts = 32, 64
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{Shards: shards})
		time.Sleep(10 * time.Second) // until every node owns its share
		c.Fill(t.Context(), "n2", accounts)
		c.Kill("n1")
		died := time.Now()
		var mu sync.Mutex
		var took []time.Duration
		var all sync.WaitGroup
		for i := range accounts {
			for _, at := range c.Names() {
				all.Go(func() {
					gen := uint64(1)
					if _, err := c.Core(at).Accounts().Refresh(within(t, 20*time.Second), nodetest.Ref(i), &gen); err != nil {
						t.Errorf("account %d through %s: %v", i, at, err)
					}
					mu.Lock()
					defer mu.Unlock()
					took = append(took, time.Since(died))
				})
			}
		}
		c.Await(5*time.Second, "new owners", func() bool { return owned(c, shards, "n1") })
		elected := time.Since(died)
		all.Wait()
		slices.Sort(took)
		t.Logf("owners after %v; requests took %v (median) to %v", elected, took[len(took)/2], took[len(took)-1])
		if elected > 3*time.Second || took[len(took)-1] > elected+300*time.Millisecond {
			t.Errorf("owners after %v, the last answer after %v", elected, took[len(took)-1])
		}
		c.Judge()
	})
}

// owned reports whether all nodes know an owner of every shard, other than one.
func owned(c *nodetest.Cluster, shards int, not string) bool {
	for _, at := range c.Names() {
		for s := range shards {
			if n, _ := c.Core(at).Owner(s); n == "" || n == not {
				return false
			}
		}
	}
	return true
}

func TestANodeWithoutAReplicaFindsTheNewOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodetest.New(t, nodetest.Options{Shards: 5, Expect: 5})
		c.Start("n1", "n2", "n3", "n4", "n5")
		c.Settle()
		time.Sleep(20 * time.Second)
		c.Fill(t.Context(), "n2", 20)
		c.Kill("n1")
		died := time.Now()
		var all sync.WaitGroup
		for i := range 20 {
			for _, at := range c.Names() {
				all.Go(func() {
					gen := uint64(1)
					_, err := c.Core(at).Accounts().Refresh(within(t, 20*time.Second), nodetest.Ref(i), &gen)
					if err != nil || time.Since(died) > 3*time.Second {
						t.Errorf("account %d through %s: %v after %v", i, at, err, time.Since(died))
					}
				})
			}
		}
		all.Wait()
		c.Judge()
	})
}

// TestTokensAreReadWhileTheOwnerIsDead, and marked, though two nodes of three are
// gone and nobody can own anything; what changes something says that it cannot
// be done now.
func TestTokensAreReadWhileTheOwnerIsDead(t *testing.T) {
	const accounts = 16
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		time.Sleep(20 * time.Second)
		c.Fill(t.Context(), "n2", accounts)
		time.Sleep(time.Second) // until all replicas have them
		c.Kill("n1")
		c.Kill("n2")
		time.Sleep(time.Second)
		for i := range accounts {
			tok, err := c.Core("n3").Accounts().Token(within(t, 3*time.Second), nodetest.Ref(i), 0)
			if err != nil || !tok.Replica || !c.Provider.TokenLive(tok.Secret) {
				t.Errorf("account %d: %v, marked %v", i, err, tok.Replica)
			}
		}
		if _, err := c.Core("n3").Accounts().Refresh(within(t, 3*time.Second), nodetest.Ref(0), nil); !errors.Is(err, credential.ErrNoQuorum) {
			t.Errorf("refresh: %v", err)
		}
		c.Start("n1", "n2")
		if _, err := c.Core("n3").Accounts().Refresh(within(t, 20*time.Second), nodetest.Ref(0), nil); err != nil {
			t.Errorf("refresh when they are back: %v", err)
		}
	})
}

// TestAnOwnerThatLeavesUnderLoadFailsNoRequest, nor does its return.
func TestAnOwnerThatLeavesUnderLoadFailsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		time.Sleep(10 * time.Second)
		c.Fill(t.Context(), "n2", 8)
		load := c.Load(8)
		for _, name := range c.Names() {
			time.Sleep(500 * time.Millisecond)
			c.Stop(name)
			time.Sleep(500 * time.Millisecond)
			c.Start(name)
			c.Settle()
			time.Sleep(3 * time.Second)
		}
		done, slowest, errs := load.Stop()
		t.Logf("%d requests, the slowest %v", done, slowest)
		for _, e := range errs {
			t.Error(e)
		}
		if slowest > time.Second {
			t.Errorf("the slowest took %v", slowest)
		}
		c.Judge()
	})
}

// TestANodeThatIsBackFindsOwnersAtOnce: raft speaks to it again only when its
// back-off has run out, many seconds later.
func TestANodeThatIsBackFindsOwnersAtOnce(t *testing.T) {
	const accounts = 8
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		time.Sleep(20 * time.Second)
		c.Fill(t.Context(), "n2", accounts)
		c.Cut("n1", "")
		time.Sleep(time.Minute)
		c.Heal("n1", "")
		back := time.Now()
		var all sync.WaitGroup
		for i := range accounts {
			all.Go(func() {
				gen := uint64(1)
				_, err := c.Core("n1").Accounts().Refresh(within(t, 20*time.Second), nodetest.Ref(i), &gen)
				if err != nil || time.Since(back) > 3*time.Second {
					t.Errorf("account %d: %v after %v", i, err, time.Since(back))
				}
			})
		}
		all.Wait()
		c.Judge()
	})
}
