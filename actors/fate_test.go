package actors_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/credential"
)

// ask asks a node for the fate of the account's claim.
func (p *pair) ask(node string, ref credential.Ref) credential.Fate {
	c := p.get(ref).Claim
	return p.members[node].up().Fate(credential.FateQuery{Ref: ref, Attempt: c.Attempt, Boot: c.Boot, Generation: c.Generation})
}

func (p *pair) refreshing(node string, ref credential.Ref) <-chan error {
	out, system := make(chan error, 1), p.members[node].up()
	go func() {
		_, err := system.Refresh(context.Background(), ref, nil)
		out <- err
	}()
	return out
}

// standAt has a refresh on n1 stand at the point until it is let go.
func (p *pair) standAt(point actors.Point, ref credential.Ref) (letGo func(), told <-chan error) {
	reached, goOn := make(chan struct{}), make(chan struct{})
	p.members["n1"].at(point, func() { close(reached); <-goOn })
	told = p.refreshing("n1", ref)
	<-reached
	return func() { close(goOn) }, told
}

func TestNodeTellsHowFarItsRequestHasGot(t *testing.T) {
	for point, want := range map[actors.Point]credential.FateState{
		actors.PointClaimed: credential.FateNeverSent, actors.PointSending: credential.FateNeverSent,
		pointInFlight: credential.FateInFlight, actors.PointAnswered: credential.FateInFlight, actors.PointSettling: credential.FateAnswered,
	} {
		t.Run(string(point), func(t *testing.T) {
			inPair(t, func(t *testing.T, p *pair) {
				ref, _ := p.account("crm")
				letGo, told := p.standAt(point, ref)
				f := p.ask("n1", ref)
				if f.State != want || (f.State == credential.FateInFlight) != (f.Remaining > 0 && f.Remaining <= 10*time.Second) || (f.State == credential.FateAnswered) != (len(f.Entry) > 0) {
					t.Errorf("told %+v, want state %d", f, want)
				}
				if f := p.ask("n2", ref); f.State != credential.FateUnknown {
					t.Errorf("a node that never had it says %+v", f)
				}
				letGo()
				if err := <-told; err != nil && !actors.IsRetryable(err) {
					t.Error(err)
				}
			})
		})
	}
}

func TestRequestThatWasCalledNeverSentNeverIs(t *testing.T) {
	for _, point := range []actors.Point{actors.PointBeforeClaim, actors.PointClaimed, actors.PointSending} {
		inPair(t, func(t *testing.T, p *pair) {
			ref, grant := p.account("crm")
			if point == actors.PointBeforeClaim { // asked in the instant in which others see the claim
				var once sync.Once
				p.members["n1"].faults.set(func(f *faults) {
					f.commit = func(c credential.Change, do func() (uint64, error)) (uint64, error) {
						rev, err := do()
						if isClaim(c) {
							once.Do(func() {
								if f := p.ask("n1", ref); f.State != credential.FateNeverSent {
									t.Errorf("told %+v", f)
								}
							})
						}
						return rev, err
					}
				})
			}
			letGo, told := p.standAt(point, ref)
			if point != actors.PointBeforeClaim {
				if f := p.ask("n1", ref); f.State != credential.FateNeverSent {
					t.Errorf("told %+v", f)
				}
			}
			letGo()
			if err := <-told; !actors.IsRetryable(err) {
				t.Errorf("who waited was told %v", err)
			}
			if n := p.grant(grant).Requests; n != 0 {
				t.Errorf("%d requests after it was told that there is none", n)
			}
			time.Sleep(5 * time.Second) // its owner goes on after a pause
			if a := p.get(ref); a.Generation != 2 || p.grant(grant).Requests != 1 {
				t.Errorf("generation %d, %d requests", a.Generation, p.grant(grant).Requests)
			}
			p.inOrder(ref, grant)
		})
	}
}

