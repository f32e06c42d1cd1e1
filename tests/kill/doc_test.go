// Package kill holds the test of a node that dies: a real grantd process is
// killed more than a hundred times, at every point of a refresh, while callers
// use it and the strict provider, which survives in the process of the test,
// records what it was asked. From that record, from what the callers were told
// and from the store in the end the invariants I1 to I6 of DESIGN.md are
// checked. What becomes of a power cut, which loses unsynced writes too, is left
// to the simulation.
package kill

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(code) }))
}
