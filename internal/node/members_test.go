package node_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/internal/node/nodetest"
)

// shares are how many shards each node leads, as one of them sees it.
func shares(t *testing.T, c *nodetest.Cluster, at string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, s := range c.Core(at).Placement().Status(t.Context()).Shards {
		n[s.Owner]++
	}
	return n
}

// fair waits until all nodes that run lead their share, within one, and nobody
// else leads anything or holds a replica.
func fair(t *testing.T, c *nodetest.Cluster, shards int) {
	t.Helper()
	names := c.Names()
	c.Await(5*time.Minute, "fair shares", func() bool {
		for _, s := range c.Core(names[0]).Placement().Status(t.Context()).Shards {
			if len(s.Replicas) != min(3, len(names)) || slices.ContainsFunc(s.Replicas, func(n string) bool { return !slices.Contains(names, n) }) {
				return false
			}
		}
		owned := shares(t, c, names[0])
		for _, n := range names {
			if owned[n] < shards/len(names) || owned[n] > (shards+len(names)-1)/len(names) {
				return false
			}
			delete(owned, n)
		}
		return len(owned) == 0
	})
}

// calm ends a load of which nothing must have failed.
func calm(t *testing.T, c *nodetest.Cluster, load *nodetest.Load, most time.Duration) {
	t.Helper()
	done, slowest, errs := load.Stop()
	t.Logf("%d requests, the slowest %v", done, slowest)
	for _, e := range errs {
		t.Error(e)
	}
	if slowest > most {
		t.Errorf("the slowest took %v", slowest)
	}
	c.Judge()
}

// TestAClusterGrowsAndShrinksUnderLoad: three nodes, then five, then three.
func TestAClusterGrowsAndShrinksUnderLoad(t *testing.T) {
	const shards = 8
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{Shards: shards})
		c.Fill(t.Context(), "n2", 8)
		load := c.Load(8)
		began := time.Now()
		c.Start("n4", "n5")
		fair(t, c, shards)
		t.Log("grown after", time.Since(began))
		began = time.Now()
		for _, name := range []string{"n1", "n4"} {
			if err := c.Core("n2").Placement().Decommission(within(t, 5*time.Minute), name); err != nil {
				t.Fatal(err)
			}
			c.Stop(name)
		}
		fair(t, c, shards)
		t.Log("shrunk after", time.Since(began))
		calm(t, c, load, 2*time.Second)
	})
}

// TestALoneNodeWithDataBecomesACluster: others join it, and its accounts are
// theirs, too.
func TestALoneNodeWithDataBecomesACluster(t *testing.T) {
	const shards, accounts = 4, 12
	synctest.Test(t, func(t *testing.T) {
		c := nodetest.New(t, nodetest.Options{Shards: shards, Expect: 3})
		if err := c.Open(t.Context(), c.Config("n1", true)); err != nil {
			t.Fatal(err)
		}
		c.Fill(t.Context(), "n1", accounts)
		c.Stop("n1")
		wrong := c.Config("n1", false)
		wrong.Shards = 16
		if err := c.Open(within(t, time.Minute), wrong); err == nil || !strings.Contains(err.Error(), "set cluster.shards back") {
			t.Errorf("with another number of shards: %v", err)
		}
		c.Start("n1", "n2", "n3")
		fair(t, c, shards)
		c.Kill("n1")
		for i := range accounts {
			for _, at := range []string{"n2", "n3"} {
				a, err := c.Core(at).Accounts().Account(within(t, 5*time.Second), nodetest.Ref(i))
				if err == nil {
					_, err = c.Core(at).Accounts().Refresh(within(t, 5*time.Second), nodetest.Ref(i), &a.Generation)
				}
				if err != nil {
					t.Errorf("account %d through %s: %v", i, at, err)
				}
			}
		}
		c.Judge()
	})
}

// TestAllNodesAtOnceLoseNothing when the power fails.
func TestAllNodesAtOnceLoseNothing(t *testing.T) {
	const accounts = 12
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		c.Fill(t.Context(), "n2", accounts)
		for i := range accounts {
			gen := uint64(1)
			if _, err := c.Core("n3").Accounts().Refresh(within(t, 5*time.Second), nodetest.Ref(i), &gen); err != nil {
				t.Fatal(err)
			}
		}
		names := c.Names()
		for _, name := range names {
			c.Kill(name)
		}
		c.Start(names...)
		c.Settle()
		for i := range accounts {
			for _, at := range names {
				tok, err := c.Core(at).Accounts().Token(within(t, 5*time.Second), nodetest.Ref(i), 0)
				if err != nil || tok.Generation != 2 || !c.Provider.TokenLive(tok.Secret) {
					t.Errorf("account %d through %s: generation %d, %v", i, at, tok.Generation, err)
				}
			}
		}
		c.Judge()
	})
}

