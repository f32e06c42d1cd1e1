package quirks

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/grantd/grantd/catalog"
)

// idle are fields without which a replay goes as well, and why.
var idle = map[string]string{
	"answer_scope_separator": "scope_separator counts in answers too, where it is the same",
	"misconfigured_errors":   "no replay has a client that is set up wrongly",
}

// TestNoReplayPassesWithoutItsQuirk takes each special field away from each
// provider: the replay has to notice, or it shows nothing.
func TestNoReplayPassesWithoutItsQuirk(t *testing.T) {
	c, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for name, f := range fixtures(t) {
		p, _ := c.Get(name)
		raw, err := json.Marshal(p)
		var fields map[string]json.RawMessage
		if err != nil || json.Unmarshal(raw, &fields) != nil {
			t.Fatal(err)
		}
		for _, field := range special {
			if fields[field] == nil || idle[field] != "" || slices.Contains(f.Idle, field) {
				continue
			}
			less, err := catalog.Override(p, map[string]json.RawMessage{field: json.RawMessage("null")})
			if err != nil {
				continue // what is left cannot be: the check notices
			}
			tried++
			t.Run(name+" without "+field, func(t *testing.T) {
				if passes(t, less, f) {
					t.Errorf("the replay passes all the same; let the fixture show what %s is for", field)
				}
			})
		}
	}
	if tried < 50 {
		t.Errorf("only %d fields were taken away", tried)
	}
}

func passes(t *testing.T, p catalog.Provider, f *fixture) bool {
	q := &quiet{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		newStage(q, p, f).play()
	}()
	<-done
	return !q.failed
}

// quiet is a test whose failures are noted only. It belongs to one goroutine.
type quiet struct {
	testing.TB
	failed bool
}

// Error implements testing.TB.
func (q *quiet) Error(...any) { q.failed = true }

// Errorf implements testing.TB.
func (q *quiet) Errorf(string, ...any) { q.failed = true }

// Fatal implements testing.TB.
func (q *quiet) Fatal(...any) { q.failed = true; runtime.Goexit() }

// Fatalf implements testing.TB.
func (q *quiet) Fatalf(format string, args ...any) { q.Fatal(fmt.Sprintf(format, args...)) }
