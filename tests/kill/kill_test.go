package kill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

const (
	rotatingAccounts  = 20
	forgivingAccounts = 6
	callersEach       = 2 // for each account

	killsEach = 12 // of each cause

	// settleTimeout bounds how long accounts may take to recover in the end.
	settleTimeout = time.Minute
)

func TestKilledNodeKeepsItsPromises(t *testing.T) {
	seed := seedOf(t)
	t.Logf("KILL_SEED=%d", seed)
	each := killsEach
	if testing.Short() {
		each = 2
	}
	tr := &trial{t: t, rng: rand.New(rand.NewPCG(seed, 0)), provider: newProvider(t, seed), node: newNode(t)}
	tr.setUp()
	for _, why := range schedule(tr.rng, each) {
		if tr.dieOf(why); t.Failed() {
			t.FailNow()
		}
	}
	must(t, tr.provider.SetFaults())
	must(t, tr.node.start(t.Context()))
	tr.settle()
	scraped := tr.node.metrics(t)
	if err := tr.node.proc.Stop(syscall.SIGTERM); err != nil {
		t.Fatalf("the node did not end well after SIGTERM: %v", err)
	}
	tr.checkAll()
	tr.checkTeeth(each)
	tr.checkPlaintext(scraped)
}

// seedOf draws the seed of this run, unless one is given.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	given := os.Getenv("KILL_SEED")
	if given == "" {
		return rand.Uint64()
	}
	seed, err := strconv.ParseUint(given, 10, 64)
	must(t, err)
	return seed
}

// setUp makes integrations, a key for the callers and accounts, and kills the
// node: what was acknowledged stays.
func (tr *trial) setUp() {
	t, n := tr.t, tr.node
	t.Helper()
	must(t, n.start(t.Context()))
	n.readAdminKey(t)
	admin := n.as(t, n.admin)
	for id, extra := range map[string]map[string]any{
		rotating:  {"refresh_rotation": "rotating"},
		forgiving: {"refresh_rotation": "rotating", "refresh_reuse_grace_seconds": int(reuseGrace / time.Second)},
	} {
		settings := map[string]json.RawMessage{}
		extra["token_url"] = tr.provider.server.URL + "/token"
		for name, v := range extra {
			b, err := json.Marshal(v)
			must(t, err)
			settings[name] = b
		}
		_, err := admin.PutIntegration(t.Context(), id, wire.NewIntegration{
			Provider: wire.ProviderCustom, ClientID: id, ClientSecret: wire.Secret(tr.provider.secrets[id].Reveal()), Settings: settings,
		})
		must(t, err)
	}
	key, err := admin.CreateKey(t.Context(), wire.NewKey{Tenant: tenant, Permissions: []string{wire.PermTokensRead, wire.PermAccountsRead, wire.PermAccountsWrite}})
	must(t, err)
	n.callers = key.Secret
	for i := range rotatingAccounts + forgivingAccounts {
		a := &account{id: fmt.Sprintf("account-%04d", i), integration: rotating, provider: tr.provider}
		if i >= rotatingAccounts {
			a.integration = forgiving
		}
		tr.accounts = append(tr.accounts, a)
		must(t, a.authorise(t.Context(), n.as(t, n.callers)))
	}
	if err := n.proc.Stop(os.Kill); !wasKilled(err) {
		t.Fatalf("it was to be killed: %v", err)
	}
	tr.lives = append(tr.lives, life{anyTime, time.Now()})
}

// settle waits until every account of the node, which is left alone now, has
// recovered or was given up.
func (tr *trial) settle() {
	t := tr.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	api := tr.node.as(t, tr.node.callers)
	for _, a := range tr.accounts {
		for {
			err := a.settled(ctx, api)
			if err == nil {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("account %s does not recover: %v", a.id, err)
			}
		}
	}
}

// settled returns nil for an account that can be refreshed, by which the refresh
// token in the store is proved to be the good one, and has a token that is live
// at the provider; or that waits for a person.
func (a *account) settled(ctx context.Context, api *client.Client) error {
	if err := a.catchUp(ctx, api); err != nil {
		return err
	}
	err := a.refresh(ctx, api, a.told.Floor())
	if client.CodeOf(err) == wire.CodeNeedsReauth {
		return nil
	}
	if err != nil {
		return err
	}
	tok, err := a.token(ctx, api, 0)
	if err != nil {
		return err
	}
	if !a.provider.TokenLive(credential.NewSecret(tok.AccessToken.Reveal())) {
		return errors.New("its token is dead at the provider")
	}
	return nil
}

// checkAll judges the stopped node by its store and by the provider's record.
func (tr *trial) checkAll() {
	tr.t.Helper()
	all, record := tr.openStore(), tr.provider.refreshes()
	if report := tr.provider.Report(); report.Forgotten > 0 {
		tr.t.Errorf("the provider forgot %d requests; raise its capacity", report.Forgotten)
	}
	if len(all) != len(tr.accounts) {
		tr.t.Errorf("the store holds %d accounts, there are %d", len(all), len(tr.accounts))
	}
	tr.checkJudge()
	for _, a := range tr.accounts {
		if err := errors.Join(a.checkReasons(), tr.checkAccount(a, all[a.id], record)); err != nil {
			tr.t.Errorf("account %s: %v", a.id, err)
		}
	}
}

// checkTeeth sees that the kills hit what they were meant to hit.
func (tr *trial) checkTeeth(each int) {
	t := tr.t
	t.Helper()
	total, by := tr.tallies()
	t.Logf("%d kills, %d refresh requests reached the provider\n%s", total.kills, tr.provider.Report().Refreshes, table(total, by))
	for c, n := range by {
		if n.kills < each {
			t.Errorf("the node died of %q %d times, not %d", c, n.kills, each)
		}
	}
	if total.interrupted == 0 || total.salvaged == 0 || total.retried == 0 || total.survived == 0 || total.lost == 0 {
		t.Errorf("some way out of an interrupted refresh was never taken")
	}
	if n := by[journalled].salvaged; n < each/2 {
		t.Errorf("the node died %d times with an answer in its journal, and %d answers were salvaged", each, n)
	}
}

// checkPlaintext looks for every secret in all that the node wrote and showed (I6).
func (tr *trial) checkPlaintext(scraped []byte) {
	t, n := tr.t, tr.node
	t.Helper()
	secrets := map[string][]string{"token": tr.provider.tokens.Texts(), "API key": {n.admin.Reveal(), n.callers.Reveal()}}
	for id, s := range tr.provider.secrets {
		secrets["client secret of "+id] = []string{s.Reveal()}
	}
	search := newNeedles(secrets)
	search.checkTree(t, n.dataDir(), tr.accounts[0].id, tr.accounts[len(tr.accounts)-1].id)
	logged, err := os.ReadFile(n.log.Name())
	must(t, err)
	for where, b := range map[string][]byte{"the log": logged, "/metrics": scraped} {
		for _, name := range search.in(b) {
			t.Errorf("I6: %s stands in plaintext in %s", name, where)
		}
		if len(b) == 0 {
			t.Errorf("%s is empty", where)
		}
	}
	t.Logf("searched for %d tokens in %d bytes of log", len(secrets["token"]), len(logged))
}
