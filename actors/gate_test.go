package actors_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
)

func TestIdleAccountsLeaveMemoryAndComeBack(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		c := r.system.Counters()
		r.token(ref)
		if c.Actors.Load() != 1 || c.SnapshotReads.Load() != 1 {
			t.Errorf("%d actors, %d snapshot reads", c.Actors.Load(), c.SnapshotReads.Load())
		}
		time.Sleep(5 * time.Minute)
		if n := c.Actors.Load(); n != 0 {
			t.Errorf("%d actors after five idle minutes", n)
		}
		r.token(ref)
		if n := c.StoreReads.Load(); n != 1 {
			t.Errorf("%d reads of the store; the snapshot of an actor that is gone is left", n)
		}
		time.Sleep(time.Second)
		r.token(ref)
		if c.Actors.Load() != 1 || c.SnapshotReads.Load() != 2 {
			t.Errorf("%d actors, %d snapshot reads", c.Actors.Load(), c.SnapshotReads.Load())
		}
	})
}

func TestNobodyIsTurnedAwayBecauseActorsMakeRoom(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.stop()
		r.policy.MaxActors = 1
		r.start()
		const n = 20
		for i := range n {
			r.account(fmt.Sprint("old", i))
		}
		for round := range times(20) {
			time.Sleep(2 * time.Second) // all are idle
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if _, err := r.system.Refresh(ctx, credential.Ref{Tenant: "acme", ID: fmt.Sprint("old", i)}, nil); err != nil {
						t.Errorf("round %d: %v", round, err)
					}
				})
				wg.Go(func() { r.account(fmt.Sprint("new", round, "-", i)) })
			}
			wg.Wait()
		}
		r.kept()
	})
}

func TestPlaceInTheLaneComesBackFromAShardThatIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.ints.in.Concurrency = 1
		ref, _ := r.account("a0")
		shard := ring.ShardOf(ref, shards)
		other := ref
		for i := 1; ring.ShardOf(other, shards) == shard; i++ {
			other, _ = r.account(fmt.Sprint("a", i))
		}
		begun, release := r.holdCalls()
		first := r.async(other, nil)
		<-begun
		queued := r.async(ref, nil)
		time.Sleep(time.Second)
		r.system.Yield(int(shard))
		if err := <-queued; !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("who waited was told %v", err)
		}
		close(release)
		if err := <-first; err != nil {
			t.Error(err)
		}
		r.system.Lead(int(shard), 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.system.Refresh(ctx, ref, nil); err != nil {
			t.Errorf("after the shard came back: %v", err)
		}
	})
}
