package actors_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

func brings(generation uint64) func(credential.Change) bool {
	return func(c credential.Change) bool { return c.After.Generation == generation }
}

// during has fn run right before the commits that fit.
func (r *rig) during(fits func(credential.Change) bool, fn func(credential.Change)) {
	r.faults.set(func(f *faults) {
		f.commit = func(c credential.Change, do func() (uint64, error)) (uint64, error) {
			if fits(c) {
				fn(c)
			}
			return do()
		}
	})
}

func (r *rig) journalled() (n int) {
	r.t.Helper()
	if err := r.db.Journal().Each(func(string, []byte) (bool, error) { n++; return true, nil }); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// I1: one at a time.

func TestNothingIsSentWithoutACommittedClaim(t *testing.T) {
	for _, err := range []error{credential.ErrNoQuorum, credential.ErrNotOwner, credential.ErrUnknownOutcome} {
		bubble(t, func(t *testing.T, r *rig) {
			ref, _ := r.account("crm")
			failOnce(&r.faults, isClaim, err)
			if _, got := r.system.Refresh(t.Context(), ref, nil); !errors.Is(got, err) {
				t.Errorf("the claim failed with %v, the caller was told %v", err, got)
			}
			time.Sleep(time.Minute)
			if n := r.provider.Report().Refreshes; n != 0 {
				t.Errorf("%v: %d requests without a claim", err, n)
			}
			r.faults.set(func(f *faults) {
				f.call = func(context.Context) *credential.Failure {
					if a := r.get(ref); a.Claim == nil || a.Claim.Generation != 1 || a.Claim.Boot != "boot1" {
						t.Errorf("a request under claim %+v", a.Claim)
					}
					return nil
				}
			})
			if _, err := r.system.Refresh(t.Context(), ref, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRequestEndsBeforeItsClaim(t *testing.T) {
	for name, slow := range map[string]time.Duration{"a quick claim": 0, "a slow claim": 4 * time.Second} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.stop()
				r.policy.ClaimLifetime = 12 * time.Second
				r.start()
				ref, _ := r.account("crm")
				r.during(isClaim, func(credential.Change) { time.Sleep(slow) })
				r.faults.set(func(f *faults) {
					f.call = func(ctx context.Context) *credential.Failure {
						claim := r.get(ref).Claim
						ends, ok := ctx.Deadline()
						if !ok || ends.After(claim.At.Add(claim.Lifetime)) || time.Until(ends) > 10*time.Second {
							t.Errorf("the claim of %v ends at %v, its request at %v (%v)", claim.At, claim.At.Add(claim.Lifetime), ends, ok)
						}
						return nil
					}
				})
				if _, err := r.system.Refresh(t.Context(), ref, nil); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestInterruptedRefreshIsFoundThoughNobodyAsks(t *testing.T) {
	crashAt(t, actors.PointSending, func(t *testing.T, r *rig, ref credential.Ref) {
		time.Sleep(30 * time.Second)
		if !slices.Contains(r.whats(ref), credential.WhatInterrupted) {
			t.Errorf("half a minute after the restart the history is %v", r.whats(ref))
		}
	})
}

func TestCallersAndScheduleShareOneRequest(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		begun, release := r.holdCalls()
		first := r.async(ref, nil)
		<-begun
		time.Sleep(2 * time.Second)
		more := []<-chan error{r.async(ref, nil), r.async(ref, nil)}
		r.system.Resume("demo") // the schedule is walked again
		time.Sleep(2 * time.Second)
		if len(begun) != 0 {
			t.Error("a second request beside the first")
		}
		release <- nil
		for _, done := range append(more, first) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := r.provider.Report().Refreshes; n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestClaimThatWasNeverActedOnIsNotInTheWay(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		unknown := true
		r.faults.set(func(f *faults) {
			f.commit = func(c credential.Change, do func() (uint64, error)) (uint64, error) {
				rev, err := do()
				if unknown && isClaim(c) { // it was written, and nobody knows
					unknown = false
					return 0, credential.ErrUnknownOutcome
				}
				return rev, err
			}
		})
		if _, err := r.system.Refresh(t.Context(), ref, nil); !errors.Is(err, credential.ErrUnknownOutcome) {
			t.Fatal(err)
		}
		if _, err := r.system.Refresh(t.Context(), ref, nil); err != nil {
			t.Errorf("the next refresh: %v", err)
		}
		if slices.Contains(r.whats(ref), credential.WhatInterrupted) {
			t.Errorf("history %v tells of a request that was never sent", r.whats(ref))
		}
	})
}

// I2: durable first.

func TestNobodySeesATokenBeforeItIsDurable(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		r.token(ref)
		time.Sleep(time.Second) // its snapshot is published
		var answered atomic.Bool
		r.during(brings(2), func(credential.Change) {
			time.Sleep(2 * time.Second)
			if answered.Load() {
				t.Error("who waited was answered before the commit")
			}
			if tok := r.token(ref); tok.Generation != 1 {
				t.Errorf("generation %d was handed out before the commit", tok.Generation)
			}
		})
		_, err := r.system.Refresh(t.Context(), ref, nil)
		answered.Store(true)
		if err != nil {
			t.Error(err)
		}
		if tok := r.token(ref); tok.Generation != 2 {
			t.Errorf("generation %d after the commit", tok.Generation)
		}
	})
}

// I3: never replayed.

func TestAnswerIsInTheJournalBeforeItsOutcomeIsProposed(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		looked := 0
		r.faults.set(func(f *faults) { f.begin = func() { time.Sleep(time.Second) } })
		r.during(brings(2), func(c credential.Change) {
			looked++
			if _, err := r.db.Journal().Get(c.Before.Claim.Attempt); err != nil {
				t.Errorf("the answer is proposed and not in the journal: %v", err)
			}
		})
		if _, err := r.system.Refresh(t.Context(), ref, nil); err != nil || looked != 1 {
			t.Errorf("looked %d times, %v", looked, err)
		}
		time.Sleep(time.Second)
		if n := r.journalled(); n != 0 {
			t.Errorf("%d answers stay in the journal after they were committed", n)
		}
	})
}

func TestAnswerIsSafeBeforeItsLifetimeIsAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		addFault(t, r, strict.Fault{Kind: strict.FaultNoExpiresIn})
		asked := 0
		r.faults.set(func(f *faults) {
			f.ask = func() {
				asked++
				if _, err := r.db.Journal().Get(r.get(ref).Claim.Attempt); errors.Is(err, storage.ErrNotFound) {
					t.Error("the provider is asked once more while the answer is nowhere but in memory")
				}
			}
		})
		if _, err := r.system.Refresh(t.Context(), ref, nil); err != nil || asked != 1 {
			t.Errorf("asked %d times, %v", asked, err)
		}
	})
}

