package route_test

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

	"go.uber.org/goleak"

	"github.com/grantd/grantd/cluster/route"
	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var crm = credential.Ref{Tenant: "acme", ID: "crm"}

// node is a made-up node: what it answers when it is asked. It is both the
// Local of a router, and what the Peers of another one reach.
type node struct {
	// act answers a request that only the owner may answer.
	act func(ctx context.Context, what string) error
	// copy says whether its replica has a token that serves, and whether it has
	// the shard at all.
	copy bool
	// missing: its replica has never heard of the account.
	missing bool
	list    []credential.Account

	mu    sync.Mutex
	asked []string
}

func (n *node) do(ctx context.Context, what string) error {
	n.mu.Lock()
	n.asked = append(n.asked, what)
	act := n.act
	n.mu.Unlock()
	if act == nil {
		return credential.ErrNotOwner
	}
	return act(ctx, what)
}

// become changes how the node acts while it may be asked.
func (n *node) become(act func(ctx context.Context, what string) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.act = act
}

func (n *node) count(what string) (c int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.asked {
		if a == what {
			c++
		}
	}
	return c
}

func account() credential.Account { return credential.Account{Ref: crm, Generation: 7} }

func (n *node) Token(ctx context.Context, _ credential.Ref, _ time.Duration) (credential.Token, error) {
	return credential.Token{Generation: 7}, n.do(ctx, "token")
}
func (n *node) Refresh(ctx context.Context, _ credential.Ref, _ *uint64) (credential.Account, error) {
	return account(), n.do(ctx, "refresh")
}
func (n *node) Import(ctx context.Context, _ credential.Import) (credential.Account, bool, error) {
	return account(), true, n.do(ctx, "import")
}
func (n *node) Disconnect(ctx context.Context, _ credential.Ref) (credential.Account, error) {
	return account(), n.do(ctx, "disconnect")
}
func (n *node) Account(ctx context.Context, _ credential.Ref) (credential.Account, error) {
	return account(), n.do(ctx, "account")
}
func (n *node) History(ctx context.Context, _ credential.Ref, _ uint64, _ int) (credential.History, error) {
	return credential.History{Next: 7}, n.do(ctx, "history")
}
func (n *node) NoteHandout(context.Context, credential.Ref, credential.Handout) error { return nil }
func (p *peers) NoteHandout(context.Context, string, credential.Ref, credential.Handout) error {
	return nil
}
func (n *node) Offer(ctx context.Context, _ []byte) (bool, error) {
	return true, n.do(ctx, "offer")
}
func (n *node) ReplicaToken(ctx context.Context, _ credential.Ref, _ time.Duration) (credential.Token, error) {
	n.mu.Lock()
	n.asked = append(n.asked, "replica token")
	n.mu.Unlock()
	if !n.copy {
		return credential.Token{}, credential.ErrNotOwner
	}
	return credential.Token{Generation: 6, Replica: true}, nil
}
func (n *node) ReplicaAccount(context.Context, credential.Ref) (credential.Account, error) {
	if n.missing {
		return credential.Account{}, credential.ErrNotFound
	}
	return credential.Account{Ref: crm, Generation: 6}, nil
}
func (n *node) ReplicaHistory(context.Context, credential.Ref, uint64, int) (credential.History, error) {
	if n.missing {
		return credential.History{}, credential.ErrNotFound
	}
	return credential.History{Next: 6}, nil
}
func (n *node) ShardAccounts(_ context.Context, shard int, q credential.Query) (credential.Page, error) {
	var page credential.Page
	for _, a := range n.list {
		if int(a.Generation) == shard && a.ID > q.After.ID {
			if len(page.Accounts) == q.Limit {
				page.Next = page.Accounts[len(page.Accounts)-1].Ref
				break
			}
			page.Accounts = append(page.Accounts, a)
		}
	}
	return page, nil
}

// peers reach nodes by name. down are those that do not answer at all.
type peers struct {
	nodes map[string]*node
	mu    sync.Mutex
	down  map[string]error
}

func (p *peers) at(name string) (*node, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[name]
	if err := p.down[name]; err != nil || n == nil {
		return nil, fmt.Errorf("%w: %w", exchange.ErrNotSent, errors.Join(errors.New("connection refused"), err))
	}
	return n, nil
}

