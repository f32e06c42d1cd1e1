package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
)

// isClaim tells the commit that begins a refresh.
func isClaim(c credential.Change) bool {
	return c.After.Claim != nil && (c.Before == nil || c.Before.Claim == nil || c.Before.Claim.Attempt != c.After.Claim.Attempt)
}

// failOnce fails the first commit that fits, without doing it.
func failOnce(f *faults, fits func(credential.Change) bool, err error) {
	var once sync.Once
	f.set(func(f *faults) {
		f.commit = func(c credential.Change, do func() (uint64, error)) (rev uint64, failed error) {
			if fits(c) {
				once.Do(func() { failed = err })
			}
			if failed != nil {
				return 0, failed
			}
			return do()
		}
	})
}

// handOver has the shard of an account lost and won again.
func (r *rig) handOver(ref credential.Ref) {
	shard := int(ring.ShardOf(ref, shards))
	r.system.Yield(shard)
	r.system.Lead(shard, 2)
}

// holdCalls has requests to the provider wait for release, which tells them
// what to fail with (nil: they go on). begun gets a value for each.
func (r *rig) holdCalls() (begun chan struct{}, release chan *credential.Failure) {
	begun, release = make(chan struct{}, 100), make(chan *credential.Failure)
	r.faults.set(func(f *faults) {
		f.call = func(context.Context) *credential.Failure { begun <- struct{}{}; return <-release }
	})
	return begun, release
}

func (r *rig) freeCalls() { r.faults.set(func(f *faults) { f.call = nil }) }

// async refreshes and gives the outcome.
func (r *rig) async(ref credential.Ref, stale *uint64) <-chan error {
	out := make(chan error, 1)
	go func() {
		_, err := r.system.Refresh(r.t.Context(), ref, stale)
		out <- err
	}()
	return out
}

func TestSpentTokenIsNotReplayedWhenItCouldNotBeMarked(t *testing.T) {
	crashAt(t, "answered", func(t *testing.T, r *rig, ref credential.Ref) {
		r.faults.set(func(f *faults) {
			f.commit = func(credential.Change, func() (uint64, error)) (uint64, error) { return 0, credential.ErrNoQuorum }
		})
		if _, err := r.system.Refresh(t.Context(), ref, nil); err == nil {
			t.Error("refreshed without a quorum")
		}
		time.Sleep(5 * time.Second)
		r.faults.set(func(f *faults) { f.commit = nil })
		time.Sleep(5 * time.Minute)
		if n := r.provider.Report().Refreshes; n != 1 {
			t.Fatalf("%d requests while the access token serves; the token may be spent", n)
		}
		time.Sleep(time.Hour)
		if a := r.get(ref); a.State != credential.StateNeedsReauth || a.Reason != credential.ReasonOutcomeLost {
			t.Errorf("%s for %q, want the lost outcome named", a.State, a.Reason)
		}
		if !slices.Contains(r.whats(ref), credential.WhatInterrupted) {
			t.Errorf("history %v does not tell of the interruption", r.whats(ref))
		}
	})
}

func TestAnswerThatIsLostAtAHandOverLeavesTheTokenUncertain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		begun, release := r.holdCalls()
		done := r.async(ref, nil)
		<-begun
		shard := int(ring.ShardOf(ref, shards))
		r.system.Yield(shard)
		if err := <-done; !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("who waited was told %v", err)
		}
		release <- &credential.Failure{Class: credential.Ambiguous, Code: "timeout", Sent: true}
		time.Sleep(time.Second)
		r.freeCalls()
		r.system.Lead(shard, 2)
		if _, err := r.system.Refresh(t.Context(), ref, nil); !errors.Is(err, credential.ErrProviderUnavailable) {
			t.Errorf("a refresh of a token that may be spent: %v", err)
		}
		if a := r.get(ref); a.Claim == nil || !a.Claim.Uncertain {
			t.Errorf("claim %+v, want an uncertain one", a.Claim)
		}
	})
}

