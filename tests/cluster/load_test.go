package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// load is callers that ask for the tokens of accounts, and now and then for a
// refresh, at all nodes in turn.
type load struct {
	c        *cluster
	accounts []account
	nodes    []*node
	// again says whether a caller tries another node after an error.
	again func(error) bool

	cancel                            context.CancelFunc
	quiet                             atomic.Bool  // no refresh is asked for
	asking                            atomic.Int64 // refreshes that are under way
	done                              sync.WaitGroup
	reads, refreshes, second, replica atomic.Int64

	mu     sync.Mutex
	failed []string
}

// callPause lies between two calls of one caller; refreshEach is how many reads
// go by before it asks for a refresh; readPatience bounds the wait for a token.
const (
	callPause    = 10 * time.Millisecond
	refreshEach  = 25
	readPatience = 3 * time.Second
)

// load begins to call. Its calls go to nodes, also while these do not run.
func (c *cluster) load(accounts []account, nodes []*node, callers int, again func(error) bool) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{c: c, accounts: accounts, nodes: slices.Clone(nodes), again: again, cancel: cancel}
	apis := make([]*client.Client, len(nodes))
	for i, n := range nodes {
		apis[i] = n.api()
	}
	for i := range callers {
		l.done.Go(func() { l.call(ctx, apis, i) })
	}
	c.t.Cleanup(l.end)
	return l
}

// never and always say when a caller tries another node.
func never(error) bool  { return false }
func always(error) bool { return true }

// call is the life of one caller.
func (l *load) call(ctx context.Context, apis []*client.Client, number int) {
	tick := time.NewTicker(callPause)
	defer tick.Stop()
	for i := number; ; i += 7 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		a := l.accounts[i%len(l.accounts)]
		token, err := l.token(ctx, apis, i, a)
		if err != nil {
			l.fail(ctx, "token of "+a.name, err)
			continue
		}
		l.reads.Add(1)
		if token.Replica {
			l.replica.Add(1)
		}
		if i/7%refreshEach == 0 && !token.Replica {
			l.refresh(ctx, apis, i, a, token)
		}
	}
}

// refresh asks for a newer token than the one in hand.
func (l *load) refresh(ctx context.Context, apis []*client.Client, i int, a account, token wire.Token) {
	l.asking.Add(1)
	defer l.asking.Add(-1)
	if l.quiet.Load() {
		return
	}
	err := l.at(apis, i, func(api *client.Client) error {
		_, err := api.Refresh(ctx, a.name, &token.Generation)
		return err
	})
	if err != nil {
		l.fail(ctx, "refresh of "+a.name, err)
		return
	}
	l.refreshes.Add(1)
}

// hush has nobody ask for a refresh any more, and returns when none is under
// way: then a node can be killed and no answer of the provider is lost with it.
func (l *load) hush() {
	l.c.t.Helper()
	l.quiet.Store(true)
	l.c.eventually("no refresh is under way", func() error {
		if n := l.asking.Load(); n > 0 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
}

// token asks for a token and checks that it is a live one of the account's.
func (l *load) token(ctx context.Context, apis []*client.Client, i int, a account) (token wire.Token, err error) {
	err = l.at(apis, i, func(api *client.Client) error {
		asking, cancel := context.WithTimeout(ctx, readPatience)
		defer cancel()
		token, err = api.Token(asking, a.name, time.Second)
		return err
	})
	if err == nil && l.c.grantOf(token) != a.grant {
		err = errors.New("the token is another grant's")
	}
	return token, err
}

// at calls a node and, where that is allowed, one other.
func (l *load) at(apis []*client.Client, i int, ask func(*client.Client) error) error {
	err := ask(apis[i%len(apis)])
	if err == nil || !l.again(err) || len(apis) == 1 {
		return err
	}
	l.second.Add(1)
	if again := ask(apis[(i+1)%len(apis)]); again != nil {
		return fmt.Errorf("%w; and at another node: %w", err, again)
	}
	return nil
}

func (l *load) fail(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), what, err))
}

// end ends all callers.
func (l *load) end() {
	l.cancel()
	l.done.Wait()
}

// passes waits until so many calls more were answered.
func (l *load) passes(calls int64) {
	l.c.t.Helper()
	from := l.reads.Load()
	l.c.eventually("callers are answered", func() error {
		if l.reads.Load() < from+calls {
			return fmt.Errorf("%d of %d calls", l.reads.Load()-from, calls)
		}
		return nil
	})
}

// check ends the callers and fails for every call that did.
func (l *load) check() {
	t := l.c.t
	t.Helper()
	l.end()
	t.Logf("%d reads, %d of them of replicas, %d refreshes, %d second tries", l.reads.Load(), l.replica.Load(), l.refreshes.Load(), l.second.Load())
	if n := len(l.failed); n > 0 {
		t.Errorf("%d calls failed, the first ones:", n)
		for _, f := range l.failed[:min(n, 10)] {
			t.Error(f)
		}
	}
	if l.refreshes.Load() == 0 {
		t.Error("no refresh was asked for")
	}
}

// grantOf is the grant of a token at the provider, where it is good there.
func (c *cluster) grantOf(token wire.Token) string {
	grant, _, _ := c.provider.GrantOf(secret(token.AccessToken.Reveal()))
	return grant
}

// checkGrants asks the provider and the cluster about all accounts: none was
// lost, and no refresh token was used twice.
func (c *cluster) checkGrants(t *testing.T, accounts []account) {
	t.Helper()
	nodes := c.running()
	for i, a := range accounts {
		n := nodes[i%len(nodes)]
		seen, err := n.api().Account(t.Context(), a.name)
		if err != nil || seen.State != "active" {
			t.Errorf("%s at %s: %q %s, %v", a.name, n.name, seen.State, seen.Reason, err)
		}
		if !c.provider.GrantAlive(a.grant) {
			t.Errorf("the grant of %s is dead", a.name)
		}
		if token, err := n.api().Token(t.Context(), a.name, time.Second); err != nil || !c.provider.TokenLive(secret(token.AccessToken.Reveal())) {
			t.Errorf("%s has no live token at %s: %v", a.name, n.name, err)
		}
	}
	for _, r := range c.provider.Record() {
		if r.Replay || r.InFlight > 1 {
			t.Errorf("the provider saw %+v", r)
		}
	}
}

func secret(s string) credential.Secret { return credential.NewSecret(s) }
