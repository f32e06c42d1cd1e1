package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/internal/node/nodetest"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/wire"
)

// within is a context of the test's with an end.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// start makes a cluster of three nodes that are ready.
func start(t *testing.T, o nodetest.Options) *nodetest.Cluster {
	t.Helper()
	c := nodetest.New(t, o)
	c.Start("n1", "n2", "n3")
	c.Settle()
	return c
}

func TestAnyNodeAnswersAnyRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		if err := c.PutIntegration(t.Context(), "n2"); err != nil {
			t.Fatal(err)
		}
		names, n := c.Names(), 0
		for i, importer := range names {
			for j, asked := range names {
				for k := range 4 { // of several shards
					n++
					ref := credential.Ref{Tenant: nodetest.Tenant, ID: fmt.Sprintf("%d%d%d", i, j, k)}
					if err := c.Import(within(t, 5*time.Second), importer, ref); err != nil {
						t.Fatalf("import through %s: %v", importer, err)
					}
					askEverything(t, c, asked, names[(j+1)%len(names)], ref)
				}
			}
		}
		for _, at := range names {
			var all []credential.Ref
			for q := (credential.Query{Limit: 7}); ; {
				page, err := c.Core(at).Accounts().Accounts(within(t, 5*time.Second), q)
				if err != nil {
					t.Fatalf("list through %s: %v", at, err)
				}
				for _, a := range page.Accounts {
					all = append(all, a.Ref)
				}
				if q.After = page.Next; page.Next == (credential.Ref{}) {
					break
				}
			}
			if !slices.IsSortedFunc(all, func(a, b credential.Ref) int { return strings.Compare(a.String(), b.String()) }) || len(all) != n {
				t.Errorf("%s lists %d accounts of %d: %v", at, len(all), n, all)
			}
		}
		c.Judge()
	})
}

// askEverything asks one node for all that can be asked about an account, and
// another one for what came of it.
func askEverything(t *testing.T, c *nodetest.Cluster, at, then string, ref credential.Ref) {
	t.Helper()
	ctx, accounts, later := within(t, 10*time.Second), c.Core(at).Accounts(), c.Core(then).Accounts()
	tok, err := accounts.Token(ctx, ref, 0)
	if err != nil || tok.Replica || tok.Generation != 1 || !c.Provider.TokenLive(tok.Secret) {
		t.Errorf("token through %s: %+v %v", at, tok, err)
	}
	if a, err := accounts.Refresh(ctx, ref, &tok.Generation); err != nil || a.Generation != 2 {
		t.Errorf("refresh through %s: %d %v", at, a.Generation, err)
	}
	if a, err := later.Account(ctx, ref); err != nil || a.Generation != 2 || a.State != credential.StateActive {
		t.Errorf("account through %s: %+v %v", then, a, err)
	}
	if h, err := later.History(ctx, ref, 0, 10); err != nil || len(h.Lines) != 2 {
		t.Errorf("history through %s: %+v %v", then, h, err)
	}
	if a, err := accounts.Disconnect(ctx, ref); err != nil || a.State != credential.StateDisconnected {
		t.Errorf("disconnect through %s: %+v %v", at, a, err)
	}
	if _, err := later.Token(ctx, ref, 0); !errors.Is(err, credential.ErrDisconnected) {
		t.Errorf("token of the disconnected account through %s: %v", then, err)
	}
	missing := credential.Ref{Tenant: ref.Tenant, ID: "none-" + ref.ID}
	if _, err := later.Token(ctx, missing, 0); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("token of no account through %s: %v", then, err)
	}
}

func TestKeysAndIntegrationsServeEverywhereAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		names := c.Names()
		began := time.Now()
		for i, at := range names {
			ctx := within(t, 10*time.Second)
			key, text, err := c.Core(at).Registry.CreateKey(ctx, registry.KeySpec{Tenant: "acme", Permissions: []string{wire.PermTokensRead}})
			if err != nil {
				t.Fatal(err)
			}
			for _, other := range names {
				if _, ok := c.Core(other).Registry.Authenticate(text.Reveal()); !ok {
					t.Errorf("%s does not know the key that %s made", other, at)
				}
			}
			deleter := names[(i+1)%len(names)]
			if err := c.Core(deleter).Registry.DeleteKey(ctx, key.ID); err != nil {
				t.Fatal(err)
			}
			for _, other := range names {
				if _, ok := c.Core(other).Registry.Authenticate(text.Reveal()); ok {
					t.Errorf("%s takes the key that %s deleted", other, deleter)
				}
			}
			id := "demo-" + at
			if _, _, err := c.Core(at).Registry.PutIntegration(ctx, id, nodetest.Spec(), credential.NewSecret("s")); err != nil {
				t.Fatal(err)
			}
			for _, other := range names {
				if _, ok := c.Core(other).Registry.Integration(id); !ok {
					t.Errorf("%s does not know the integration that %s made", other, at)
				}
			}
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("nine writes took %v", took)
		}
	})
}

// TestAWriteOfTheRegistryDoesNotWaitForADeadNode beyond a second, and what it
// wrote is there when the node is back.
func TestAWriteOfTheRegistryDoesNotWaitForADeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		time.Sleep(10 * time.Second) // until all vote in the meta group
		leader, _ := c.MetaLeader("n1")
		other := c.Names()[slices.IndexFunc(c.Names(), func(n string) bool { return n != leader })]
		c.Kill(other)
		began := time.Now()
		_, text, err := c.Core(leader).Registry.CreateKey(within(t, 10*time.Second), registry.KeySpec{Tenant: "acme", Permissions: []string{wire.PermTokensRead}})
		if took := time.Since(began); err != nil || took > 1500*time.Millisecond {
			t.Fatalf("%v after %v", err, took)
		}
		c.Start(other)
		c.Await(10*time.Second, "the key", func() bool {
			_, ok := c.Core(other).Registry.Authenticate(text.Reveal())
			return ok
		})
	})
}

// TestTheAdminKeyIsMadeOnce by all nodes at the same time, and changed by any.
func TestTheAdminKeyIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{})
		for _, text := range []string{"the-first-admin-key", "the-second-admin-key"} {
			var all sync.WaitGroup
			for _, at := range c.Names() {
				all.Go(func() {
					if err := c.Core(at).Registry.EnsureAdmin(within(t, 10*time.Second), credential.NewSecret(text), []string{wire.PermAdmin}); err != nil {
						t.Errorf("%s: %v", at, err)
					}
				})
			}
			all.Wait()
			for _, at := range c.Names() {
				if _, ok := c.Core(at).Registry.Authenticate(text); !ok {
					t.Errorf("%s does not know %s", at, text)
				}
			}
		}
		if _, ok := c.Core("n1").Registry.Authenticate("the-first-admin-key"); ok {
			t.Error("the key before is still good")
		}
	})
}