func TestRefusedAnswerOfAnOldTermIsNoReasonToWait(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		begun, release := r.holdCalls()
		r.async(ref, nil)
		<-begun
		r.handOver(ref)
		release <- nil // the provider rotates; the answer goes to the new actor
		r.freeCalls()
		time.Sleep(time.Second)
		if a := r.get(ref); a.Generation != 2 || a.Claim != nil {
			t.Errorf("generation %d, claim %+v", a.Generation, a.Claim)
		}
		time.Sleep(time.Hour)
		if n := r.get(ref).Generation; n < 3 {
			t.Errorf("generation %d an hour later", n)
		}
		r.kept()
	})
}

func TestTokenOfADisconnectedAccountIsGoneThoughTheWriteLookedUncertain(t *testing.T) {
	for name, late := range map[string]time.Duration{"written": 0, "written later": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				ref, _ := r.account("crm")
				r.token(ref)
				r.faults.set(func(f *faults) {
					f.commit = func(c credential.Change, do func() (uint64, error)) (uint64, error) {
						if late == 0 {
							_, _ = do()
						} else {
							before := *c.Before // it is the actor's own
							c.Before = &before
							time.AfterFunc(late, func() { _, _ = r.host.Shard(ring.ShardOf(ref, shards)).Commit(t.Context(), c) })
						}
						return 0, credential.ErrUnknownOutcome
					}
					f.barrier = func() error { return credential.ErrNoQuorum }
				})
				if _, err := r.system.Disconnect(t.Context(), ref); !errors.Is(err, credential.ErrUnknownOutcome) {
					t.Fatalf("disconnect: %v", err)
				}
				if late > 0 {
					r.token(ref)
				}
				time.Sleep(late + time.Second)
				if _, err := r.system.Token(t.Context(), ref, 0); !errors.Is(err, credential.ErrDisconnected) {
					t.Errorf("the token of a disconnected account: %v", err)
				}
				r.faults.set(func(f *faults) { f.commit, f.barrier = nil, nil })
				r.account("crm")
				if _, err := r.system.Token(t.Context(), ref, 0); err != nil {
					t.Errorf("after a new import: %v", err)
				}
			})
		})
	}
}

func TestImportOverAnInterruptedRefreshIsNotJudgedByIt(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		begun, release := r.holdCalls()
		r.async(ref, nil)
		<-begun
		_, _, err := r.system.Import(t.Context(), credential.Import{
			Ref: ref, Integration: "demo", Kind: credential.KindOAuth2, Secret: credential.NewSecret("no refresh token"), ExpiresAt: time.Now().Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		shard := int(ring.ShardOf(ref, shards))
		r.system.Yield(shard)
		release <- &credential.Failure{Class: credential.Ambiguous, Code: "timeout", Sent: true}
		time.Sleep(time.Second)
		r.freeCalls()
		r.system.Lead(shard, 2)
		r.token(ref) // wakes the account, which finds the claim
		time.Sleep(time.Second)
		if a := r.get(ref); !a.NextRefreshAt.Equal(a.ExpiresAt) {
			t.Errorf("the account is looked at %v before the imported token ends", a.ExpiresAt.Sub(a.NextRefreshAt))
		}
		time.Sleep(30 * time.Minute)
		if a := r.get(ref); a.State != credential.StateActive {
			t.Fatalf("half an hour before the imported token ends: %s %s", a.State, a.Reason)
		}
		time.Sleep(time.Hour)
		if a := r.get(ref); a.State != credential.StateNeedsReauth || a.Reason != credential.ReasonNoRefreshToken {
			t.Errorf("after it ended: %s %s", a.State, a.Reason)
		}
	})
}

func TestTokenThatACallerCallsDeadIsReplacedThoughNobodyAsksAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		other, _ := r.account("other")
		id := addFault(t, r, strict.Fault{Kind: strict.FaultNoExpiresIn})
		if _, err := r.system.Refresh(t.Context(), ref, nil); err != nil {
			t.Fatal(err)
		}
		r.provider.RemoveFault(id)
		time.Sleep(20 * time.Minute)
		r.faults.set(func(f *faults) {
			var once sync.Once
			f.call = func(context.Context) (fail *credential.Failure) {
				once.Do(func() {
					fail = &credential.Failure{Class: credential.Transient, Code: "slow_down", RetryAfter: time.Minute, Sent: true}
				})
				return fail
			}
		})
		if _, err := r.system.Refresh(t.Context(), other, nil); err == nil {
			t.Fatal("the pause did not begin")
		}
		stale := uint64(2)
		if _, err := r.system.Refresh(t.Context(), ref, &stale); !errors.Is(err, credential.ErrProviderUnavailable) {
			t.Fatalf("in the pause: %v", err)
		}
		time.Sleep(3 * time.Minute)
		if a := r.get(ref); a.Generation != 3 {
			t.Errorf("generation %d after the pause, with nobody asking; next refresh in %v", a.Generation, time.Until(a.NextRefreshAt))
		}
	})
}