func (p *peers) Token(ctx context.Context, name string, ref credential.Ref, ttl time.Duration) (t credential.Token, err error) {
	n, err := p.at(name)
	if err == nil {
		t, err = n.Token(ctx, ref, ttl)
	}
	return t, err
}
func (p *peers) Refresh(ctx context.Context, name string, ref credential.Ref, stale *uint64) (a credential.Account, err error) {
	n, err := p.at(name)
	if err == nil {
		a, err = n.Refresh(ctx, ref, stale)
	}
	return a, err
}
func (p *peers) Import(ctx context.Context, name string, in credential.Import) (a credential.Account, created bool, err error) {
	n, err := p.at(name)
	if err == nil {
		a, created, err = n.Import(ctx, in)
	}
	return a, created, err
}
func (p *peers) Disconnect(ctx context.Context, name string, ref credential.Ref) (a credential.Account, err error) {
	n, err := p.at(name)
	if err == nil {
		a, err = n.Disconnect(ctx, ref)
	}
	return a, err
}
func (p *peers) Account(ctx context.Context, name string, ref credential.Ref) (a credential.Account, err error) {
	n, err := p.at(name)
	if err == nil {
		a, err = n.Account(ctx, ref)
	}
	return a, err
}
func (p *peers) History(ctx context.Context, name string, ref credential.Ref, below uint64, limit int) (h credential.History, err error) {
	n, err := p.at(name)
	if err == nil {
		h, err = n.History(ctx, ref, below, limit)
	}
	return h, err
}
func (p *peers) Offer(ctx context.Context, name string, ref credential.Ref, entry []byte) (taken bool, err error) {
	n, err := p.at(name)
	if err == nil {
		taken, err = n.Offer(ctx, entry)
	}
	return taken, err
}
func (p *peers) ReplicaToken(ctx context.Context, name string, ref credential.Ref, ttl time.Duration) (t credential.Token, err error) {
	n, err := p.at(name)
	if err == nil {
		t, err = n.ReplicaToken(ctx, ref, ttl)
	}
	return t, err
}
func (p *peers) ShardAccounts(ctx context.Context, name string, shard int, q credential.Query) (page credential.Page, err error) {
	n, err := p.at(name)
	if err == nil {
		page, err = n.ShardAccounts(ctx, shard, q)
	}
	return page, err
}

// rig is the router of n1 in a cluster of three nodes with four shards.
type rig struct {
	*route.Router
	n1, n2, n3 *node
	peers      *peers

	mu     sync.Mutex
	leader string
	term   uint64
	local  bool // n1 has a replica
}

func newRig() *rig {
	r := &rig{n1: &node{}, n2: &node{}, n3: &node{}, leader: "n2", term: 5}
	r.peers = &peers{nodes: map[string]*node{"n1": r.n1, "n2": r.n2, "n3": r.n3}, down: map[string]error{}}
	r.Router = route.New(route.Config{
		Self: "n1", Shards: 4, ShardOf: func(credential.Ref) int { return 1 }, Local: r.n1, Peers: r.peers,
		Leader: func(int) (string, uint64) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.leader, r.term
		},
		Replicas:     func(int) []string { return []string{"n2", "n3"} },
		LocalReplica: func(int) bool { return r.local },
	})
	return r
}

// leads changes what n1 knows.
func (r *rig) leads(node string, term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leader, r.term = node, term
}

func (r *rig) down(node string, is bool) {
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	if r.peers.down[node] = nil; is {
		r.peers.down[node] = errors.New("down")
	}
}

func owns(context.Context, string) error { return nil }

// hangs never answers: the request was sent and ends with its context.
func hangs(ctx context.Context, _ string) error {
	<-ctx.Done()
	return fmt.Errorf("%w: %w", exchange.ErrLost, context.Cause(ctx))
}

