package tests

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/authserver"
	"github.com/grantd/grantd/wire"
)

// grantd's promises, kept against servers that others wrote: a grant that a
// person gave by the real flow is imported, refreshed and revoked through the
// HTTP API, and the proxy in front of the server is the judge.

const (
	accountPath = "/v1/accounts/acme/ada"
	herdSize    = 200
)

// connection is an account of a node, and the application behind it.
type connection struct {
	*grantd
	server *authserver.Server
	app    *authserver.App
	before int // refreshes that had reached the server when it was made
}

// connect registers the application of method and imports a fresh grant of it.
// The credentials are what imported makes of the tokens.
func connect(t *testing.T, g *grantd, s *authserver.Server, method authserver.Method, imported func(authserver.Answer) wire.Credentials) connection {
	t.Helper()
	c := connection{grantd: g, server: s, app: s.App(method), before: len(s.Refreshes())}
	grant, err := c.app.Authorize(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.register()
	c.importAccount(imported(grant), nil)
	return c
}

// register makes the integration.
func (c connection) register() {
	c.t.Helper()
	in := wire.NewIntegration{
		Provider: wire.ProviderCustom, ClientID: c.app.ClientID, ClientSecret: wire.Secret(c.app.Secret.Reveal()), Scopes: c.app.Scopes,
		Settings: map[string]json.RawMessage{},
	}
	for name, value := range map[string]string{
		"authorization_url": c.app.Metadata.Authorization,
		"token_url":         c.app.Metadata.Token,
		"revocation_url":    c.app.Metadata.Revocation,
		"introspection_url": c.app.Metadata.Introspection,
		"token_auth_method": string(c.app.Method),
		"refresh_rotation":  "rotating",
	} {
		in.Settings[name] = wire.AppendString(nil, value)
	}
	c.must(http.MethodPut, "/v1/integrations/crm", in, nil)
}

func (c connection) importAccount(credentials wire.Credentials, out any) {
	c.t.Helper()
	c.must(http.MethodPost, "/v1/accounts", wire.NewAccount{Tenant: "acme", ID: "ada", Integration: "crm", Credentials: credentials}, out)
}

// allTokens imports everything that the server gave.
func allTokens(a authserver.Answer) wire.Credentials {
	seconds := int64(a.ExpiresIn / time.Second)
	return wire.Credentials{Type: wire.TypeOAuth2, AccessToken: wire.Secret(a.AccessToken.Reveal()), RefreshToken: wire.Secret(a.RefreshToken.Reveal()), ExpiresIn: &seconds}
}

// refreshTokenOnly imports the refresh token alone, so that the first caller's
// token has to be fetched.
func refreshTokenOnly(a authserver.Answer) wire.Credentials {
	return wire.Credentials{Type: wire.TypeOAuth2, RefreshToken: wire.Secret(a.RefreshToken.Reveal())}
}

func (c connection) token() wire.Token {
	c.t.Helper()
	var token wire.Token
	c.must(http.MethodGet, accountPath+"/token", nil, &token)
	return token
}

// refresh asks for a credential newer than generation.
func (c connection) refresh(ctx context.Context, generation uint64) (wire.Account, error) {
	var a wire.Account
	err := c.call(ctx, http.MethodPost, accountPath+"/refresh", wire.RefreshRequest{StaleGeneration: &generation}, &a)
	return a, err
}

// refreshes are those that have reached the server for this connection.
func (c connection) refreshes() []authserver.Request { return c.server.Refreshes()[c.before:] }

// checkActive asks the server about an access token. Only the application that
// authenticates by Basic can ask all of the servers.
func (c connection) checkActive(token wire.Secret, want bool) {
	c.t.Helper()
	if c.app.Method != authserver.Basic {
		return
	}
	if got := c.active(token); got != want {
		c.t.Errorf("at the server the access token is active: %v, want %v", got, want)
	}
}

func (c connection) active(token wire.Secret) bool {
	c.t.Helper()
	a, err := c.app.Introspect(c.t.Context(), credential.NewSecret(token.Reveal()))
	if err != nil || !a.OK() {
		c.t.Fatalf("introspect: %v, %v", a, err)
	}
	return a.Active
}

// checkRecord has the proxy judge: one refresh at a time, no refresh token twice.
func (c connection) checkRecord() {
	c.t.Helper()
	refreshes, seen := c.refreshes(), map[string]int{}
	for i, r := range refreshes {
		if before, ok := seen[r.Presented]; ok {
			c.t.Errorf("refresh %d presents the token of refresh %d again", i, before)
		}
		seen[r.Presented] = i
		if i > 0 && (refreshes[i-1].Ended.IsZero() || r.Began.Before(refreshes[i-1].Ended)) {
			c.t.Errorf("refresh %d began before refresh %d had ended", i, i-1)
		}
		if r.Status != http.StatusOK {
			c.t.Errorf("refresh %d was answered with HTTP %d %s", i, r.Status, r.Code)
		}
	}
}

// checkDisconnect disconnects the account and sees that nothing of it is left.
func (c connection) checkDisconnect() {
	c.t.Helper()
	token := c.token()
	refreshes := c.refreshes()
	newest := refreshes[len(refreshes)-1].Issued
	c.must(http.MethodDelete, accountPath, nil, nil)

	var a wire.Account
	c.must(http.MethodGet, accountPath, nil, &a)
	if a.State != wire.StateDisconnected {
		c.t.Errorf("the account is %s", a.State)
	}
	var r refusal
	if err := c.call(c.t.Context(), http.MethodGet, accountPath+"/token", nil, nil); !errors.As(err, &r) || r.status != http.StatusConflict || r.problem.Code != wire.CodeDisconnected {
		c.t.Errorf("its token is still given: %v", err)
	}
	c.eventually(func() error { // the server is asked in the background
		var h wire.History
		c.must(http.MethodGet, accountPath+"/history", nil, &h)
		if !slices.ContainsFunc(h.History, func(l wire.HistoryLine) bool { return l.What == string(credential.WhatRevoked) }) {
			return errors.New("the grant is not revoked yet")
		}
		return nil
	})
	c.checkActive(token.AccessToken, false)
	if alive, err := c.app.Alive(c.t.Context(), newest); err != nil || alive {
		c.t.Errorf("its refresh token lives on at the server: %v, %v", alive, err)
	}
}

// against runs a test with a node and a server of each kind.
func against(t *testing.T, accessTTL time.Duration, test func(*testing.T, *grantd, *authserver.Server)) {
	t.Helper()
	for _, kind := range authserver.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, startGrantd(t), authserver.Start(t, kind, authserver.Options{AccessTTL: accessTTL}))
		})
	}
}