func TestMachineTokenOfUnknownLifetimeIsRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref := credential.Ref{Tenant: "acme", ID: "machine"}
		_, _, err := r.system.Import(t.Context(), credential.Import{Ref: ref, Integration: "demo", Kind: credential.KindClientCredentials, Secret: credential.NewSecret("obtained elsewhere")})
		if err != nil {
			t.Fatal(err)
		}
		if a := r.get(ref); a.NextRefreshAt.IsZero() || !a.ExpiryAssumed {
			t.Errorf("it is taken to live for ever: %+v", a)
		}
	})
}

func TestRefreshOfATokenThatCannotBeRefreshedKillsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref := credential.Ref{Tenant: "acme", ID: "classic"}
		_, _, err := r.system.Import(t.Context(), credential.Import{Ref: ref, Integration: "demo", Kind: credential.KindOAuth2, Secret: credential.NewSecret("never ends")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.system.Refresh(t.Context(), ref, nil); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("refresh: %v", err)
		}
		if a := r.get(ref); a.State != credential.StateActive {
			t.Errorf("the account of a token that serves is %s", a.State)
		}
		generation := uint64(1)
		if _, err := r.system.Refresh(t.Context(), ref, &generation); !errors.Is(err, credential.ErrNeedsReauth) {
			t.Errorf("refresh after the provider refused the token: %v", err)
		}
	})
}

func TestLostRaceForTheRecordIsNotTheCallersProblem(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		failOnce(&r.faults, isClaim, credential.ErrConflict)
		if a, err := r.system.Refresh(t.Context(), ref, nil); err != nil || a.Generation != 2 {
			t.Errorf("refresh: %+v, %v", a, err)
		}
		failOnce(&r.faults, func(c credential.Change) bool { return c.After.State == credential.StateDisconnected }, credential.ErrConflict)
		if a, err := r.system.Disconnect(t.Context(), ref); err != nil || a.State != credential.StateDisconnected {
			t.Errorf("disconnect: %+v, %v", a, err)
		}
	})
}

func TestWhoKnowsOfANewerGenerationIsNotRefusedByAnOwnerOfThePast(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		newer := uint64(2)
		r.faults.set(func(f *faults) { f.barrier = func() error { return credential.ErrNotOwner } })
		if _, err := r.system.Refresh(t.Context(), ref, &newer); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("an owner that was replaced answered %v", err)
		}
		r.faults.set(func(f *faults) { f.barrier = nil })
		if _, err := r.system.Refresh(t.Context(), ref, &newer); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("the owner answered %v", err)
		}
		if a := r.get(ref); a.Generation != 1 {
			t.Errorf("it was refreshed to generation %d", a.Generation)
		}
	})
}

func TestWhoWaitsForTheOldCredentialGetsTheNewOneRefreshed(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		begun, release := r.holdCalls()
		r.async(ref, nil)
		<-begun
		r.account("crm") // generation 2, from a new grant
		second := r.async(ref, nil)
		time.Sleep(time.Second)
		release <- nil
		<-begun
		release <- nil
		if err := <-second; err != nil {
			t.Error(err)
		}
		if a := r.get(ref); a.Generation != 3 {
			t.Errorf("a refresh of the imported credential was asked for, and the generation is %d", a.Generation)
		}
		r.kept()
	})
}

func TestQueueStopsWhenTheProviderAsksForAPause(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.ints.in.Concurrency = 1
		var refs []credential.Ref
		for i := range 20 {
			ref, _ := r.account(fmt.Sprint("a", i))
			refs = append(refs, ref)
		}
		begun, release := r.holdCalls()
		var all []<-chan error
		for _, ref := range refs {
			all = append(all, r.async(ref, nil))
		}
		<-begun
		time.Sleep(time.Second)
		release <- &credential.Failure{Class: credential.Transient, Code: "slow_down", RetryAfter: time.Minute, Sent: true}
		for _, done := range all {
			var u *credential.Unavailable
			if err := <-done; !errors.As(err, &u) || u.RetryAfter <= 30*time.Second {
				t.Errorf("who waited in the queue was told %v", err)
			}
		}
		if len(begun) != 0 {
			t.Error("a request went out in the pause")
		}
		r.freeCalls()
		time.Sleep(time.Hour)
		for _, ref := range refs {
			r.token(ref)
		}
		r.kept()
	})
}