// every is each method that one account's owner answers.
var every = map[string]func(ctx context.Context, r *rig) error{
	"token": func(ctx context.Context, r *rig) error {
		t, err := r.Token(ctx, crm, 0)
		if err == nil && (t.Replica || t.Generation != 7) {
			return errors.New("not the owner's token")
		}
		return err
	},
	"refresh": func(ctx context.Context, r *rig) error {
		seven := uint64(7)
		_, err := r.Refresh(ctx, crm, &seven)
		return err
	},
	"refresh anyhow": func(ctx context.Context, r *rig) error { _, err := r.Refresh(ctx, crm, nil); return err },
	"import": func(ctx context.Context, r *rig) error {
		_, created, err := r.Import(ctx, credential.Import{Ref: crm})
		if err == nil && !created {
			return errors.New("not created")
		}
		return err
	},
	"disconnect": func(ctx context.Context, r *rig) error { _, err := r.Disconnect(ctx, crm); return err },
	"account": func(ctx context.Context, r *rig) error {
		a, err := r.Account(ctx, crm)
		if err == nil && a.Generation != 7 {
			return errors.New("not the owner's account")
		}
		return err
	},
	"history": func(ctx context.Context, r *rig) error {
		h, err := r.History(ctx, crm, 0, 10)
		if err == nil && h.Next != 7 {
			return errors.New("not the owner's history")
		}
		return err
	},
	"offer": func(ctx context.Context, r *rig) error {
		taken, err := r.Offer(ctx, crm, nil)
		if err == nil && !taken {
			return errors.New("not taken")
		}
		return err
	},
}

// forEvery runs fn for each method, with a rig of its own, in virtual time.
func forEvery(t *testing.T, fn func(t *testing.T, r *rig, name string, call func(context.Context, *rig) error)) {
	t.Helper()
	for name, call := range every {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fn(t, newRig(), name, call) })
		})
	}
}

func (n *node) total() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.asked)
}

func TestARequestGoesToTheOwner(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, _ string, call func(context.Context, *rig) error) {
		r.n2.act = owns
		if err := call(t.Context(), r); err != nil || r.n1.total() != 0 || r.n3.total() != 0 || r.n2.total() != 1 {
			t.Errorf("%v; %v, %v and %v were asked", err, r.n1.asked, r.n2.asked, r.n3.asked)
		}
		if c := r.Counters(); c.Forwarded.Load() != 1 || c.Retried.Load() != 0 {
			t.Errorf("%d forwarded, %d retried", c.Forwarded.Load(), c.Retried.Load())
		}
		r.leads("n1", 6)
		r.n1.act = owns
		if err := call(t.Context(), r); err != nil || r.n1.total() != 1 || r.n2.total() != 1 {
			t.Errorf("as the owner: %v; %v and %v were asked", err, r.n1.asked, r.n2.asked)
		}
	})
}

func TestTheOwnersErrorsAreTheAnswer(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, _ string, call func(context.Context, *rig) error) {
		for _, want := range []error{
			credential.ErrNotFound, credential.ErrNeedsReauth, credential.ErrDisconnected, credential.ErrProviderUnavailable, credential.ErrOverloaded,
			&credential.Unavailable{Err: credential.ErrInvalid, Reason: "x"}, fmt.Errorf("%w: %w", exchange.ErrNotSent, exchange.ErrTooLarge), rpc.ErrInternal,
		} {
			r.n2.act = func(context.Context, string) error { return want }
			before := r.n2.total()
			if err := call(t.Context(), r); err != want || r.n2.total() != before+1 {
				t.Errorf("%v became %v after %d tries", want, err, r.n2.total()-before)
			}
		}
	})
}

func TestAWordAboutTheOwnerIsFollowed(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, _ string, call func(context.Context, *rig) error) {
		start := time.Now()
		r.n2.act = func(context.Context, string) error { return &rpc.NotOwner{Node: "n2", Leader: "n3", Term: 6} }
		r.n3.act = owns
		if err := call(t.Context(), r); err != nil || time.Since(start) != 0 || r.n2.total() != 1 || r.n3.total() != 1 {
			t.Errorf("%v after %v; %v and %v were asked", err, time.Since(start), r.n2.asked, r.n3.asked)
		}
	})
}

func TestAnOldWordAboutTheOwnerIsNotFollowed(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, name string, call func(context.Context, *rig) error) {
		what, _, _ := strings.Cut(name, " ")
		r.leads("n3", 9)
		r.n2.act = owns
		r.n3.act = func(context.Context, string) error {
			r.n3.act = owns // by the next time
			return &rpc.NotOwner{Node: "n3", Leader: "n2", Term: 6}
		}
		if err := call(t.Context(), r); err != nil || r.n2.count(what) != 0 || r.n3.count(what) != 2 {
			t.Errorf("%v; %v and %v were asked", err, r.n2.asked, r.n3.asked)
		}
	})
}

