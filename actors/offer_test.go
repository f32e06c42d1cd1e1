package actors_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// stranded leaves the answer of a refresh in n1's journal, while n2 has the
// shard and the two do not reach each other.
func (p *pair) stranded(ref credential.Ref) (entry []byte) {
	p.t.Helper()
	letGo, told := p.standAt(actors.PointAnswered, ref)
	p.cutOff("n1", "n2")
	p.lead("n2")
	letGo()
	if err := <-told; !actors.IsRetryable(err) {
		p.t.Errorf("who waited for an answer that could not be committed was told %v", err)
	}
	j := p.members["n1"].journal
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, entry = range j.entries {
		return bytes.Clone(entry)
	}
	p.t.Fatal("the answer is nowhere")
	return nil
}

func TestOfferIsTakenOnceAndDoesNoHarmTwice(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.account("crm")
		entry := p.stranded(ref)
		for range 3 {
			if taken, err := p.owner().Offer(t.Context(), entry); !taken || err != nil {
				t.Errorf("taken: %v, %v", taken, err)
			}
			if a := p.get(ref); a.Generation != 2 || a.Claim != nil {
				t.Errorf("generation %d, claim %+v", a.Generation, a.Claim)
			}
		}
		if n := len(p.told(ref, credential.WhatSalvaged)); n != 1 {
			t.Errorf("salvaged %d times", n)
		}
		p.heal("n1", "n2")
		time.Sleep(time.Minute)
		p.inOrder(ref, grant)
	})
}

func TestOfferIsNotTakenWhereItCannotBeCommitted(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.account("crm")
		entry := p.stranded(ref)
		if taken, err := p.members["n1"].up().Offer(t.Context(), entry); taken || err == nil {
			t.Errorf("by a node that lost the shard: taken: %v, %v", taken, err)
		}
		for _, fail := range []error{credential.ErrNoQuorum, credential.ErrUnknownOutcome, credential.ErrNotOwner} {
			failOnce(&p.members["n2"].faults, brings(2), fail)
			if taken, err := p.owner().Offer(t.Context(), entry); taken || !errors.Is(err, fail) {
				t.Errorf("taken: %v, %v, want %v", taken, err, fail)
			}
		}
		if taken, err := p.owner().Offer(t.Context(), entry); !taken || err != nil {
			t.Errorf("the next time: %v, %v", taken, err)
		}
		p.heal("n1", "n2")
		time.Sleep(time.Minute)
		p.inOrder(ref, grant)
	})
}

func TestCallersAreToldToAskAgainWhereTheOutcomeIsNotKnownToBeStored(t *testing.T) {
	for _, fail := range []error{credential.ErrNoQuorum, credential.ErrUnknownOutcome, credential.ErrNotOwner} {
		inPair(t, func(t *testing.T, p *pair) {
			ref, grant := p.account("crm")
			failOnce(&p.members["n1"].faults, brings(2), fail)
			if err := <-p.refreshing("n1", ref); !actors.IsRetryable(err) {
				t.Errorf("%v: told %v", fail, err)
			}
			time.Sleep(5 * time.Second)
			if a := p.get(ref); a.Generation != 2 {
				t.Errorf("%v: generation %d", fail, a.Generation)
			}
			p.inOrder(ref, grant)
		})
	}
}

