package authserver_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/authserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eachKind runs a test against a fresh server of each kind.
func eachKind(t *testing.T, o authserver.Options, test func(*testing.T, *authserver.Server)) {
	t.Helper()
	for _, kind := range authserver.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, authserver.Start(t, kind, o))
		})
	}
}

// ask fails the test where the server could not be asked at all.
func ask(t *testing.T) func(authserver.Answer, error) authserver.Answer {
	return func(a authserver.Answer, err error) authserver.Answer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

// alive is [authserver.App.Alive], where the server must be able to tell.
func alive(t *testing.T, app *authserver.App, newest credential.Secret) bool {
	t.Helper()
	yes, err := app.Alive(t.Context(), newest)
	if err != nil {
		t.Fatal(err)
	}
	return yes
}

// refuses checks for the answer to a dead refresh token.
func refuses(t *testing.T, what string, a authserver.Answer) {
	t.Helper()
	if a.Status != http.StatusBadRequest || a.Code != "invalid_grant" {
		t.Errorf("%s: %v, want HTTP 400 invalid_grant", what, a)
	}
}

func TestRealFlowAndRotationWorkWithEveryClientAuthentication(t *testing.T) {
	eachKind(t, authserver.Options{AccessTTL: time.Minute}, func(t *testing.T, s *authserver.Server) {
		for _, method := range authserver.Methods() {
			t.Run(string(method), func(t *testing.T) {
				app, ctx := s.App(method), t.Context()
				first := ask(t)(app.Authorize(ctx))
				if first.ExpiresIn > time.Minute || first.ExpiresIn < 50*time.Second {
					t.Errorf("the access token lives %v, a minute was asked for", first.ExpiresIn)
				}
				token := first.RefreshToken
				for i := range 3 {
					next := ask(t)(app.Refresh(ctx, token))
					if !next.OK() || next.RefreshToken.IsZero() || next.RefreshToken.Equal(token) || next.AccessToken.Equal(first.AccessToken) {
						t.Fatalf("refresh %d: %v, want new tokens, both of them", i, next)
					}
					token = next.RefreshToken
				}
				if a := ask(t)(app.Revoke(ctx, token)); !a.OK() {
					t.Fatalf("revoke: %v", a)
				}
				refuses(t, "a refresh after the revocation", ask(t)(app.Refresh(ctx, token)))
			})
		}
	})
}

func TestWrongSecretIsRefused(t *testing.T) {
	eachKind(t, authserver.Options{}, func(t *testing.T, s *authserver.Server) {
		for _, method := range []authserver.Method{authserver.Basic, authserver.Post} {
			app, ctx := s.App(method), t.Context()
			grant := ask(t)(app.Authorize(ctx))
			wrong := s.App(method)
			wrong.Secret = credential.NewSecret("wrong")
			a := ask(t)(wrong.Refresh(ctx, grant.RefreshToken))
			if a.Code != "invalid_client" {
				t.Errorf("%s with a wrong secret: %v, want invalid_client", method, a)
			}
			if !alive(t, app, grant.RefreshToken) {
				t.Errorf("%s: the grant died of a wrong secret", method)
			}
		}
	})
}

// character is what the servers do differently.
type character struct {
	replayKills       bool // a replayed refresh token kills its grant
	oldAccessSurvives bool // a refresh leaves the old access token alone
}

var characters = map[authserver.Kind]character{
	authserver.OIDCProvider: {replayKills: true, oldAccessSurvives: true},
	authserver.Fosite:       {replayKills: true},
	authserver.Zitadel:      {},
}

func TestReplayedRefreshTokenKillsTheGrantWhereTheServerIsStrict(t *testing.T) {
	eachKind(t, authserver.Options{AccessTTL: time.Minute}, func(t *testing.T, s *authserver.Server) {
		app, ctx, want := s.App(authserver.Basic), t.Context(), characters[s.Kind]
		first := ask(t)(app.Authorize(ctx))
		second := ask(t)(app.Refresh(ctx, first.RefreshToken))
		if got := ask(t)(app.Introspect(ctx, first.AccessToken)); got.Active != want.oldAccessSurvives {
			t.Errorf("after a refresh the old access token is active: %v, want %v", got.Active, want.oldAccessSurvives)
		}
		if got := ask(t)(app.Introspect(ctx, second.AccessToken)); !got.Active {
			t.Errorf("the new access token is not active: %v", got)
		}

		refuses(t, "the replay", ask(t)(app.Refresh(ctx, first.RefreshToken)))

		if got := ask(t)(app.Introspect(ctx, second.AccessToken)); got.Active == want.replayKills {
			t.Errorf("after the replay the access token is active: %v", got.Active)
		}
		if got := alive(t, app, second.RefreshToken); got == want.replayKills {
			t.Errorf("after the replay the grant is alive: %v", got)
		}
	})
}

func TestOfRefreshesAtOnceOneWinsAndMayBeDeadAtOnce(t *testing.T) {
	eachKind(t, authserver.Options{AccessTTL: time.Minute}, func(t *testing.T, s *authserver.Server) {
		app, ctx := s.App(authserver.Basic), t.Context()
		grant := ask(t)(app.Authorize(ctx))
		answers := together(ctx, 10, func(ctx context.Context) (authserver.Answer, error) {
			return app.Refresh(ctx, grant.RefreshToken)
		})
		var winner credential.Secret
		won := 0
		for _, a := range answers {
			if a.err != nil {
				t.Fatal(a.err)
			}
			if a.OK() {
				won, winner = won+1, a.RefreshToken
				continue
			}
			refuses(t, "a loser", a.Answer)
		}
		if won != 1 {
			t.Fatalf("%d of 10 refreshes with one token were answered, want 1", won)
		}
		if got := alive(t, app, winner); got == characters[s.Kind].replayKills {
			t.Errorf("the winner's grant is alive: %v", got)
		}
	})
}

type attempt struct {
	authserver.Answer
	err error
}

// together calls fn n times at once.
func together(ctx context.Context, n int, fn func(context.Context) (authserver.Answer, error)) []attempt {
	results, start := make([]attempt, n), make(chan struct{})
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			<-start
			results[i].Answer, results[i].err = fn(ctx)
		})
	}
	close(start)
	wg.Wait()
	return results
}

