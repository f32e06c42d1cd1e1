package node_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/internal/node/nodetest"
)

// hanging makes a cluster with one account whose owner is in the middle of a
// refresh: the provider has rotated the token, and answers when release is
// called. The refresh was asked for through the owner itself.
func hanging(t *testing.T) (c *nodetest.Cluster, ref credential.Ref, owner string, answer chan error, release func()) {
	t.Helper()
	rotated, held := make(chan struct{}), make(chan struct{})
	armed := make(chan struct{}, 1)
	c = start(t, nodetest.Options{Provider: strict.Options{Processed: func(r strict.Request) {
		select {
		case <-armed:
			close(rotated)
			<-held
		default:
		}
	}}})
	time.Sleep(20 * time.Second)
	c.Fill(t.Context(), "n2", 1)
	ref = nodetest.Ref(0)
	owner, _ = c.Core("n1").Owner(int(ring.ShardOf(ref, 4)))
	armed <- struct{}{}
	answer = make(chan error, 1)
	ctx := within(t, time.Minute)
	go func() {
		gen := uint64(1)
		_, err := c.Core(owner).Accounts().Refresh(ctx, ref, &gen)
		answer <- err
	}()
	<-rotated
	return c, ref, owner, answer, func() { close(held) }
}

// settled waits until the account has its new token, which every node hands
// out, and returns the words of its history.
func settled(t *testing.T, c *nodetest.Cluster, ref credential.Ref) (words []credential.What) {
	t.Helper()
	c.Await(time.Minute, "the new token", func() bool {
		a, err := c.Core("n1").Accounts().Account(t.Context(), ref)
		return err == nil && a.Generation == 2 && a.Claim == nil
	})
	for _, at := range c.Names() {
		c.Await(20*time.Second, "the owner's token through "+at, func() bool {
			tok, err := c.Core(at).Accounts().Token(within(t, 5*time.Second), ref, 0)
			if err != nil || !tok.Replica && (tok.Generation != 2 || !c.Provider.TokenLive(tok.Secret)) {
				t.Fatalf("through %s: generation %d, %v", at, tok.Generation, err)
			}
			return !tok.Replica
		})
	}
	h, err := c.Core("n1").Accounts().History(t.Context(), ref, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range h.Lines {
		words = append(words, l.What)
	}
	// The refresh token that came with it works, and the provider saw no other twice.
	gen := uint64(2)
	if a, err := c.Core("n2").Accounts().Refresh(within(t, 5*time.Second), ref, &gen); err != nil || a.Generation != 3 {
		t.Errorf("the next refresh: %d %v", a.Generation, err)
	}
	c.Judge()
	return words
}

// TestARefreshThatIsUnderWayIsAskedForByTheNewOwner: the owner leaves while the
// provider has not answered; its successor asks it what became of the claim,
// waits, and gets the answer.
func TestARefreshThatIsUnderWayIsAskedForByTheNewOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ref, owner, answer, release := hanging(t)
		if err := c.Core(owner).Placement().Leave(within(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		release()
		if err := <-answer; err != nil {
			t.Errorf("who asked for it: %v", err)
		}
		words := settled(t, c, ref)
		n := int64(0)
		for _, at := range c.Names() {
			n += c.Core(at).Actors.Counters().SalvagedByFate.Load() + c.Core(at).Actors.Counters().SalvagedByOffer.Load()
		}
		if n != 1 || words[0] != credential.WhatRefreshed || words[1] != credential.WhatSalvaged {
			t.Errorf("%d salvaged; %v", n, words)
		}
	})
}

// TestAnAnswerThatCameToALostOwnerIsOffered: the owner is cut off while the
// provider has not answered; nobody can ask it. When it is back it offers the
// answer to its successor.
func TestAnAnswerThatCameToALostOwnerIsOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ref, owner, answer, release := hanging(t)
		c.Cut(owner, "")
		time.Sleep(3 * time.Second)
		release()
		time.Sleep(5 * time.Second)
		tok, err := c.Core(other(c, owner)).Accounts().Token(within(t, 5*time.Second), ref, 0)
		if err != nil || tok.Generation != 1 {
			t.Errorf("meanwhile: generation %d, %v", tok.Generation, err)
		}
		c.Heal(owner, "")
		settled := settled(t, c, ref)
		<-answer // whatever it is
		n := int64(0)
		for _, at := range c.Names() {
			n += c.Core(at).Actors.Counters().SalvagedByFate.Load() + c.Core(at).Actors.Counters().SalvagedByOffer.Load()
		}
		if n != 1 || settled[0] != credential.WhatRefreshed || settled[1] != credential.WhatSalvaged {
			t.Errorf("%d salvaged; %v", n, settled)
		}
	})
}

// other is a node that runs, but for one.
func other(c *nodetest.Cluster, not string) string {
	for _, name := range c.Names() {
		if name != not {
			return name
		}
	}
	return ""
}