func TestNodeThatWasRestartedDoesNotKnow(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, _ := p.account("crm")
		letGo, _ := p.standAt(pointInFlight, ref)
		old := p.members["n1"]
		old.kill()
		letGo()
		old.tasks.Wait()
		old.start()
		if f := p.ask("n1", ref); f.State != credential.FateUnknown {
			t.Errorf("told %+v", f)
		}
		p.lead("n2")
		if _, err := p.owner().Token(t.Context(), ref, 0); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		a := p.get(ref)
		if a.Claim == nil || !a.Claim.Uncertain || !a.Claim.Interrupted || p.owner().Counters().FatesUnknown.Load() != 1 {
			t.Errorf("claim %+v, %d times unknown", a.Claim, p.owner().Counters().FatesUnknown.Load())
		}
		time.Sleep(5 * time.Minute)
		if n := p.owner().Counters().FatesUnknown.Load(); n != 1 {
			t.Errorf("asked %d times though nothing more is to be learnt", n)
		}
	})
}

func TestOwnerThatStoodStillPastTheDeadlineSendsNothing(t *testing.T) {
	for _, point := range []actors.Point{actors.PointClaimed, actors.PointSending, pointInFlight} {
		inPair(t, func(t *testing.T, p *pair) {
			ref, grant := p.account("crm")
			letGo, told := p.standAt(point, ref)
			p.cutOff("n1", "n2")
			p.lead("n2")
			time.Sleep(16 * time.Second)
			letGo()
			if err := <-told; !actors.IsRetryable(err) {
				t.Errorf("%s: who waited was told %v", point, err)
			}
			if n := p.grant(grant).Requests; n != 0 {
				t.Errorf("%s: %d requests after the deadline", point, n)
			}
		})
	}
}

func TestCallersWaitForTheAnswerOfTheOldOwner(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.accountUntil("crm", time.Now().Add(time.Second))
		letGo, told := p.standAt(pointInFlight, ref)
		p.lead("n2")
		time.Sleep(time.Second) // the old token is over
		time.AfterFunc(3*time.Second, letGo)
		asked := time.Now()
		tok, err := p.owner().Token(t.Context(), ref, 0)
		if err != nil || tok.Generation != 2 || !p.provider.TokenLive(tok.Secret) {
			t.Errorf("generation %d, %v", tok.Generation, err)
		}
		if d := time.Since(asked); d > 4*time.Second {
			t.Errorf("it took %v", d)
		}
		if err := <-told; !actors.IsRetryable(err) {
			t.Errorf("who waited at the old owner was told %v", err)
		}
		synctest.Wait()
		c1, c2 := p.members["n1"].up().Counters(), p.members["n2"].up().Counters()
		if c1.OffersMade.Load() == 0 || c1.OffersTaken.Load() != 1 || c2.SalvagedByOffer.Load() != 1 || c2.FatesInFlight.Load() != 1 {
			t.Errorf("%d offers, %d taken, %d salvaged, %d in flight", c1.OffersMade.Load(), c1.OffersTaken.Load(), c2.SalvagedByOffer.Load(), c2.FatesInFlight.Load())
		}
		p.inOrder(ref, grant)
	})
}

func TestCallersDoNotWaitForANodeThatIsGone(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, _ := p.accountUntil("crm", time.Now().Add(time.Second))
		letGo, _ := p.standAt(pointInFlight, ref)
		p.members["n1"].kill()
		letGo()
		p.lead("n2")
		time.Sleep(time.Second) // the old token is over
		asked := time.Now()
		if _, err := p.owner().Token(t.Context(), ref, 0); !actors.IsRetryable(err) {
			t.Errorf("told %v", err)
		}
		if d := time.Since(asked); d > 5*time.Second {
			t.Errorf("it took %v to be told", d)
		}
	})
}