// TestNobodySendsARequestInCircles has three nodes that each point to the next
// one for ever.
func TestNobodySendsARequestInCircles(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, name string, call func(context.Context, *rig) error) {
		term := uint64(5)
		points := func(to string) func(context.Context, string) error {
			return func(context.Context, string) error {
				term++
				return &rpc.NotOwner{Leader: to, Term: term}
			}
		}
		r.n1.act, r.n2.act, r.n3.act = points("n2"), points("n3"), points("n1")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := call(ctx, r); !errors.Is(err, credential.ErrNoQuorum) {
			t.Errorf("answered %v", err)
		}
		if n := r.n1.total() + r.n2.total() + r.n3.total(); n > 60 {
			t.Errorf("%d requests in 3 s", n)
		}
	})
}

func TestWhatWasNotBegunWaitsForTheNewOwner(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, name string, call func(context.Context, *rig) error) {
		r.down("n2", true)
		r.n3.act = owns
		go func() {
			time.Sleep(2 * time.Second)
			r.leads("", 6)
			time.Sleep(time.Second)
			r.leads("n3", 7)
		}()
		start := time.Now()
		if err := call(t.Context(), r); err != nil || time.Since(start) < 3*time.Second || time.Since(start) > 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestWithoutAnOwnerTheWaitEndsWithTheCallersTime(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, name string, call func(context.Context, *rig) error) {
		r.leads("", 0)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := call(ctx, r)
		u, ok := errors.AsType[*credential.Unavailable](err)
		if !ok || !errors.Is(err, credential.ErrNoQuorum) || u.RetryAfter <= 0 || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		start = time.Now()
		if err := call(context.Background(), r); !errors.Is(err, credential.ErrNoQuorum) || time.Since(start) != 30*time.Second {
			t.Errorf("of a caller without a limit: %v after %v", err, time.Since(start))
		}
		if n := r.Counters().Unreached.Load(); n != 2 {
			t.Errorf("%d counted", n)
		}
	})
}

func TestOnlyWhatComesToTheSameIsRepeatedAfterALoss(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, name string, call func(context.Context, *rig) error) {
		losses := 1
		r.n2.act = func(context.Context, string) error {
			if losses--; losses >= 0 {
				return fmt.Errorf("%w: stream broke", exchange.ErrLost)
			}
			return nil
		}
		err := call(t.Context(), r)
		switch name {
		case "import", "disconnect", "refresh anyhow":
			if !errors.Is(err, credential.ErrUnknownOutcome) || r.n2.total() != 1 || r.Counters().Unknown.Load() != 1 {
				t.Errorf("%v after %v", err, r.n2.asked)
			}
		default:
			if err != nil || r.n2.total() > 3 {
				t.Errorf("%v after %v", err, r.n2.asked)
			}
		}
	})
}

func TestAnOwnerThatCannotCommitIsAskedAFewTimes(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, name string, call func(context.Context, *rig) error) {
		r.n2.act = func(context.Context, string) error {
			return &credential.Unavailable{Err: credential.ErrNoQuorum, RetryAfter: time.Second}
		}
		want := 3
		if name == "import" || name == "disconnect" || name == "refresh anyhow" {
			want = 1
		}
		if err := call(t.Context(), r); !errors.Is(err, credential.ErrNoQuorum) || r.n2.total() != want {
			t.Errorf("%v after %v", err, r.n2.asked)
		}
	})
}

