package sim

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// TestClusterFoundsItselfAndRefreshes is the simulation of a cluster in which
// nothing goes wrong.
func TestClusterFoundsItselfAndRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w, err := NewCluster(strict.Options{AccessTTL: officeTTL}, FleetOptions{Size: 3}, MachineOptions{Shards: 2}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := w.Insist(ctx, func(ctx context.Context) error { return w.Put(ctx, demo) }); err != nil {
			t.Fatal(err)
		}
		t.Logf("ready after %v", time.Since(began))
		a := w.NewAccount("plain", credential.KindOAuth2, demo)
		if err := w.Insist(ctx, a.Import); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			if err := a.Refresh(ctx, nil); err != nil {
				t.Error(err)
			}
			if _, err := a.Token(ctx, 0); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(5 * time.Minute)
		w.Calm()
		if err := w.Look(ctx); err != nil {
			t.Error(err)
		}
		var out outcome
		out.close(w)
		out.complain(t, "nothing went wrong")
	})
}
