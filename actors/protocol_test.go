package actors_test

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage/storagetest"
)

func TestMain(m *testing.M) {
	if raceEnabled { // see there
		runtime.GOMAXPROCS(1)
	}
	goleak.VerifyTestMain(m)
}

func TestThousandCallersOfOneExpiredAccountCauseOneRequest(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		addFault(t, r, strict.Fault{Kind: strict.FaultLatency, Delay: time.Second})
		stale := r.get(ref).Generation
		var wg sync.WaitGroup
		var mu sync.Mutex
		generations := map[uint64]int{}
		for range 1000 {
			wg.Go(func() {
				a, err := r.system.Refresh(t.Context(), ref, &stale)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				generations[a.Generation]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if generations[stale+1] != 1000 {
			t.Errorf("callers got generations %v, want all of them %d", generations, stale+1)
		}
		if n := r.provider.Report().Refreshes; n != 1 {
			t.Errorf("the provider was asked %d times", n)
		}
		r.kept()
	})
}

func TestTokensAreRefreshedBeforeTheyExpireForever(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var refs []credential.Ref
		for _, id := range []string{"a", "b", "c", "d", "e", "f", "g"} {
			ref, _ := r.account(id)
			refs = append(refs, ref)
		}
		rounds := times(100)
		for range rounds {
			time.Sleep(17 * time.Minute)
			for _, ref := range refs {
				tok := r.token(ref)
				if !r.provider.TokenLive(tok.Secret) {
					t.Errorf("%s: handed out a token that is dead at the provider", ref)
				}
			}
		}
		// They live an hour, of which one to three minutes are not used.
		passed := time.Duration(rounds) * 17 * time.Minute
		least, most := uint64(passed/time.Hour), uint64(passed/(57*time.Minute))
		if n := r.provider.Report().Refreshes; n < least*7 || n > most*7 {
			t.Errorf("%d refreshes of 7 accounts in %v", n, passed)
		}
		r.kept()
	})
}

func TestCallersKeepTheOldTokenWhileTheProviderIsDown(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		fault := addFault(t, r, strict.Fault{Kind: strict.FaultStatus503})
		time.Sleep(59*time.Minute + 30*time.Second)
		if tok := r.token(ref); !r.provider.TokenLive(tok.Secret) || tok.Generation != 1 {
			t.Errorf("in the margin, with the provider down: generation %d", tok.Generation)
		}
		time.Sleep(time.Minute)
		_, err := r.system.Token(t.Context(), ref, 0)
		var u *credential.Unavailable
		if !errors.As(err, &u) || !errors.Is(err, credential.ErrProviderUnavailable) || u.RetryAfter <= 0 {
			t.Errorf("after expiry: %v, want provider unavailable with a time to try again", err)
		}
		if n := r.provider.Report().Refreshes; n < 3 || n > 30 {
			t.Errorf("%d requests in three minutes of outage", n)
		}
		if !r.provider.RemoveFault(fault) {
			t.Fatal("the fault is gone already")
		}
		time.Sleep(5 * time.Minute)
		if tok := r.token(ref); tok.Generation != 2 {
			t.Errorf("after the outage: generation %d", tok.Generation)
		}
		r.kept()
	})
}

func TestDeadGrantIsLeftAloneUntilItIsAuthorisedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, tok := r.account("crm")
		if err := r.provider.Revoke(tok.Grant); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(times(48)) * time.Hour)
		for range 100 {
			if _, err := r.system.Token(t.Context(), ref, 0); !errors.Is(err, credential.ErrNeedsReauth) {
				t.Fatalf("a dead grant's token: %v", err)
			}
			if _, err := r.system.Refresh(t.Context(), ref, nil); !errors.Is(err, credential.ErrNeedsReauth) {
				t.Fatalf("a dead grant's refresh: %v", err)
			}
		}
		if n := r.provider.Report().Refreshes; n != 1 {
			t.Errorf("%d requests, want the one that told", n)
		}
		r.kept()
		r.account("crm") // the same name, a new grant
		time.Sleep(2 * time.Hour)
		if tok := r.token(ref); !r.provider.TokenLive(tok.Secret) {
			t.Error("after it was authorised again, the token is dead")
		}
		want := []credential.What{credential.WhatCreated, credential.WhatNeedsReauth, credential.WhatReactivated, credential.WhatRefreshed}
		if got := r.whats(ref); !slices.Equal(got[:4], want) {
			t.Errorf("history %v, want it to begin with %v", got, want)
		}
	})
}

func TestMendedIntegrationGoesOnAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var refs []credential.Ref
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			ref, _ := r.account(id)
			refs = append(refs, ref)
		}
		fault := addFault(t, r, strict.Fault{Kind: strict.FaultInvalidClient})
		time.Sleep(2 * time.Hour)
		_, err := r.system.Token(t.Context(), refs[0], 0)
		if !errors.Is(err, credential.ErrMisconfigured) {
			t.Errorf("a caller is told %v", err)
		}
		if n := r.provider.Report().Refreshes; n < 30 || n > 130 {
			t.Errorf("%d requests in an hour of misconfiguration, want about one a minute", n)
		}
		if !r.provider.RemoveFault(fault) {
			t.Fatal("the fault is gone already")
		}
		r.ints.mend()
		r.system.Resume("demo")
		time.Sleep(5 * time.Second)
		for _, ref := range refs {
			if tok := r.token(ref); !r.provider.TokenLive(tok.Secret) {
				t.Errorf("%s: five seconds after it was mended the token is dead", ref)
			}
		}
		r.kept()
	})
}

func TestAnswerIsSalvagedAfterACrash(t *testing.T) {
	crashAt(t, actors.PointSettling, func(t *testing.T, r *rig, ref credential.Ref) {
		time.Sleep(time.Second)
		a := r.get(ref)
		if a.State != credential.StateActive || a.Generation != 2 || a.Claim != nil {
			t.Errorf("after the restart: %s, generation %d, claim %+v", a.State, a.Generation, a.Claim)
		}
		if !slices.Contains(r.whats(ref), credential.WhatSalvaged) {
			t.Errorf("history %v does not tell of the salvage", r.whats(ref))
		}
		if tok := r.token(ref); !r.provider.TokenLive(tok.Secret) {
			t.Error("the salvaged token is dead")
		}
		r.kept()
	})
}

func TestClaimWithoutRequestIsTriedAgainAfterItsEnd(t *testing.T) {
	crashAt(t, actors.PointSending, func(t *testing.T, r *rig, ref credential.Ref) {
		restarted := time.Now()
		if _, err := r.system.Refresh(t.Context(), ref, nil); !errors.Is(err, credential.ErrProviderUnavailable) {
			t.Errorf("a refresh beside an uncertain claim: %v", err)
		}
		if n := r.provider.Report().Refreshes; n != 0 {
			t.Fatalf("%d requests while the claim is open", n)
		}
		time.Sleep(time.Hour)
		a := r.get(ref)
		if a.State != credential.StateActive || a.Generation != 2 {
			t.Errorf("an hour after the restart: %+v", a)
		}
		if waited := a.LastRefreshAt.Sub(restarted); waited < 15*time.Second {
			t.Errorf("tried again %v after the restart, within the claim's lifetime", waited)
		}
		r.kept()
	})
}

func TestLostAnswerEndsInNeedsReauthAndIsNamed(t *testing.T) {
	crashAt(t, actors.PointAnswered, func(t *testing.T, r *rig, ref credential.Ref) {
		time.Sleep(2 * time.Hour)
		a := r.get(ref)
		if a.State != credential.StateNeedsReauth || a.Reason != credential.ReasonOutcomeLost {
			t.Errorf("after the answer was lost: %+v", a)
		}
		if n := r.provider.Report(); n.Refreshes != 2 || n.AfterTerminal != 0 {
			t.Errorf("%d requests, %d of them after the end; want the lost one and one more", n.Refreshes, n.AfterTerminal)
		}
		for _, what := range []credential.What{credential.WhatInterrupted, credential.WhatRetriedUncertain, credential.WhatOutcomeLost, credential.WhatNeedsReauth} {
			if !slices.Contains(r.whats(ref), what) {
				t.Errorf("history %v lacks %s", r.whats(ref), what)
			}
		}
	})
}

// crashAt crashes the node at a point of the first refresh, starts it again on
// what the disk holds, and lets check look.
func crashAt(t *testing.T, at actors.Point, check func(*testing.T, *rig, credential.Ref)) {
	t.Helper()
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		r.stop()
		var crashed *storagetest.Disk
		reached := make(chan struct{})
		release := make(chan struct{})
		var once sync.Once
		r.hook = func(p actors.Point) {
			if p == at {
				once.Do(func() {
					time.Sleep(time.Second)        // what was begun before goes on
					crashed = r.disk.Crash(100, 1) // a killed process: the page cache survives
					close(reached)
				})
				<-release // nothing that this incarnation does after the crash happens
			}
		}
		r.start()
		go func() { _, _ = r.system.Refresh(t.Context(), ref, nil) }()
		<-reached
		r.cut.Store(true)
		close(release)
		r.stop()
		r.disk, r.hook = crashed, nil
		r.start()
		check(t, r, ref)
	})
}

func addFault(t *testing.T, r *rig, f strict.Fault) string {
	t.Helper()
	id, err := r.provider.AddFault(f)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
