package actors_test

import (
	"errors"
	"testing"
	"time"

	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
)

func TestAReplicaHandsOutOnlyWhatStillServes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, tok := r.account("crm")
		gone, _ := r.account("gone")
		if _, err := r.system.Disconnect(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		for i := range shards {
			r.system.Yield(i) // from here on this node is a replica
		}
		actors := r.system.Counters().Actors.Load()
		if got, err := r.system.ReplicaToken(t.Context(), ref, time.Minute); err != nil || !got.Replica || !got.Secret.Equal(tok.AccessToken) || got.Generation != 1 {
			t.Errorf("a fresh token: %+v %v", got, err)
		}
		for name, c := range map[string]struct {
			ref credential.Ref
			ttl time.Duration
		}{
			"too little life": {ref, 2 * time.Hour},
			"disconnected":    {gone, 0},
			"no account":      {credential.Ref{Tenant: "acme", ID: "none"}, 0},
		} {
			if got, err := r.system.ReplicaToken(t.Context(), c.ref, c.ttl); !errors.Is(err, credential.ErrNotOwner) || got.Replica {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := r.system.Counters().Actors.Load(); n != actors {
			t.Errorf("reading woke %d actors", n-actors)
		}
	})
}

func TestOnlyTheOwnerAnswersReadsOfAnAccount(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		r.system.Yield(int(ring.ShardOf(ref, shards)))
		if _, err := r.system.Account(t.Context(), ref); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("account: %v", err)
		}
		if _, err := r.system.History(t.Context(), ref, 0, 10); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("history: %v", err)
		}
		if a, err := r.system.ReplicaAccount(t.Context(), ref); err != nil || a.Ref != ref {
			t.Errorf("account of the replica: %v", err)
		}
		if h, err := r.system.ReplicaHistory(t.Context(), ref, 0, 10); err != nil || len(h.Lines) != 1 {
			t.Errorf("history of the replica: %v", err)
		}
	})
}
