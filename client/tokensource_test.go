package client_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func get(t *testing.T, s *client.TokenSource) wire.Token {
	t.Helper()
	tok, err := s.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// pass lets virtual time go by; it is called in bubbles only.
func pass(d time.Duration) { <-time.After(d) }

func TestConcurrentLookupsAreOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeAPI{lifetime: time.Hour, delay: time.Second}
		s := newClient(t, f).TokenSource(account, client.SourceOptions{})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if tok := get(t, s); tok.AccessToken != tokenOf(0) {
					t.Errorf("got %q", tok.AccessToken.Reveal())
				}
			})
		}
		wg.Wait()
		if n := f.count("GET"); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestTokenInHandIsUsedUntilItMayEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeAPI{lifetime: 10 * time.Minute}
		s := newClient(t, f).TokenSource(account, client.SourceOptions{MaxAge: time.Hour})
		get(t, s)
		pass(8 * time.Minute) // 9m30s less a tenth is the earliest
		get(t, s)
		if n := f.count("GET"); n != 1 {
			t.Errorf("%d requests for a token that serves", n)
		}
		pass(91 * time.Second)
		get(t, s)
		if n := f.count("GET"); n != 2 {
			t.Errorf("%d requests after less than MinTTL was left", n)
		}
	})
}

func TestMaxAgeBoundsATokenThatNeverExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeAPI{}
		s := newClient(t, f).TokenSource(account, client.SourceOptions{})
		get(t, s)
		pass(client.DefaultMaxAge)
		get(t, s)
		if n := f.count("GET"); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestLastGoodTokenServesWhileGrantdIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeAPI{lifetime: 10 * time.Minute}
		s := newClient(t, f).TokenSource(account, client.SourceOptions{})
		get(t, s)
		pass(client.DefaultMaxAge)
		f.set(func() { f.down = true })
		for range 50 {
			if tok := get(t, s); tok.AccessToken != tokenOf(0) {
				t.Fatalf("got %q", tok.AccessToken.Reveal())
			}
		}
		if n := f.count("GET"); n != 2 {
			t.Errorf("%d requests to what is away, within a moment", n-1)
		}
		pass(5 * time.Minute) // the token has expired
		if _, err := s.Get(t.Context()); err == nil {
			t.Error("an expired token was handed out")
		}
		f.set(func() { f.down = false })
		get(t, s)
	})
}

func TestFinalErrorsEndTheTokenInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeAPI{lifetime: 24 * time.Hour}
		s := newClient(t, f).TokenSource(account, client.SourceOptions{})
		get(t, s)
		f.set(func() { f.problem = &wire.Problem{Status: 409, Code: wire.CodeNeedsReauth, Reason: "invalid_grant"} })
		pass(client.DefaultMaxAge)
		if _, err := s.Get(t.Context()); client.CodeOf(err) != wire.CodeNeedsReauth {
			t.Errorf("%v", err)
		}
		f.set(func() { f.down = true }) // the token does not come back either
		if tok, err := s.Get(t.Context()); err == nil {
			t.Errorf("got %q of a dead grant", tok.AccessToken.Reveal())
		}
	})
}

func TestAWaiterTakesOverFromACallerThatGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeAPI{lifetime: time.Hour, delay: 10 * time.Second}
		s := newClient(t, f).TokenSource(account, client.SourceOptions{})
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := s.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the impatient caller got %v", err)
			}
		})
		synctest.Wait()
		start := time.Now()
		wg.Go(func() {
			get(t, s)
			if took := time.Since(start); took != 11*time.Second {
				t.Errorf("the patient caller waited %s", took)
			}
		})
		wg.Wait()
		if n := f.count("GET"); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestARefusedGenerationIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeAPI{lifetime: time.Hour, delay: time.Second}
		s := newClient(t, f).TokenSource(account, client.SourceOptions{})
		refused := get(t, s)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := s.Refused(t.Context(), refused.Generation); err != nil {
					t.Error(err)
				}
				if tok := get(t, s); tok.Generation != 1 {
					t.Errorf("generation %d", tok.Generation)
				}
			})
		}
		wg.Wait()
		if posts, gets := f.count("POST"), f.count("GET"); posts != 1 || gets != 2 {
			t.Errorf("%d reports, %d lookups", posts, gets)
		}
		if err := s.Refused(t.Context(), 0); err != nil || f.count("POST") != 1 {
			t.Errorf("an old generation was reported again: %v", err)
		}
	})
}

// TestALookupThatWasOvertakenByAReportIsNotRemembered has a slow lookup that
// brings the old token after its generation was refused and replaced.
func TestALookupThatWasOvertakenByAReportIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeAPI{lifetime: time.Hour}
		slow := make(chan struct{})
		held := newClient(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			res, err := f.RoundTrip(r) // answered now, delivered later
			if r.Method == "GET" && f.count("GET") == 1 {
				<-slow
			}
			return res, err
		}))
		s := held.TokenSource(account, client.SourceOptions{})
		var wg sync.WaitGroup
		wg.Go(func() { get(t, s) })
		synctest.Wait()
		if err := s.Refused(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		close(slow)
		wg.Wait()
		if tok := get(t, s); tok.Generation != 1 {
			t.Errorf("the refused generation %d was remembered", tok.Generation)
		}
	})
}

func TestAReportThatFailedIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeAPI{lifetime: time.Hour}
		s := newClient(t, f).TokenSource(account, client.SourceOptions{})
		refused := get(t, s)
		f.set(func() { f.down = true })
		if err := s.Refused(t.Context(), refused.Generation); err == nil {
			t.Error("no error")
		}
		f.set(func() { f.down = false })
		if err := s.Refused(t.Context(), refused.Generation); err != nil {
			t.Error(err)
		}
		if tok := get(t, s); tok.Generation != 1 {
			t.Errorf("generation %d", tok.Generation)
		}
	})
}

func TestOAuth2Token(t *testing.T) {
	f := &fakeAPI{lifetime: time.Hour}
	tok, err := newClient(t, f).TokenSource(account, client.SourceOptions{}).Token()
	if err != nil || tok.AccessToken != tokenOf(0).Reveal() || tok.Type() != "Bearer" || !tok.Valid() || time.Until(tok.Expiry) < 59*time.Minute {
		t.Errorf("%v", err)
	}
}
