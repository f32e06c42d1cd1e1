package consensus

import (
	"testing"
	"testing/synctest"
)

// TestLastWordOnEveryGroupArrives: a slow reader misses steps, never the end.
func TestLastWordOnEveryGroupArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFeed(), make(chan struct{})
		go f.run(stop)
		for term := uint64(1); term <= 50; term++ {
			for g := range uint16(3) {
				f.put(LeaderChange{Group: g, Leading: true, Term: term})
				f.put(LeaderChange{Group: g, Leading: term == 50, Term: term})
			}
			synctest.Wait() // so that run holds an old change in its hand
		}
		last := map[uint16]LeaderChange{}
		n := 0
		for range 3 {
			c := <-f.out
			last[c.Group] = c
			n++
			synctest.Wait()
		}
		select {
		case c := <-f.out:
			t.Errorf("a change too many: %+v", c)
		default:
		}
		for g := range uint16(3) {
			if want := (LeaderChange{g, true, 50}); last[g] != want {
				t.Errorf("group %d: last word %+v, want %+v", g, last[g], want)
			}
		}
		close(stop)
		if _, open := <-f.out; open {
			t.Error("the channel stays open")
		}
	})
}