func TestTokensThatDoNotOpenCloseNobodysCircuit(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		good, _ := r.account("good")
		r.faults.set(func(f *faults) {
			f.open = func(l credential.Label) error {
				if l.Account != "good" && l.Field == credential.FieldRefreshToken {
					return credential.ErrSealed
				}
				return nil
			}
		})
		for i := range 30 {
			ref, _ := r.account(fmt.Sprint("bad", i))
			if _, err := r.system.Refresh(t.Context(), ref, nil); !errors.Is(err, credential.ErrProviderUnavailable) {
				t.Fatal(err)
			}
		}
		if _, err := r.system.Refresh(t.Context(), good, nil); err != nil {
			t.Errorf("the provider was never asked and is left alone: %v", err)
		}
	})
}

func TestImportInTheMiddleOfARefreshIsNeverSpentByIt(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for i := range times(100) {
			ref, _ := r.account(fmt.Sprint("a", i))
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = r.system.Refresh(t.Context(), ref, nil) })
			wg.Go(func() { r.account(ref.ID) })
			wg.Wait()
			time.Sleep(time.Second)
			if _, err := r.system.Refresh(t.Context(), ref, nil); err != nil {
				t.Fatalf("%d: the refresh after the import: %v", i, err)
			}
			if tok := r.token(ref); !r.provider.TokenLive(tok.Secret) {
				t.Fatalf("%d: dead token", i)
			}
		}
		r.kept()
	})
}

// A failing actor answers everybody and gives everything back: the next refresh
// works, the schedule goes on, and stopping waits for nothing.
func TestActorThatFailsLosesNobody(t *testing.T) {
	settles := func(c credential.Change) bool { return c.After.Generation == 2 }
	for name, spoil := range map[string]func(r *rig){
		"panic in the claim":   func(r *rig) { panicOnce(&r.faults, isClaim) },
		"panic in the outcome": func(r *rig) { panicOnce(&r.faults, settles) },
		"unreadable before the outcome": func(r *rig) {
			failOnce(&r.faults, settles, credential.ErrNoQuorum)
			until := time.Now().Add(5 * time.Second)
			begin := time.Now().Add(time.Millisecond)
			r.faults.set(func(f *faults) {
				f.load = func(credential.Ref) error {
					if now := time.Now(); now.After(begin) && now.Before(until) {
						return errors.New("unreadable")
					}
					return nil
				}
				f.call = func(context.Context) *credential.Failure { time.Sleep(time.Second); return nil }
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				ref, _ := r.account("crm")
				time.Sleep(time.Second)
				spoil(r)
				for range 3 {
					done := r.async(ref, nil)
					select {
					case <-done:
					case <-time.After(time.Minute):
						t.Error("a caller was forgotten")
					}
				}
				time.Sleep(time.Minute)
				r.faults.set(func(f *faults) { f.commit, f.load, f.call = nil, nil, nil })
				if _, err := r.system.Refresh(t.Context(), ref, nil); err != nil {
					t.Errorf("the next refresh: %v", err)
				}
				before := r.get(ref).Generation
				time.Sleep(time.Hour)
				if n := r.get(ref).Generation - before; n != 1 {
					t.Errorf("%d refreshes in an hour", n)
				}
				r.kept()
				stopping := time.Now()
				r.stop()
				if d := time.Since(stopping); d > time.Second {
					t.Errorf("stopping took %v: something was not given back", d)
				}
				r.start()
			})
		})
	}
}

func panicOnce(f *faults, fits func(credential.Change) bool) {
	var once sync.Once
	f.set(func(f *faults) {
		f.commit = func(c credential.Change, do func() (uint64, error)) (uint64, error) {
			if fits(c) {
				once.Do(func() { panic("spoilt") })
			}
			return do()
		}
	})
}
