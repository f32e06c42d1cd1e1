package chaos

import (
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tickTime is how often a condition is looked at.
const tickTime = 50 * time.Millisecond

// eventually waits until fn succeeds.
func eventually(t *testing.T, atMost time.Duration, what string, fn func() error) {
	t.Helper()
	end := time.NewTimer(atMost)
	defer end.Stop()
	tick := time.NewTicker(tickTime)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("%s: not within %v: %v", what, atMost, err)
		}
	}
}
