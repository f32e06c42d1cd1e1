package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/witness"
	"github.com/grantd/grantd/wire"
)

// account is one account, what is known of it, and what callers were told.
type account struct {
	id          string
	integration string // and client at the provider
	shard       int
	// restless: its caller wants a new token all the time, so that it shows when
	// refreshes of the shard stop and begin again.
	restless bool
	provider *provider
	told     witness.Ledger
	history  witness.History // written by its caller, then by the verdict

	token wire.Token // the newest that its caller got

	mu     sync.Mutex
	grants []string // that were imported, or may have been, in order
}

func (a *account) name() string { return tenant + "/" + a.id }

// newAccounts returns four accounts for each shard.
func newAccounts(p *provider) []*account {
	kinds := []account{{integration: lasting, restless: true}, {integration: lasting, restless: true}, {integration: brief}, {integration: forgiving}}
	var all []*account
	var have [shards]int
	for i := 0; len(all) < shards*len(kinds); i++ {
		id := fmt.Sprintf("account-%04d", i)
		shard := ring.ShardOf(credential.Ref{Tenant: tenant, ID: id}, shards)
		if n := have[shard]; n < len(kinds) {
			all = append(all, &account{id: id, integration: kinds[n].integration, shard: int(shard), restless: kinds[n].restless, provider: p})
			have[shard]++
		}
	}
	return all
}

// load is the callers of all accounts.
type load struct {
	t     *testing.T
	nodes []*node
	key   wire.Secret
	// mend: who finds that his account needs to be authorised again sees to it.
	mend atomic.Bool

	reads, failedReads atomic.Int64 // of tokens that had time left
	replica            atomic.Int64 // of them, answers of a replica
	stale              atomic.Int64 // of them, answers older than one that somebody had
}

