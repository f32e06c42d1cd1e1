package strict_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/bench/strict"
)

func rules(p *strict.Provider) (out []string) {
	for _, v := range p.Judge() {
		out = append(out, v.Rule+" "+v.Grant)
	}
	return out
}

func wantRules(t *testing.T, p *strict.Provider, want ...string) {
	t.Helper()
	got := rules(p)
	if len(got) != len(want) {
		t.Fatalf("the judge says %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("the judge says %v, want %v", got, want)
		}
	}
}

func TestJudgeSeesTwoRefreshesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, strict.Options{})
		c, g, other := inProcess(t, p), newGrant(t, p, "demo-basic"), newGrant(t, p, "demo-basic")
		if err := p.SetFaults(strict.Fault{Kind: strict.FaultLatency, Delay: time.Second}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { c.refresh("demo-basic", g.RefreshToken.Reveal()) })
		}
		wg.Go(func() { c.refresh("demo-basic", other.RefreshToken.Reveal()) })
		wg.Wait()
		wantRules(t, p, "I1 "+g.Grant, "I3 "+g.Grant)
		if s, _ := p.Grant(g.Grant); s.MaxInFlight != 3 || s.InFlight != 0 || s.Requests != 3 {
			t.Fatalf("the grant stands at %+v", s)
		}
		if r := p.Report(); r.Overlapping != 2 || r.Replays != 2 || r.Refreshes != 4 {
			t.Fatalf("the report says %+v", r)
		}
	})
}

func TestJudgeTellsReplaysFromLostAnswers(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c := inProcess(t, p)
	lost, careless := newGrant(t, p, "demo-basic"), newGrant(t, p, "demo-basic")
	if err := p.SetFaults(strict.Fault{Kind: strict.FaultDropAnswer, Grant: lost.Grant, Count: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.tryPost(context.Background(), "/token", "demo-basic", refreshForm(lost.RefreshToken.Reveal())); err == nil {
		t.Fatal("the answer was not dropped")
	}
	if s, _ := p.Grant(lost.Grant); !s.AnswerLost {
		t.Fatalf("the grant does not say that its answer was lost: %+v", s)
	}
	wantStatus(t, c.refresh("demo-basic", lost.RefreshToken.Reveal()), 400, "invalid_grant")
	c.refresh("demo-basic", careless.RefreshToken.Reveal())
	c.refresh("demo-basic", careless.RefreshToken.Reveal())
	wantRules(t, p, "I3 "+careless.Grant)
	if r := p.Report(); r.Replays != 2 || r.ReplaysAfterLoss != 1 || r.Lost != 1 {
		t.Fatalf("the report says %+v", r)
	}
}

func TestJudgeSeesRequestsAfterTheEnd(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	if err := p.Revoke(g.Grant); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c.refresh("demo-basic", g.RefreshToken.Reveal()), 400, "invalid_grant")
	wantRules(t, p) // it could not know before
	wantStatus(t, c.refresh("demo-basic", g.RefreshToken.Reveal()), 400, "invalid_grant")
	wantRules(t, p, "I4 "+g.Grant)
	if r := last(t, p); !r.AfterTerminal || r.Replay {
		t.Fatalf("the record says %+v", r)
	}
}

func TestClientThatGivesUpIsNoLongerInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, strict.Options{})
		c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
		if err := p.SetFaults(strict.Fault{Kind: strict.FaultLatency, Delay: time.Minute, Count: 1}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := c.tryPost(ctx, "/token", "demo-basic", refreshForm(g.RefreshToken.Reveal())); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		synctest.Wait()
		wantStatus(t, c.refresh("demo-basic", g.RefreshToken.Reveal()), 200, "")
		if r := last(t, p); r.InFlight != 1 {
			t.Fatalf("%d were in flight after the first was given up, want 1", r.InFlight)
		}
		time.Sleep(time.Minute) // the server comes to the first request only now, and kills the grant
		synctest.Wait()
		r := p.Record()[0]
		if !r.Replay || !r.Lost || !r.AfterLoss || p.GrantAlive(g.Grant) {
			t.Fatalf("the late request is recorded as %+v", r)
		}
		wantRules(t, p) // the client could not know
	})
}

func TestAnswerAndTimeoutAtTheSameInstantAgreeWithTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, strict.Options{})
		c := inProcess(t, p)
		if err := p.SetFaults(strict.Fault{Kind: strict.FaultSlowAnswer, Delay: time.Second}); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			g := newGrant(t, p, "demo-basic")
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := c.tryPost(ctx, "/token", "demo-basic", refreshForm(g.RefreshToken.Reveal()))
			cancel()
			synctest.Wait()
			if s, _ := p.Grant(g.Grant); s.AnswerLost != (err != nil) || s.InFlight != 0 {
				t.Fatalf("the client got %v, the provider says %+v", err, s)
			}
		}
	})
}

func TestCloseEndsDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, strict.Options{})
		c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
		if err := p.SetFaults(strict.Fault{Kind: strict.FaultLatency, Delay: time.Hour}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		done := make(chan error)
		go func() {
			_, err := c.tryPost(context.Background(), "/token", "demo-basic", refreshForm(g.RefreshToken.Reveal()))
			done <- err
		}()
		synctest.Wait()
		p.Close()
		if err := <-done; err == nil || time.Since(start) != 0 {
			t.Fatalf("ended with %v after %v", err, time.Since(start))
		}
		if r := last(t, p); r.Outcome != strict.OutcomeStopped || r.Rotated {
			t.Fatalf("the record says %+v", r)
		}
	})
}

func TestHooksSeeRequestsBeforeAndAfterTheDecision(t *testing.T) {
	var p *strict.Provider
	var g strict.Tokens
	var sequences []uint64
	look := func(r strict.Request) {
		s, _ := p.Grant(g.Grant)
		sequences = append(sequences, s.Sequence)
	}
	p = newProvider(t, strict.Options{Received: look, Processed: look})
	g = newGrant(t, p, "demo-basic")
	inProcess(t, p).refresh("demo-basic", g.RefreshToken.Reveal())
	if len(sequences) != 2 || sequences[0] != 1 || sequences[1] != 2 {
		t.Fatalf("the hooks saw the grant at %v, want [1 2]", sequences)
	}
}

func TestRecordForgetsTheOldestAndCountsOn(t *testing.T) {
	p := newProvider(t, strict.Options{RecordCapacity: 10})
	c := inProcess(t, p)
	for range 25 {
		c.refresh("demo-basic", "x")
	}
	rec := p.Record()
	if len(rec) != 10 || rec[0].Number != 16 || rec[9].Number != 25 {
		t.Fatalf("kept %d, from %d to %d", len(rec), rec[0].Number, rec[len(rec)-1].Number)
	}
	for _, r := range rec {
		if r.Outcome != strict.OutcomeUnknown || r.Answered.IsZero() {
			t.Fatalf("an entry was not brought up to date: %+v", r)
		}
	}
	if r := p.Report(); r.Requests != 25 || r.Refused != 25 || r.Recorded != 10 || r.Forgotten != 15 {
		t.Fatalf("the report says %+v", r)
	}
}

func TestResetForgetsEverything(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	if err := p.PutClient(strict.Client{ID: "extra", Secret: secret("extra-secret")}); err != nil {
		t.Fatal(err)
	}
	if err := p.SetFaults(strict.Fault{Kind: strict.FaultStatus500, Client: "nobody"}); err != nil {
		t.Fatal(err)
	}
	c.refresh("demo-basic", g.RefreshToken.Reveal())
	p.Reset()
	if r := p.Report(); r != (strict.Report{}) || len(p.Record()) != 0 || len(p.Faults()) != 0 {
		t.Fatalf("something is left: %+v", r)
	}
	fresh := newGrant(t, p, "demo-basic")
	wantStatus(t, c.refresh("demo-basic", g.RefreshToken.Reveal()), 400, "invalid_grant")
	wantStatus(t, c.refresh("extra", "x"), 401, "invalid_client")
	if !p.GrantAlive(fresh.Grant) || p.TokenLive(g.AccessToken) {
		t.Fatal("a token of before the reset reaches a grant of after it")
	}
}

func TestRecordHoldsNoTokenInClear(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	token := g.RefreshToken.Reveal()
	c.refresh("demo-basic", token)
	if r := last(t, p); r.TokenHash != strict.TokenHash(token) || len(r.TokenHash) != 16 {
		t.Fatalf("the record's hash is %q", r.TokenHash)
	}
	if id, seq, ok := p.GrantOf(g.RefreshToken); !ok || id != g.Grant || seq != 1 {
		t.Fatalf("GrantOf says %s, %d, %v", id, seq, ok)
	}
}

func TestJudgeHoldsTheClientToALie(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	if err := p.SetFaults(strict.Fault{Kind: strict.FaultError200, Count: 1}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c.refresh("demo-basic", g.RefreshToken.Reveal()), 200, "invalid_grant")
	wantStatus(t, c.refresh("demo-basic", g.RefreshToken.Reveal()), 200, "")
	wantRules(t, p, "I4 "+g.Grant) // it was told that the grant is dead, true or not
}