// I4: dead means dead.

func TestNothingIsSentForADisconnectedAccount(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.ints.in.Concurrency = 1
		ref, _ := r.account("crm")
		other, _ := r.account("other")
		begun, release := r.holdCalls()
		first := r.async(other, nil)
		<-begun
		queued := r.async(ref, nil)
		time.Sleep(time.Second)
		if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if err := <-queued; !errors.Is(err, credential.ErrDisconnected) {
			t.Errorf("who waited was told %v", err)
		}
		close(release)
		if err := <-first; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if _, err := r.system.Refresh(t.Context(), ref, nil); !errors.Is(err, credential.ErrDisconnected) {
			t.Errorf("a refresh: %v", err)
		}
		if _, err := r.system.Token(t.Context(), ref, 0); !errors.Is(err, credential.ErrDisconnected) {
			t.Errorf("a token: %v", err)
		}
		if len(begun) != 0 || r.get(ref).Claim != nil {
			t.Errorf("%d requests, claim %+v", len(begun), r.get(ref).Claim)
		}
	})
}

func TestTokenOfADeadGrantIsNotHandedOutThoughItHasTimeLeft(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, tok := r.account("crm")
		if err := r.provider.Revoke(tok.Grant); err != nil {
			t.Fatal(err)
		}
		if _, err := r.system.Refresh(t.Context(), ref, nil); !errors.Is(err, credential.ErrNeedsReauth) {
			t.Errorf("the refresh: %v", err)
		}
		if _, err := r.system.Token(t.Context(), ref, 0); !errors.Is(err, credential.ErrNeedsReauth) {
			t.Errorf("the token: %v", err)
		}
	})
}