func TestRealGrantIsRefreshedTenTimesInARowAndRevoked(t *testing.T) {
	against(t, time.Hour, func(t *testing.T, g *grantd, s *authserver.Server) {
		for _, method := range authserver.Methods() {
			t.Run(string(method), func(t *testing.T) {
				c := connect(t, g, s, method, allTokens)
				tokens := []wire.Secret{c.token().AccessToken}
				for generation := c.token().Generation; len(tokens) <= 10; {
					a, err := c.refresh(t.Context(), generation)
					if err != nil {
						t.Fatal(err)
					}
					token := c.token()
					if a.Generation != generation+1 || token.Generation != a.Generation || slices.Contains(tokens, token.AccessToken) {
						t.Fatalf("a refresh of generation %d led to generation %d, the token is of %d", generation, a.Generation, token.Generation)
					}
					c.checkActive(token.AccessToken, true)
					generation, tokens = a.Generation, append(tokens, token.AccessToken)
				}
				if n := len(c.refreshes()); n != 10 {
					t.Errorf("10 refreshes reached the server as %d", n)
				}
				c.checkRecord()
				c.checkDisconnect()
			})
		}
	})
}

func TestHerdOfRefreshesReachesTheServerAsOne(t *testing.T) {
	against(t, time.Hour, func(t *testing.T, g *grantd, s *authserver.Server) {
		c := connect(t, g, s, authserver.Basic, allTokens)
		stale := c.token()
		herd(t, func(ctx context.Context) error {
			a, err := c.refresh(ctx, stale.Generation)
			if err == nil && a.Generation != stale.Generation+1 {
				err = errors.New("not the next generation")
			}
			return err
		})
		c.checkOneRefresh()
		token := c.token()
		if token.AccessToken == stale.AccessToken {
			t.Error("the herd brought no new token")
		}
		c.checkActive(token.AccessToken, true)
		if _, err := c.refresh(t.Context(), stale.Generation+1); err != nil {
			t.Errorf("the grant did not survive: %v", err)
		}
		c.checkRecord()
		c.checkDisconnect()
	})
}

func TestHerdOnAnAccountWithoutAnAccessTokenReachesTheServerAsOne(t *testing.T) {
	against(t, time.Hour, func(t *testing.T, g *grantd, s *authserver.Server) {
		c := connect(t, g, s, authserver.Basic, refreshTokenOnly)
		var mu sync.Mutex
		given := map[wire.Secret]int{}
		herd(t, func(ctx context.Context) error {
			var token wire.Token
			err := c.call(ctx, http.MethodGet, accountPath+"/token", nil, &token)
			mu.Lock()
			defer mu.Unlock()
			given[token.AccessToken]++
			return err
		})
		if len(given) != 1 {
			t.Errorf("the callers got %d different tokens", len(given))
		}
		c.checkOneRefresh()
		c.checkDisconnect()
	})
}

