package route_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
)

// TestAReplicaTellsWhoOwnsWhereTheOneThatShouldIsDead: n1 has no replica, n2
// should own the shard and is dead, and n3 does.
func TestAReplicaTellsWhoOwnsWhereTheOneThatShouldIsDead(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, what string, call func(context.Context, *rig) error) {
		r.leads("n2", 0)
		r.down("n2", true)
		r.n3.act = owns
		start := time.Now()
		if err := call(t.Context(), r); err != nil || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestWhatAReplicaToldIsKept: the next request makes no detour, and one more if
// what was told is no longer so.
func TestWhatAReplicaToldIsKept(t *testing.T) {
	forEvery(t, func(t *testing.T, r *rig, what string, call func(context.Context, *rig) error) {
		r.leads("n2", 0)
		r.n2.act = func(context.Context, string) error { return &rpc.NotOwner{Node: "n2", Leader: "n3", Term: 7} }
		r.n3.act = owns
		for range 3 {
			if err := call(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if r.n2.total() != 1 || r.n3.total() != 3 {
			t.Errorf("%v and %v were asked", r.n2.asked, r.n3.asked)
		}
		r.down("n3", true)
		r.n2.become(owns)
		if err := call(t.Context(), r); err != nil || r.n2.total() != 2 {
			t.Errorf("after the owner died: %v; %v was asked", err, r.n2.asked)
		}
	})
}

// TestANewOwnerIsAskedAtOnceWhereTheOldOneIsSilent: what may be done twice does
// not wait for the silence of a dead node to be noticed.
func TestANewOwnerIsAskedAtOnceWhereTheOldOneIsSilent(t *testing.T) {
	for _, what := range []string{"token", "refresh", "account", "history", "offer"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.n2.act, r.n3.act = hangs, owns
				time.AfterFunc(300*time.Millisecond, func() { r.leads("n3", 6) })
				start := time.Now()
				if err := every[what](t.Context(), r); err != nil || time.Since(start) > 400*time.Millisecond {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
		})
	}
}

func TestAReplicaThatKnowsNoSuchAccountIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.local = true
		r.n1.missing = true
		r.leads("", 5)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := r.Account(ctx, crm); !errors.Is(err, credential.ErrNoQuorum) {
			t.Errorf("account: %v", err)
		}
		time.AfterFunc(2*time.Second, func() { r.leads("n2", 6) })
		r.n2.act = owns
		if h, err := r.History(t.Context(), crm, 0, 10); err != nil || h.Next != 7 {
			t.Errorf("history: %v %v", h, err)
		}
	})
}