// TestANodeThatDoesNotFitIsRefused in words that say what to do, and leaves
// nothing behind.
func TestANodeThatDoesNotFitIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		c.Fill(t.Context(), "n2", 4)
		stranger := nodetest.KEK(t)
		refused := func(what, name, say string, change func(shards *int)) {
			t.Helper()
			cfg := c.Config(name, false)
			if what == "another key" {
				cfg.KEK = stranger
			}
			change(&cfg.Shards)
			err := c.Open(within(t, time.Minute), cfg)
			if err == nil || !strings.Contains(err.Error(), say) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		more := func(shards *int) { *shards = 16 }
		same := func(*int) {}
		c.Start("n4") // so that gossip is not new to it
		c.Kill("n4")
		refused("another number of shards", "n5", "set cluster.shards", more)
		refused("another key", "n6", "another key-encryption key", same)
		c.Stop("n3")
		refused("another number of shards", "n3", "set cluster.shards back", more)
		refused("another key", "n3", "key-encryption key", same)
		c.Start("n3")
		c.Settle()
		for _, at := range c.Names() {
			for s := range 16 {
				if _, known := c.Core(at).Placement().View().Shard(uint16(s)); known != (s < 4) {
					t.Errorf("%s knows of shard %d: %v", at, s, known)
				}
			}
		}
	})
}

// TestANodeThatWaitsEndsAtOnce whatever it waits for.
func TestANodeThatWaitsEndsAtOnce(t *testing.T) {
	for what, prepare := range map[string]func(t *testing.T, c *nodetest.Cluster) string{
		"for nodes to found with": func(t *testing.T, c *nodetest.Cluster) string { return "n1" },
		"for a founder that is cut off": func(t *testing.T, c *nodetest.Cluster) string {
			c.Config("n2", false) // reserves its place and listens to nobody
			return "n1"
		},
		"for the majority": func(t *testing.T, c *nodetest.Cluster) string {
			c.Start("n1", "n2", "n3")
			c.Settle()
			for _, n := range []string{"n1", "n2", "n3"} {
				c.Kill(n)
			}
			c.Cut("n4", "")
			return "n4"
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := nodetest.New(t, nodetest.Options{})
				name := prepare(t, c)
				cfg := c.Config(name, false)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- c.Open(ctx, cfg) }()
				time.Sleep(30 * time.Second)
				select {
				case err := <-ended:
					t.Fatalf("it did not wait: %v", err)
				default:
				}
				cancel()
				stopped := time.Now()
				if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(stopped) > 2*time.Second {
					t.Errorf("%v after %v", err, time.Since(stopped))
				}
			})
		})
	}
}

// TestNodesFindEachOtherThoughWhomTheyNamedIsGone: a node that has joined by
// naming one that was removed later comes back, although nobody names it and all
// have been started anew.
func TestNodesFindEachOtherThoughWhomTheyNamedIsGone(t *testing.T) {
	const shards = 4
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{Shards: shards})
		names := map[string][]string{"n1": {"10.0.0.2:8423"}, "n2": {"10.0.0.1:8423"}, "n4": {"10.0.0.3:8423"}}
		open := func(nodes ...string) {
			t.Helper()
			var all sync.WaitGroup
			for _, name := range nodes {
				cfg := c.Config(name, false)
				cfg.Cluster.Gossip.Join = names[name]
				all.Go(func() {
					if err := c.Open(within(t, time.Minute), cfg); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			all.Wait()
		}
		open("n4")
		fair(t, c, shards)
		if err := c.Core("n2").Placement().Decommission(within(t, 5*time.Minute), "n3"); err != nil {
			t.Fatal(err)
		}
		c.Stop("n3")
		fair(t, c, shards)
		for _, name := range c.Names() {
			c.Stop(name)
		}
		open("n1", "n2", "n4")
		c.Await(time.Minute, "all of them alive", func() bool {
			alive := 0
			for _, n := range c.Core("n4").Placement().Status(t.Context()).Nodes {
				if n.State == "alive" {
					alive++
				}
			}
			return alive == 3
		})
		fair(t, c, shards)
	})
}