func (c connection) checkOneRefresh() {
	c.t.Helper()
	if n := len(c.refreshes()); n != 1 {
		c.t.Errorf("%d callers reached the server as %d requests, want 1", herdSize, n)
	}
}

// herd makes a call many times at once; all of them must succeed.
func herd(t *testing.T, call func(context.Context) error) {
	t.Helper()
	errs, start := make([]error, herdSize), make(chan struct{})
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			<-start
			errs[i] = call(t.Context())
		})
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestShortTokensAreRefreshedBeforeTheyEndWithoutAnybodyAsking(t *testing.T) {
	against(t, 4*time.Second, func(t *testing.T, g *grantd, s *authserver.Server) {
		c := connect(t, g, s, authserver.Basic, allTokens)
		first := c.token().Generation
		look := time.NewTicker(50 * time.Millisecond)
		defer look.Stop()
		for began := time.Now(); c.token().Generation < first+3; <-look.C {
			if time.Since(began) > time.Minute {
				t.Fatalf("after a minute only %d refreshes were made", len(s.Refreshes()))
			}
		}
		for {
			token := c.token()
			active := c.active(token.AccessToken)
			if c.token().Generation != token.Generation {
				continue // it was refreshed while the server was asked about it
			}
			if !active {
				t.Error("the token that is given out has ended")
			}
			break
		}
		c.checkRecord()
		c.checkDisconnect()
	})
}

func TestRealGrantSurvivesKillsOfTheNode(t *testing.T) {
	against(t, time.Hour, func(t *testing.T, g *grantd, s *authserver.Server) {
		c := connect(t, g, s, authserver.Basic, allTokens)
		for range 3 {
			before := c.token()
			if _, err := c.refresh(t.Context(), before.Generation); err != nil {
				t.Fatal(err)
			}
			g.killAndRestart()
			after := c.token()
			if after.Generation != before.Generation+1 {
				t.Fatalf("generation %d was acknowledged, after the restart there is %d", before.Generation+1, after.Generation)
			}
			c.checkActive(after.AccessToken, true)
		}
		c.checkRecord()
		c.checkDisconnect()
	})
}

func TestDeadGrantIsToldAndBroughtBackByANewOne(t *testing.T) {
	against(t, time.Hour, func(t *testing.T, g *grantd, s *authserver.Server) {
		c := connect(t, g, s, authserver.Basic, allTokens)
		a, err := c.refresh(t.Context(), c.token().Generation)
		if err != nil {
			t.Fatal(err)
		}
		if revoked, err := c.app.Revoke(t.Context(), s.Refreshes()[0].Issued); err != nil || !revoked.OK() {
			t.Fatalf("revoke: %v, %v", revoked, err)
		}
		var r refusal
		if _, err := c.refresh(t.Context(), a.Generation); !errors.As(err, &r) || r.problem.Code != wire.CodeNeedsReauth || r.problem.Reason != "invalid_grant" {
			t.Errorf("a refresh of a revoked grant: %v", err)
		}
		asked := len(s.Requests())
		herd(t, func(ctx context.Context) error {
			if err := c.call(ctx, http.MethodGet, accountPath+"/token", nil, nil); !errors.As(err, new(refusal)) {
				return errors.New("a token of a dead grant was given")
			}
			return nil
		})
		if n := len(s.Requests()); n != asked {
			t.Errorf("the server was asked %d times more for a grant that is dead", n-asked)
		}

		again, err := c.app.Authorize(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.importAccount(allTokens(again), &a)
		if a.State != wire.StateActive || a.Name() != "acme/ada" {
			t.Errorf("the account is %s", a.State)
		}
		if _, err := c.refresh(t.Context(), a.Generation); err != nil {
			t.Error(err)
		}
		c.checkDisconnect()
	})
}

func TestClientCredentialsAccountFetchesOneTokenForAll(t *testing.T) {
	against(t, time.Hour, func(t *testing.T, g *grantd, s *authserver.Server) {
		for _, method := range []authserver.Method{authserver.Basic, authserver.Post} {
			before := len(s.Requests())
			c := connection{grantd: g, server: s, app: s.App(method)}
			c.app.Scopes = nil
			c.register()
			c.importAccount(wire.Credentials{Type: wire.TypeClientCredentials}, nil)
			herd(t, func(ctx context.Context) error {
				return c.call(ctx, http.MethodGet, accountPath+"/token", nil, nil)
			})
			if n := len(s.Requests()) - before; n != 1 {
				t.Errorf("%s: %d callers reached the server as %d requests, want 1", method, herdSize, n)
			}
			c.must(http.MethodDelete, accountPath, nil, nil)
		}
	})
}