func TestFateOfEveryInterruptedRefreshIsToldInWords(t *testing.T) {
	for _, tc := range []struct {
		name  string
		point actors.Point
		away  absence
		want  []credential.What
		words string
	}{
		{"never sent", actors.PointSending, absence{}, []credential.What{credential.WhatNeverSent, credential.WhatRefreshed}, "node n1 claimed a refresh and sent no request"},
		{"salvaged", actors.PointSettling, absence{}, []credential.What{credential.WhatSalvaged, credential.WhatRefreshed}, "came from node n1"},
		{"uncertain, then salvaged", actors.PointSettling, absence{cut: true, returns: time.Minute}, []credential.What{credential.WhatInterrupted, credential.WhatSalvaged, credential.WhatRefreshed}, "that node does not say"},
		{"uncertain, then never sent", actors.PointSending, absence{cut: true, pause: 20 * time.Second, returns: time.Minute}, []credential.What{credential.WhatInterrupted, credential.WhatNeverSent, credential.WhatRefreshed}, "sent no request"},
		{"retried", pointInFlight, absence{cut: true, dies: true}, []credential.What{credential.WhatInterrupted, credential.WhatRetriedUncertain, credential.WhatRefreshed}, "still worked"},
		{"lost", actors.PointAnswered, absence{cut: true, dies: true}, []credential.What{credential.WhatInterrupted, credential.WhatRetriedUncertain, credential.WhatOutcomeLost, credential.WhatNeedsReauth}, "its answer never came"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inPair(t, func(t *testing.T, p *pair) {
				ref, _ := p.account("crm")
				p.lose(ref, tc.point, tc.away)
				time.Sleep(65 * time.Minute)
				var whats []credential.What
				for _, l := range p.shard.lines(ref)[1:] {
					whats = append(whats, l.What)
				}
				if len(whats) < len(tc.want) || !slices.Equal(whats[:len(tc.want)], tc.want) || !strings.Contains(p.history(ref), tc.words) {
					t.Errorf("want %v and %q in the history:%s", tc.want, tc.words, p.history(ref))
				}
			})
		})
	}
}

// What the claimant itself has called ambiguous stays so: nobody clears it.
func TestAmbiguousOutcomeOutlivesTheHandOver(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.account("crm")
		p.members["n1"].faults.set(func(f *faults) {
			f.call = func(context.Context) *credential.Failure {
				return &credential.Failure{Class: credential.Ambiguous, Code: "timeout", Sent: true}
			}
		})
		if err := <-p.refreshing("n1", ref); !actors.IsRetryable(err) {
			t.Fatal(err)
		}
		p.lead("n2")
		if _, err := p.owner().Token(t.Context(), ref, 0); err != nil {
			t.Error(err)
		}
		if err := <-p.refreshing("n2", ref); !actors.IsRetryable(err) {
			t.Errorf("a refresh of a token that may be spent: %v", err)
		}
		time.Sleep(time.Minute)
		if a := p.get(ref); a.Claim == nil || !a.Claim.Uncertain || a.Claim.Interrupted || p.grant(grant).Requests != 0 {
			t.Errorf("claim %+v, %d requests", a.Claim, p.grant(grant).Requests)
		}
		time.Sleep(20 * time.Minute)
		if len(p.told(ref, credential.WhatRetriedUncertain)) != 1 {
			t.Errorf("history:%s", p.history(ref))
		}
		p.inOrder(ref, grant)
	})
}

// A second try that was never sent leaves the first as uncertain as it was.
func TestSecondTryThatWasNeverSentClearsNothing(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.accountUntil("crm", time.Now().Add(time.Second))
		letGo, _ := p.standAt(actors.PointAnswered, ref)
		p.members["n1"].kill()
		letGo() // the answer is lost with it
		p.members["n1"].tasks.Wait()
		p.members["n1"].start()
		p.lead("n2")
		reached, goOn := make(chan struct{}), make(chan struct{})
		p.members["n2"].at(actors.PointSending, func() { close(reached); <-goOn })
		<-p.refreshing("n2", ref)
		<-reached // the schedule presents the token once more
		p.lead("n1")
		p.refreshing("n1", ref)
		synctest.Wait()
		a := p.get(ref)
		if n := p.owner().Counters().FatesNeverSent.Load(); n != 1 || a.Claim == nil || !a.Claim.Uncertain {
			t.Errorf("told %d times that it was not sent, claim %+v", n, a.Claim)
		}
		close(goOn)
		time.Sleep(10 * time.Minute)
		if a := p.get(ref); a.State != credential.StateNeedsReauth || a.Reason != credential.ReasonOutcomeLost {
			t.Errorf("%s %q, want the lost outcome named", a.State, a.Reason)
		}
		p.inOrder(ref, grant)
	})
}
