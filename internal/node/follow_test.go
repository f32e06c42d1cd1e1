package node

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/cluster/consensus"
)

// TestAShardThatDoesNotEndHoldsUpNoOther: while giving one up hangs, all others
// are taken over at once, and its own changes come in order.
func TestAShardThatDoesNotEndHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var begun []consensus.LeaderChange
		hung := make(chan struct{})
		f := newTenures(func(c consensus.LeaderChange) {
			mu.Lock()
			begun = append(begun, c)
			mu.Unlock()
			if c.Group == 0 && !c.Leading && c.Term == 1 {
				<-hung
			}
		})
		f.put(consensus.LeaderChange{Group: 0, Term: 1})
		synctest.Wait()
		began := time.Now()
		for shard := range uint16(32) {
			f.put(consensus.LeaderChange{Group: shard, Leading: true, Term: 2})
		}
		f.put(consensus.LeaderChange{Group: 0, Term: 2})
		f.put(consensus.LeaderChange{Group: 0, Leading: true, Term: 3})
		synctest.Wait()
		if len(begun) != 32 || time.Since(began) > 0 {
			t.Errorf("%d of 31 others were taken over", len(begun)-1)
		}
		close(hung)
		f.done.Wait()
		own := slices.DeleteFunc(begun, func(c consensus.LeaderChange) bool { return c.Group != 0 })
		if len(own) != 2 || own[1] != (consensus.LeaderChange{Group: 0, Leading: true, Term: 3}) {
			t.Errorf("of the one that hung: %v", own)
		}
	})
}