func TestForgedOrDamagedEntryReplacesNothing(t *testing.T) {
	change := func(fn func(map[string]any)) func([]byte) []byte {
		return func(entry []byte) []byte {
			var m map[string]any
			if err := json.Unmarshal(entry, &m); err != nil {
				panic(err)
			}
			fn(m)
			b, err := json.Marshal(m)
			if err != nil {
				panic(err)
			}
			return b
		}
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"cut off":                   func(b []byte) []byte { return b[:len(b)/2] },
		"empty":                     func([]byte) []byte { return nil },
		"an empty object":           func([]byte) []byte { return []byte("{}") },
		"too large":                 func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), 1<<20)...) },
		"without a token":           change(func(m map[string]any) { delete(m, "access_token") }),
		"garbage for a token":       change(func(m map[string]any) { m["access_token"] = []byte("garbage") }),
		"garbage for a refresh":     change(func(m map[string]any) { m["refresh_token"] = []byte("garbage") }),
		"tokens swapped":            change(func(m map[string]any) { m["access_token"], m["refresh_token"] = m["refresh_token"], m["access_token"] }),
		"of another generation":     change(func(m map[string]any) { m["generation"] = 3 }),
		"a failure that is nothing": change(func(m map[string]any) { m["failure"] = credential.Failure{Class: credential.Transient} }),
		"of a nameless account":     change(func(m map[string]any) { m["ref"] = credential.Ref{} }),
		"sealed for another generation": change(func(m map[string]any) {
			m["generation"] = 3
			m["access_token"] = []byte("{acme crm access_token 3}|stolen")
			m["refresh_token"] = []byte("{acme crm refresh_token 3}|stolen")
		}),
	} {
		t.Run(name, func(t *testing.T) {
			inPair(t, func(t *testing.T, p *pair) {
				ref, _ := p.account("crm")
				before, entry := p.get(ref), spoil(p.stranded(ref))
				taken, err := p.owner().Offer(t.Context(), entry)
				if taken || !errors.Is(err, credential.ErrInvalid) && !errors.Is(err, credential.ErrSealed) {
					t.Errorf("taken: %v, %v", taken, err)
				}
				if a := p.get(ref); a.Generation != before.Generation || !bytes.Equal(a.RefreshToken, before.RefreshToken) || a.Claim == nil || a.State != credential.StateActive {
					t.Errorf("the record became %+v", a)
				}
			})
		})
	}
}

func TestAnswerOfNobodysClaimIsTakenAndChangesNothing(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, _ := p.account("crm")
		entry := p.stranded(ref)
		for name, attempt := range map[string]string{"of another attempt": "00", "of an account that does not exist": ""} {
			var m map[string]any
			_ = json.Unmarshal(entry, &m)
			if attempt != "" {
				m["attempt"] = attempt
			} else {
				m["ref"] = credential.Ref{Tenant: "acme", ID: "nobody"}
			}
			b, _ := json.Marshal(m)
			before := p.get(ref)
			if taken, err := p.owner().Offer(t.Context(), b); !taken || err != nil {
				t.Errorf("%s: taken: %v, %v", name, taken, err)
			}
			if a := p.get(ref); a.Generation != before.Generation || a.Claim == nil {
				t.Errorf("%s: the record became %+v", name, a)
			}
		}
	})
}

func TestLateTokensOfADisconnectedAccountAreRevoked(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.account("crm")
		p.stranded(ref)
		id, err := p.provider.AddFault(strict.Fault{Kind: strict.FaultStatus503, Endpoint: strict.EndpointRevoke})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.owner().Disconnect(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if !p.provider.GrantAlive(grant.Grant) {
			t.Errorf("the grant was to outlive its account:%s", p.history(ref))
		}
		old := p.members["n1"] // restarted, so that it has the tokens in its journal only
		old.kill()
		old.tasks.Wait()
		old.start()
		p.heal("n1", "n2")
		time.Sleep(time.Minute)
		late := func() bool { // than those of the record
			return slices.ContainsFunc(p.shard.toRevoke(), func(r credential.Revocation) bool { return r.Account.Generation == 2 })
		}
		if !late() {
			t.Errorf("the tokens that came late are not to be revoked:%s", p.history(ref))
		}
		p.provider.RemoveFault(id)
		time.Sleep(2 * time.Hour)
		if p.provider.GrantAlive(grant.Grant) || len(p.told(ref, credential.WhatRevoked)) != 2 || len(p.shard.toRevoke()) != 0 {
			t.Errorf("the grant lives on by the tokens that came late:%s", p.history(ref))
		}
		p.inOrder(ref, grant)
	})
}

func TestAnswerIsOfferedUntilItIsTaken(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.account("crm")
		p.stranded(ref)
		p.members["n1"].up().Yield(0) // it has noticed
		time.Sleep(8 * time.Minute)
		n := p.members["n1"].up().Counters().OffersMade.Load()
		if n < 10 || n > 100 {
			t.Errorf("%d offers in 8 minutes of a cut", n)
		}
		p.heal("n1", "n2")
		time.Sleep(30 * time.Second)
		if a := p.get(ref); a.Generation != 2 || p.members["n1"].journal.len() != 0 {
			t.Errorf("generation %d half a minute later", a.Generation)
		}
		p.inOrder(ref, grant)
	})
}

func TestAnswerOfARestartedNodeIsOfferedToTheNewOwner(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.account("crm")
		p.stranded(ref)
		old := p.members["n1"]
		old.kill()
		old.tasks.Wait()
		p.heal("n1", "n2")
		old.start()
		time.Sleep(time.Second)
		if a := p.get(ref); a.Generation != 2 {
			t.Errorf("generation %d a second after the restart", a.Generation)
		}
		p.inOrder(ref, grant)
	})
}

