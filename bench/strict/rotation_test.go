package strict_test

import (
	"context"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/bench/strict"
)

func TestRefreshTokenRotatesWithEveryUse(t *testing.T) {
	p := newProvider(t, strict.Options{})
	for _, client := range []string{"demo-basic", "demo-post", "demo-public"} {
		c, g := inProcess(t, p), newGrant(t, p, client)
		seen := map[string]bool{g.RefreshToken.Reveal(): true, g.AccessToken.Reveal(): true}
		token := g.RefreshToken.Reveal()
		for i := range 10 {
			a := c.refresh(client, token)
			wantStatus(t, a, 200, "")
			if seen[a.RefreshToken] || seen[a.AccessToken] || a.RefreshToken == "" {
				t.Fatalf("refresh %d of %s gave a token that was there before", i, client)
			}
			seen[a.RefreshToken], seen[a.AccessToken] = true, true
			token = a.RefreshToken
			if a.TokenType != "Bearer" || string(a.ExpiresIn) != "60" || a.Scope != "openid profile" || a.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("not what oidc-provider answers: %+v", a)
			}
			if c.me(a.AccessToken).Status != 200 || c.me(g.AccessToken.Reveal()).Status != 200 {
				t.Fatal("an access token of a living grant was refused")
			}
		}
		if s, err := p.Grant(g.Grant); err != nil || s.Rotations != 10 || s.Sequence != 11 || !s.Alive {
			t.Fatalf("the grant stands at %+v, %v", s, err)
		}
	}
	if v := p.Judge(); len(v) != 0 {
		t.Fatalf("the judge complains about a good client: %v", v)
	}
}

func TestOldRefreshTokenRevokesTheWholeGrant(t *testing.T) {
	for _, uses := range []int{1, 2, 5} {
		p := newProvider(t, strict.Options{})
		c, g, other := inProcess(t, p), newGrant(t, p, "demo-basic"), newGrant(t, p, "demo-basic")
		token, access := g.RefreshToken.Reveal(), ""
		for range uses {
			a := c.refresh("demo-basic", token)
			token, access = a.RefreshToken, a.AccessToken
		}
		wantStatus(t, c.refresh("demo-basic", g.RefreshToken.Reveal()), 400, "invalid_grant")
		if r := last(t, p); !r.Replay || r.AfterLoss || r.Outcome != strict.OutcomeReplay || r.Sequence != 1 || r.Grant != g.Grant {
			t.Fatalf("the record says %+v", r)
		}
		if c.me(access).Status != 401 || c.me(g.AccessToken.Reveal()).Status != 401 || p.TokenLive(secret(token)) || p.GrantAlive(g.Grant) {
			t.Fatal("something of the grant survived a replay")
		}
		wantStatus(t, c.refresh("demo-basic", token), 400, "invalid_grant")
		wantStatus(t, c.refresh("demo-basic", other.RefreshToken.Reveal()), 200, "")
	}
}

func TestTwoAtOnceOneWinsAndTheGrantDies(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c := inProcess(t, p)
	for range 50 {
		g := newGrant(t, p, "demo-basic")
		var wg sync.WaitGroup
		answers := make([]answer, 10)
		for i := range answers {
			wg.Go(func() {
				answers[i], _ = c.tryPost(context.Background(), "/token", "demo-basic", refreshForm(g.RefreshToken.Reveal()))
			})
		}
		wg.Wait()
		won := 0
		for _, a := range answers {
			if a.Status == 200 {
				won++
				if c.me(a.AccessToken).Status != 401 {
					t.Fatal("the winner's access token lives")
				}
				wantStatus(t, c.refresh("demo-basic", a.RefreshToken), 400, "invalid_grant")
			}
		}
		if won != 1 {
			t.Fatalf("%d of 10 simultaneous refreshes were granted, want 1", won)
		}
	}
}

func TestStaticRefreshTokenStaysGood(t *testing.T) {
	p := newProvider(t, strict.Options{Clients: []strict.Client{{ID: "s", Secret: secret("s-secret"), Rotation: strict.RotationStatic}}})
	c, g := inProcess(t, p), newGrant(t, p, "s")
	for range 3 {
		a := c.refresh("s", g.RefreshToken.Reveal())
		wantStatus(t, a, 200, "")
		if a.RefreshToken != g.RefreshToken.Reveal() {
			t.Fatal("a static refresh token changed")
		}
	}
	if r := p.Report(); r.Replays != 0 || r.Rotated != 0 {
		t.Fatalf("the report says %+v", r)
	}
}

func TestGraceForgivesTheLastTokenForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, strict.Options{Clients: []strict.Client{{ID: "g", Secret: secret("g-secret"), Rotation: strict.RotationGrace, Grace: 10 * time.Second}}})
		c, g := inProcess(t, p), newGrant(t, p, "g")
		first := c.refresh("g", g.RefreshToken.Reveal())
		time.Sleep(9 * time.Second)
		again := c.refresh("g", g.RefreshToken.Reveal())
		wantStatus(t, again, 200, "")
		if again.RefreshToken != first.RefreshToken || again.AccessToken == first.AccessToken {
			t.Fatal("within the grace the current refresh token and a new access token are due")
		}
		if r := last(t, p); r.Outcome != strict.OutcomeGrace || r.Replay {
			t.Fatalf("the record says %+v", r)
		}
		time.Sleep(2 * time.Second)
		wantStatus(t, c.refresh("g", g.RefreshToken.Reveal()), 400, "invalid_grant")
		if p.GrantAlive(g.Grant) {
			t.Fatal("a replay after the grace left the grant alive")
		}
	})
}

func TestGraceForgivesNoOlderToken(t *testing.T) {
	p := newProvider(t, strict.Options{Clients: []strict.Client{{ID: "g", Secret: secret("g-secret"), Rotation: strict.RotationGrace, Grace: time.Hour}}})
	c, g := inProcess(t, p), newGrant(t, p, "g")
	c.refresh("g", c.refresh("g", g.RefreshToken.Reveal()).RefreshToken)
	wantStatus(t, c.refresh("g", g.RefreshToken.Reveal()), 400, "invalid_grant")
	if p.GrantAlive(g.Grant) {
		t.Fatal("the grant survived a token two generations old")
	}
}

func TestTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, strict.Options{AccessTTL: 5 * time.Second, RefreshTTL: time.Minute})
		c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
		time.Sleep(4 * time.Second)
		if c.me(g.AccessToken.Reveal()).Status != 200 {
			t.Fatal("an access token died before its time")
		}
		time.Sleep(time.Second)
		if c.me(g.AccessToken.Reveal()).Status != 401 {
			t.Fatal("an access token outlived its time")
		}
		time.Sleep(54 * time.Second)
		a := c.refresh("demo-basic", g.RefreshToken.Reveal()) // one second before its end; the next lives a minute again
		wantStatus(t, a, 200, "")
		time.Sleep(time.Minute)
		wantStatus(t, c.refresh("demo-basic", a.RefreshToken), 400, "invalid_grant")
		if r := last(t, p); r.Outcome != strict.OutcomeExpired || r.Replay {
			t.Fatalf("the record says %+v", r)
		}
	})
}

func TestAnotherClientsTokenIsRefusedAndUnharmed(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	wantStatus(t, c.refresh("demo-post", g.RefreshToken.Reveal()), 400, "invalid_grant")
	if last(t, p).Outcome != strict.OutcomeWrongClient {
		t.Fatal("the record does not say wrong_client")
	}
	wantStatus(t, c.post("/revoke", "demo-post", url.Values{"token": {g.RefreshToken.Reveal()}}), 200, "")
	wantStatus(t, c.refresh("demo-basic", g.RefreshToken.Reveal()), 200, "")
	if v := p.Judge(); len(v) != 0 {
		t.Fatalf("what another client was told counts against the grant: %v", v)
	}
}

func TestScopesNarrowAndNeverWiden(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	form := refreshForm(g.RefreshToken.Reveal())
	form.Set("scope", "openid admin")
	wantStatus(t, c.post("/token", "demo-basic", form), 400, "invalid_scope")
	form.Set("scope", "openid")
	a := c.post("/token", "demo-basic", form)
	if a.Scope != "openid" {
		t.Fatalf("scope %q, want openid", a.Scope)
	}
	if b := c.refresh("demo-basic", a.RefreshToken); b.Scope != "openid profile" {
		t.Fatalf("narrowing once narrowed the grant: scope %q", b.Scope)
	}
}

func TestAccessTokensCanDieBeforeTheirTime(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	if err := p.ExpireAccess(g.Grant); err != nil {
		t.Fatal(err)
	}
	if c.me(g.AccessToken.Reveal()).Status != 401 {
		t.Fatal("the access token lives")
	}
	a := c.refresh("demo-basic", g.RefreshToken.Reveal())
	if c.me(a.AccessToken).Status != 200 {
		t.Fatal("the next access token is dead too")
	}
}

func TestOneAccessTokenDiesAtTheRefresh(t *testing.T) {
	p := newProvider(t, strict.Options{Clients: []strict.Client{{ID: "o", Secret: secret("o-secret"), OneAccessToken: true}}})
	c, g := inProcess(t, p), newGrant(t, p, "o")
	a := c.refresh("o", g.RefreshToken.Reveal())
	if c.me(g.AccessToken.Reveal()).Status != 401 || c.me(a.AccessToken).Status != 200 {
		t.Fatal("exactly the newest access token must live")
	}
}
