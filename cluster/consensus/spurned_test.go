package consensus

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLeadershipIsOfferedAgainOnceTheNodeIsFed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s spurned
		lately := func(want bool, when string) {
			t.Helper()
			if s.lately(3, "n2") != want {
				t.Errorf("%s: offered is %v", when, want)
			}
		}
		lately(false, "before any attempt")
		earlier := time.Now()
		time.Sleep(time.Millisecond)
		s.add(3, "n2")
		lately(true, "after a failure")
		if s.lately(3, "n3") || s.lately(4, "n2") {
			t.Error("another node is held back, or another term")
		}
		s.fed("n2", earlier)
		lately(true, "an answer to what was sent before")
		s.fed("n3", time.Now())
		lately(true, "another node's answer")
		time.Sleep(time.Millisecond)
		s.fed("n2", time.Now())
		lately(false, "its answer")
		s.add(3, "n2")
		time.Sleep(transferRest)
		lately(false, "nothing was heard for long")
		s.add(4, "n3")
		lately(false, "in a new term")
	})
}