func TestNodeThatLeavesHandsItsAnswersOver(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.account("crm")
		letGo, _ := p.standAt(actors.PointAnswered, ref)
		p.members["n2"].faults.set(func(f *faults) { f.load = func(credential.Ref) error { return errors.New("not yet") } })
		p.lead("n2")
		letGo()
		time.Sleep(time.Second)
		p.members["n2"].faults.set(func(f *faults) { f.load = nil })
		p.members["n1"].stop()
		if a := p.get(ref); a.Generation != 2 {
			t.Errorf("generation %d after the old owner has left", a.Generation)
		}
		p.members["n1"].start()
		p.inOrder(ref, grant)
	})
}

func TestJournalDoesNotGrowWithoutBound(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, _ := p.account("crm")
		p.stranded(ref)
		p.members["n1"].up().Yield(0)
		j := p.members["n1"].journal
		j.mu.Lock()
		j.entries["damaged"] = []byte("damaged")
		j.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if n := j.len(); n != 1 {
			t.Errorf("%d entries, want the one that can be read", n)
		}
		if raceEnabled {
			return
		}
		p.members["n2"].kill()
		time.Sleep(6 * 24 * time.Hour)
		if n := j.len(); n != 1 {
			t.Errorf("%d entries after six days", n)
		}
		time.Sleep(2 * 24 * time.Hour)
		if n := j.len(); n != 0 {
			t.Errorf("%d entries after eight days", n)
		}
		if n := p.members["n1"].up().Counters().AnswersDropped.Load(); n != 2 {
			t.Errorf("%d answers dropped", n)
		}
	})
}

func TestEntriesThatNobodyTakesHoldUpNoOthers(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.account("crm")
		other, _ := p.account("other")
		entry := p.stranded(ref)
		j := p.members["n1"].journal
		stuck := bytes.ReplaceAll(entry, []byte(`"crm"`), []byte(`"other"`)) // sealed for crm
		var m map[string]any
		_ = json.Unmarshal(entry, &m)
		real := fmt.Sprint(m["attempt"])
		j.mu.Lock()
		for i := range 50 {
			id := fmt.Sprintf("%032x", i)
			j.entries[id] = bytes.ReplaceAll(stuck, []byte(real), []byte(id))
		}
		j.mu.Unlock()
		a := p.get(other)
		a.Claim = &credential.Claim{Attempt: fmt.Sprintf("%032x", 7), Generation: 1, Node: "n1", Lifetime: time.Second}
		p.shard.put(a)
		p.heal("n1", "n2")
		time.Sleep(5 * time.Minute)
		if a := p.get(ref); a.Generation != 2 {
			t.Errorf("generation %d", a.Generation)
		}
		if n := j.len(); n != 1 {
			t.Errorf("%d entries, want the one that is wanted and does not open", n)
		}
		j.mu.Lock()
		clear(j.entries)
		j.mu.Unlock()
		p.inOrder(ref, grant)
	})
}

// The refresh token is presented once more and fails for another reason; then
// the answer to the first time turns up.
func TestAnswerThatComesAfterASecondTryStillSavesTheAccount(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.accountUntil("crm", time.Now().Add(time.Second))
		p.stranded(ref)
		p.members["n2"].faults.set(func(f *faults) {
			f.call = func(ctx context.Context) *credential.Failure {
				time.Sleep(5 * time.Second)
				return &credential.Failure{Class: credential.Transient, Code: "server_error", Sent: true}
			}
		})
		wake := p.refreshing("n2", ref)
		<-wake
		for p.members["n2"].up().Counters().UncertainRetries.Load() == 0 {
			time.Sleep(time.Second)
		}
		p.heal("n1", "n2") // in the middle of the second try
		time.Sleep(time.Second)
		if a := p.get(ref); a.Generation != 1 {
			t.Errorf("generation %d while the second request is under way", a.Generation)
		}
		time.Sleep(time.Minute)
		p.members["n2"].faults.set(func(f *faults) { f.call = nil })
		if a := p.get(ref); a.Generation < 2 || a.State != credential.StateActive {
			t.Errorf("generation %d, %s %s", a.Generation, a.State, a.Reason)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		p.inOrder(ref, grant)
	})
}