func TestAnAnswerThatComesTooLateIsUnknown(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, name string, call func(context.Context, *rig) error) {
		r.n2.act = hangs
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := call(ctx, r)
		want := credential.ErrNoQuorum
		if name == "import" || name == "disconnect" || name == "refresh anyhow" {
			want = credential.ErrUnknownOutcome
		}
		if !errors.Is(err, want) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestAReplicaAnswersATokenWhileTheOwnerDoesNot(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*rig)
		after   time.Duration
	}{
		"nobody leads, own replica":          {func(r *rig) { r.leads("", 0); r.local, r.n1.copy = true, true }, 0},
		"the owner is down, own replica":     {func(r *rig) { r.down("n2", true); r.local, r.n1.copy = true, true }, 0},
		"the owner hangs, own replica":       {func(r *rig) { r.n2.act = hangs; r.local, r.n1.copy = true, true }, time.Second},
		"the owner is down, another replica": {func(r *rig) { r.down("n2", true); r.n3.copy = true }, 0},
		"own replica is stale, another's":    {func(r *rig) { r.down("n2", true); r.local, r.n3.copy = true, true }, 0},
		"it lost the shard, and is fresh":    {func(r *rig) { r.n2.copy = true }, 0},
		"own word, and not the owner yet":    {func(r *rig) { r.leads("n1", 9); r.local, r.n1.copy = true, true }, 0},
		"the owner gives up as it is given up": {func(r *rig) {
			r.local, r.n1.copy = true, true
			r.n2.act = func(ctx context.Context, _ string) error {
				<-ctx.Done()
				return &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "no answer within the time of the request"}
			}
		}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				c.prepare(r)
				start := time.Now()
				tok, err := r.Token(t.Context(), crm, 0)
				if err != nil || !tok.Replica || tok.Generation != 6 || time.Since(start) != c.after {
					t.Errorf("%+v %v after %v", tok, err, time.Since(start))
				}
				if n := r.Counters().Replica.Load(); n != 1 {
					t.Errorf("%d counted", n)
				}
			})
		})
	}
}

func TestAnOwnerThatTakesLongIsWaitedForWhereNoReplicaServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.local = true
		began := time.Now()
		r.n2.act = func(ctx context.Context, what string) error { // a refresh under way, which all callers join
			select {
			case <-time.After(time.Until(began.Add(4 * time.Second))):
				return nil
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", exchange.ErrLost, context.Cause(ctx))
			}
		}
		tok, err := r.Token(t.Context(), crm, 0)
		if err != nil || tok.Replica || time.Since(began) != 4*time.Second {
			t.Errorf("%+v %v after %v", tok, err, time.Since(began))
		}
	})
}

func TestReadsFallBackToThisNodesReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.local = true
		r.down("n2", true)
		start := time.Now()
		if a, err := r.Account(t.Context(), crm); err != nil || a.Generation != 6 || time.Since(start) != time.Second {
			t.Errorf("account: %v after %v", err, time.Since(start))
		}
		r.n2.act = hangs
		r.down("n2", false)
		start = time.Now()
		if h, err := r.History(t.Context(), crm, 0, 1); err != nil || h.Next != 6 || time.Since(start) != time.Second {
			t.Errorf("history: %v after %v", err, time.Since(start))
		}
	})
}

func TestListsJoinTheShardsOfAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []credential.Account
		for i := range 100 {
			// The fakes keep the number of the shard in the generation.
			all = append(all, credential.Account{Ref: credential.Ref{Tenant: "acme", ID: fmt.Sprintf("%03d", i)}, Generation: uint64(i % 4)})
		}
		held := func(shards ...uint64) (list []credential.Account) {
			for _, a := range all {
				if slices.Contains(shards, a.Generation) {
					list = append(list, a)
				}
			}
			return list
		}
		n1, n2, n3 := &node{list: held(0)}, &node{list: held(1, 2)}, &node{list: held(2, 3)}
		p := &peers{nodes: map[string]*node{"n2": n2, "n3": n3}, down: map[string]error{}}
		r := route.New(route.Config{
			Self: "n1", Shards: 4, Local: n1, Peers: p,
			Leader: func(shard int) (string, uint64) { return []string{"n1", "n2", "n2", ""}[shard], 1 },
			Replicas: func(shard int) []string {
				return [][]string{{"n1"}, {"n2"}, {"n2", "n3"}, {"n3"}}[shard]
			},
			LocalReplica: func(shard int) bool { return shard == 0 },
		})
		var got []credential.Account
		q := credential.Query{Limit: 7}
		for {
			page, err := r.Accounts(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page.Accounts...)
			if q.After = page.Next; q.After == (credential.Ref{}) {
				break
			}
		}
		if !slices.EqualFunc(got, all, func(a, b credential.Account) bool { return a.Ref == b.Ref }) {
			t.Errorf("%d accounts of %d", len(got), len(all))
		}
		p.down["n3"] = errors.New("down") // the only one that has shard 3
		if _, err := r.Accounts(t.Context(), q); !errors.Is(err, credential.ErrNoQuorum) {
			t.Errorf("a list with a hole: %v", err)
		}
	})
}