// either does something at one node, and where that one does not answer, at a
// second one.
func (l *load) either(ctx context.Context, rng *rand.Rand, fn func(ctx context.Context, api *client.Client) error) error {
	var errs []error
	for _, i := range rng.Perm(len(l.nodes))[:2] {
		api, err := l.nodes[i].as(l.key)
		if err != nil {
			return err
		}
		err = func() error {
			ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
			defer cancel()
			return fn(ctx, api)
		}()
		if err == nil || errors.As(err, new(witness.Broken)) || isFinal(client.CodeOf(err)) {
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", l.nodes[i].name, err))
	}
	return errors.Join(errs...)
}

// isFinal tells answers that another node would give as well.
func isFinal(code wire.Code) bool {
	switch code {
	case "", wire.CodeNoQuorum, wire.CodeTimeout, wire.CodeUnknownOutcome, wire.CodeNotReady, wire.CodeOverloaded:
		return false
	}
	return true
}

// authorise brings a fresh grant to the account, as a person does who is asked to.
func (l *load) authorise(ctx context.Context, rng *rand.Rand, a *account) error {
	g, err := a.provider.tokens.NewGrant(a.integration, a.id)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.grants = append(a.grants, g.Grant)
	a.mu.Unlock()
	seconds := int64(g.ExpiresIn / time.Second)
	n := wire.NewAccount{Tenant: tenant, ID: a.id, Integration: a.integration, Credentials: wire.Credentials{
		Type: wire.TypeOAuth2, AccessToken: wire.Secret(g.AccessToken.Reveal()), RefreshToken: wire.Secret(g.RefreshToken.Reveal()), ExpiresIn: &seconds,
	}}
	return l.either(ctx, rng, func(ctx context.Context, api *client.Client) error {
		got, err := api.CreateAccount(ctx, n)
		if client.CodeOf(err) == wire.CodeAccountExists { // the first node had done it
			return nil
		}
		if err != nil {
			return err
		}
		return a.told.Heard(0, got.Generation)
	})
}

// read asks for the account's token.
func (l *load) read(ctx context.Context, rng *rand.Rand, a *account) error {
	fresh := time.Until(a.token.ExpiresAt.Time) > freshTime
	floor := a.told.Floor()
	var tok wire.Token
	err := l.either(ctx, rng, func(ctx context.Context, api *client.Client) (err error) {
		tok, err = api.Token(ctx, a.name(), time.Duration(rng.Int64N(int64(smallTTL))))
		return err
	})
	switch {
	case client.CodeOf(err) == wire.CodeNotFound:
		return witness.Brokenf("%s a node said that it does not exist", time.Now().Format(time.StampMilli))
	case fresh && ctx.Err() != nil:
		return nil // the test ends
	case fresh:
		l.reads.Add(1)
		if err != nil && client.CodeOf(err) != wire.CodeNeedsReauth {
			if l.failedReads.Add(1) > toldReads {
				return err
			}
			l.t.Logf("%s a token of %s with time left could not be read: %v", time.Now().Format(time.StampMilli), a.id, err)
		}
	}
	if err != nil {
		return err
	}
	if tok.Replica {
		l.replica.Add(1)
	}
	if tok.Generation < floor {
		l.stale.Add(1)
		if !tok.Replica {
			return witness.Brokenf("%s generation %d was told as the owner's after generation %d", time.Now().Format(time.StampMilli), tok.Generation, floor)
		}
		return nil
	}
	a.token = tok
	text := tok.AccessToken.Reveal()
	grant, sequence, ok := a.provider.GrantOf(credential.NewSecret(text))
	if !ok {
		return witness.Brokenf("generation %d has a token that is not of the provider", tok.Generation)
	}
	return a.told.HeardToken(0, tok.Generation, text, witness.Place{Grant: grant, Sequence: sequence})
}

// toldReads bounds how many failed reads are told of one by one.
const toldReads = 10

const (
	smallTTL = time.Second
	// freshTime is how long a token must have to live still, for a read of it to
	// have no excuse: two attempts, and what a caller wants.
	freshTime = 2*attemptTimeout + smallTTL
)

// refresh says that the newest token stopped working.
func (l *load) refresh(ctx context.Context, rng *rand.Rand, a *account) error {
	stale := a.told.Floor()
	return l.either(ctx, rng, func(ctx context.Context, api *client.Client) error {
		got, err := api.Refresh(ctx, a.name(), &stale)
		if err != nil {
			return err
		}
		if got.Generation <= stale {
			return witness.Brokenf("a refresh of generation %d was answered with generation %d", stale, got.Generation)
		}
		return a.told.Heard(0, got.Generation)
	})
}

// catchUp reads the new lines of the account's history.
func (l *load) catchUp(ctx context.Context, rng *rand.Rand, a *account) error {
	return l.either(ctx, rng, func(ctx context.Context, api *client.Client) error {
		page, err := api.History(ctx, a.name(), "", 256)
		if err != nil {
			return err
		}
		for i := len(page.History) - 1; i >= 0; i-- { // newest first
			if err := a.history.Add(page.History[i].Number, witness.FromAPI(page.History[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

// catchUpAfter is how many turns a caller takes between two looks at the history.
const catchUpAfter = 25

// run keeps using an account until ctx ends.
func (l *load) run(ctx context.Context, rng *rand.Rand, a *account) {
	pause, eager := 200*time.Millisecond, 0.4
	if a.restless {
		pause, eager = 70*time.Millisecond, 1
	}
	tick := time.NewTicker(pause + time.Duration(rng.Int64N(int64(pause))))
	defer tick.Stop()
	for turn := 1; ctx.Err() == nil; turn++ {
		err := l.read(ctx, rng, a)
		if err == nil && rng.Float64() < eager {
			err = l.refresh(ctx, rng, a)
		}
		if client.CodeOf(err) == wire.CodeNeedsReauth && l.mend.Load() {
			err = l.authorise(ctx, rng, a)
		}
		if turn%catchUpAfter == 0 {
			err = errors.Join(err, l.catchUp(ctx, rng, a))
		}
		if bad(err) {
			l.t.Errorf("%s account %s: %v", time.Now().Format(time.StampMilli), a.id, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// bad tells errors that nothing that is done to the nodes excuses.
func bad(err error) bool {
	if errors.As(err, new(witness.Broken)) {
		return true
	}
	switch client.CodeOf(err) {
	case wire.CodeProviderUnavailable, wire.CodeNeedsReauth:
		return false
	}
	return isFinal(client.CodeOf(err))
}
