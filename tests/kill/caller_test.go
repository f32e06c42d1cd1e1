package kill

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/witness"
	"github.com/grantd/grantd/wire"
)

const tenant = "acme"

// account is one account, what is known of it, and what callers were told.
type account struct {
	id          string
	integration string // and client at the provider
	provider    *provider
	told        witness.Ledger
	history     witness.History // written by the account's first caller only

	mu     sync.Mutex
	grants []string // that were imported, or may have been, in order
}

func (a *account) name() string { return tenant + "/" + a.id }

// authorise brings a fresh grant to the account, as a person does who is asked to.
func (a *account) authorise(ctx context.Context, api *client.Client) error {
	g, err := a.provider.tokens.NewGrant(a.integration, a.id)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.grants = append(a.grants, g.Grant)
	a.mu.Unlock()
	seconds, floor := int64(g.ExpiresIn/time.Second), a.told.Floor()
	got, err := api.CreateAccount(ctx, wire.NewAccount{Tenant: tenant, ID: a.id, Integration: a.integration, Credentials: wire.Credentials{
		Type: wire.TypeOAuth2, AccessToken: wire.Secret(g.AccessToken.Reveal()), RefreshToken: wire.Secret(g.RefreshToken.Reveal()), ExpiresIn: &seconds,
	}})
	if err != nil {
		return err
	}
	return a.told.Heard(floor, got.Generation)
}

// token asks for the account's token and enters the answer.
func (a *account) token(ctx context.Context, api *client.Client, minTTL time.Duration) (wire.Token, error) {
	floor := a.told.Floor()
	tok, err := api.Token(ctx, a.name(), minTTL)
	if err != nil {
		return tok, err
	}
	text := tok.AccessToken.Reveal()
	grant, sequence, ok := a.provider.GrantOf(credential.NewSecret(text))
	if !ok {
		return tok, witness.Brokenf("generation %d has a token that is not of the provider", tok.Generation)
	}
	return tok, a.told.HeardToken(floor, tok.Generation, text, witness.Place{Grant: grant, Sequence: sequence})
}

// refresh says that the token of a generation stopped working, and enters the
// answer.
func (a *account) refresh(ctx context.Context, api *client.Client, stale uint64) error {
	floor := a.told.Floor()
	got, err := api.Refresh(ctx, a.name(), &stale)
	if err != nil {
		return err
	}
	if got.Generation <= stale {
		return witness.Brokenf("a refresh of generation %d was answered with generation %d", stale, got.Generation)
	}
	return a.told.Heard(floor, got.Generation)
}

// catchUp reads the account's record and the new lines of its history.
func (a *account) catchUp(ctx context.Context, api *client.Client) error {
	floor := a.told.Floor()
	got, err := api.Account(ctx, a.name())
	if err != nil {
		return err
	}
	if err := a.told.Heard(floor, got.Generation); err != nil {
		return err
	}
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
}

// caller keeps using one account during one life of the node.
type caller struct {
	t       *testing.T
	account *account
	api     *client.Client
	died    <-chan struct{}
	rng     *rand.Rand
	// first: of the account's callers the one who reads its history, and who
	// authorises again.
	first bool
}

// run calls until the node is dead.
func (c *caller) run(ctx context.Context) {
	tick := time.NewTicker(150*time.Millisecond + time.Duration(c.rng.Int64N(int64(300*time.Millisecond))))
	defer tick.Stop()
	if c.first && !c.fine(c.account.catchUp(ctx, c.api)) {
		return
	}
	for c.fine(c.turn(ctx)) {
		select {
		case <-c.died:
			return
		case <-tick.C:
		}
	}
}

// turn is one use of the account: its token, and often a refresh.
func (c *caller) turn(ctx context.Context) error {
	tok, err := c.account.token(ctx, c.api, time.Duration(c.rng.Int64N(int64(accessTTL))))
	switch {
	case client.CodeOf(err) == wire.CodeNeedsReauth && c.first:
		return c.account.authorise(ctx, c.api)
	case err != nil || c.rng.Float64() < 0.4:
		return err
	}
	return c.account.refresh(ctx, c.api, tok.Generation)
}

// fine says whether to go on after an error. What callers have to live with is
// no fault, nor is the node's death, which ends the calling.
func (c *caller) fine(err error) bool {
	var refusal *client.Error
	switch {
	case err == nil:
		return true
	case errors.As(err, new(witness.Broken)):
	case errors.As(err, &refusal):
		switch refusal.Code {
		case wire.CodeProviderUnavailable, wire.CodeNeedsReauth, wire.CodeNoQuorum, wire.CodeUnknownOutcome, wire.CodeTimeout:
			return true
		}
	case c.nodeDied():
		return false
	}
	c.t.Errorf("account %s: %v", c.account.id, err)
	return false
}

// nodeDied waits a moment for the death that a broken connection may be the
// first sign of.
func (c *caller) nodeDied() bool {
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	select {
	case <-c.died:
		return true
	case <-timer.C:
		return false
	}
}