func TestRevocationKillsTheAccessTokenToo(t *testing.T) {
	eachKind(t, authserver.Options{AccessTTL: time.Minute}, func(t *testing.T, s *authserver.Server) {
		app, ctx := s.App(authserver.Basic), t.Context()
		grant := ask(t)(app.Authorize(ctx))
		if a := ask(t)(app.Revoke(ctx, grant.RefreshToken)); !a.OK() {
			t.Fatalf("revoke: %v", a)
		}
		if a := ask(t)(app.Introspect(ctx, grant.AccessToken)); a.Active {
			t.Error("the access token outlives its refresh token")
		}
	})
}

func TestAccessTokenDiesInTimeAndTheGrantDoesNot(t *testing.T) {
	eachKind(t, authserver.Options{AccessTTL: time.Second}, func(t *testing.T, s *authserver.Server) {
		app, ctx := s.App(authserver.Basic), t.Context()
		grant := ask(t)(app.Authorize(ctx))
		deadline, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		look := time.NewTicker(50 * time.Millisecond)
		defer look.Stop()
		for ask(t)(app.Introspect(deadline, grant.AccessToken)).Active {
			<-look.C
		}
		if !alive(t, app, grant.RefreshToken) {
			t.Error("the grant died with its access token")
		}
	})
}

func TestClientCredentialsBringATokenWithoutARefreshToken(t *testing.T) {
	eachKind(t, authserver.Options{AccessTTL: time.Minute}, func(t *testing.T, s *authserver.Server) {
		for _, method := range []authserver.Method{authserver.Basic, authserver.Post} {
			app := s.App(method)
			a := ask(t)(app.ClientCredentials(t.Context()))
			if !a.OK() || a.AccessToken.IsZero() || !a.RefreshToken.IsZero() {
				t.Fatalf("%s: %v, refresh token: %v", method, a, !a.RefreshToken.IsZero())
			}
			if s.Kind == authserver.Zitadel {
				continue // it takes the client for a person when it is asked about the token, and finds none
			}
			if got := ask(t)(s.App(authserver.Basic).Introspect(t.Context(), a.AccessToken)); !got.Active {
				t.Errorf("%s: the token is not active: %v", method, got)
			}
		}
	})
}

func TestProxyCountsEveryRefreshAndShowsNoToken(t *testing.T) {
	eachKind(t, authserver.Options{}, func(t *testing.T, s *authserver.Server) {
		app, ctx := s.App(authserver.Basic), t.Context()
		grant := ask(t)(app.Authorize(ctx))
		next := ask(t)(app.Refresh(ctx, grant.RefreshToken))
		ask(t)(app.Refresh(ctx, grant.RefreshToken))

		all, refreshes := s.Requests(), s.Refreshes()
		if len(all) != 3 || len(refreshes) != 2 || all[0].Grant != "authorization_code" {
			t.Fatalf("%d requests and %d refreshes were seen, want 3 and 2", len(all), len(refreshes))
		}
		good, bad := refreshes[0], refreshes[1]
		if good.Status != http.StatusOK || !good.Issued.Equal(next.RefreshToken) || good.Ended.Before(good.Began) || good.Method != http.MethodPost {
			t.Errorf("the good refresh is noted as %+v", good)
		}
		if bad.Status != http.StatusBadRequest || bad.Code != "invalid_grant" || bad.Presented != good.Presented {
			t.Errorf("the replay is noted as %+v", bad)
		}
		shown := fmt.Sprintf("%+v %#v", all, all)
		for _, secret := range []credential.Secret{grant.RefreshToken, next.RefreshToken, next.AccessToken, app.Secret} {
			if strings.Contains(shown, secret.Reveal()) {
				t.Error("the record shows a secret")
			}
		}
	})
}