func TestCallersKeepToTheBackOff(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		var asked atomic.Int64
		r.faults.set(func(f *faults) {
			f.call = func(context.Context) *credential.Failure {
				asked.Add(1)
				return &credential.Failure{Class: credential.Transient, Code: "server_error", Sent: true}
			}
		})
		for failures := int64(1); failures <= 5; failures++ { // the first by a caller, then by the schedule
			var u *credential.Unavailable
			for range 20 {
				if _, err := r.system.Refresh(t.Context(), ref, nil); !errors.As(err, &u) || u.RetryAfter <= 0 {
					t.Fatalf("a refresh that fails: %v", err)
				}
			}
			time.Sleep(u.RetryAfter - time.Millisecond)
			if n := asked.Load(); n != failures {
				t.Fatalf("%d requests, want %d: none within the back-off", n, failures)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// I5: told exactly.

func TestEveryChangeOfStateIsWrittenWithItsEventAndItsLine(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var told []credential.EventType
		r.faults.set(func(f *faults) {
			f.commit = func(c credential.Change, do func() (uint64, error)) (uint64, error) {
				changed := c.Before == nil || c.Before.State != c.After.State
				if changed != (len(c.Events) == 1) || changed && len(c.Lines) == 0 {
					t.Errorf("change to %s with events %+v and lines %+v", c.After.State, c.Events, c.Lines)
				}
				for _, e := range c.Events {
					if e.ID == "" || e.Ref != c.Ref || e.Generation != c.After.Generation || e.Reason != c.After.Reason || e.At.IsZero() {
						t.Errorf("event %+v of %+v", e, c.After)
					}
					mu.Lock()
					told = append(told, e.Type)
					mu.Unlock()
				}
				if c.Before != nil && c.Before.Generation != c.After.Generation && len(c.Lines) == 0 {
					t.Errorf("generation %d came without a line", c.After.Generation)
				}
				return do()
			}
		})
		ref, tok := r.account("crm")
		if err := r.provider.Revoke(tok.Grant); err != nil {
			t.Fatal(err)
		}
		_, _ = r.system.Refresh(t.Context(), ref, nil) // the grant is dead
		r.account("crm")
		if _, err := r.system.Refresh(t.Context(), ref, nil); err != nil {
			t.Error(err)
		}
		if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
			t.Error(err)
		}
		if _, _, err := r.system.Import(t.Context(), credential.Import{
			Ref: ref, Integration: "demo", Kind: credential.KindOAuth2, Secret: credential.NewSecret("x"), ExpiresAt: time.Now().Add(time.Minute),
		}); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute) // there is no refresh token
		want := []credential.EventType{
			credential.EventCreated, credential.EventAuthError, credential.EventReactivated,
			credential.EventDisconnected, credential.EventReactivated, credential.EventAuthError,
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(told, want) {
			t.Errorf("told of %v, want %v", told, want)
		}
	})
}

func TestDisconnectRevokesWhatThereIsAndWhatComesLate(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, tok := r.account("crm")
		if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if r.provider.GrantAlive(tok.Grant) || r.provider.Report().Revocations != 1 {
			t.Errorf("%d revocations, and the grant lives: %v", r.provider.Report().Revocations, r.provider.GrantAlive(tok.Grant))
		}
		ref, _ = r.account("crm")
		addFault(t, r, strict.Fault{Kind: strict.FaultSlowAnswer, Delay: 5 * time.Second, Count: 1})
		refreshed := r.async(ref, nil)
		time.Sleep(time.Second)
		if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if err := <-refreshed; !errors.Is(err, credential.ErrDisconnected) {
			t.Errorf("who waited was told %v", err)
		}
		time.Sleep(10 * time.Second)
		if n := r.provider.Report().Revocations; n != 3 {
			t.Errorf("%d revocations, want one more for the tokens that came late", n)
		}
		if a := r.get(ref); a.State != credential.StateDisconnected || len(a.AccessToken)+len(a.RefreshToken) > 0 || r.journalled() != 0 {
			t.Errorf("left over: %+v, %d in the journal", a, r.journalled())
		}
	})
}
