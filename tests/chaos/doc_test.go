// Package chaos holds the test of a cluster that is broken: three real grantd
// processes, each in a network namespace with an address of its own, are
// killed, cut off, paused, and given disks that fail, while callers use them and
// the strict provider, which lives in the process of the test, records what it
// was asked. From that record, from what the callers were told and from the
// accounts' histories it is judged whether the cluster kept its promises, and
// what became of every refresh that was interrupted.
//
// It needs Linux, root, iproute2 and nftables. What it makes (namespaces,
// links, file systems) bears names of its own and is removed afterwards; what a
// run that was killed left is removed by the next.
//
// A power cut, which loses unsynced writes too, is left to the simulation.
package chaos

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(code) }))
}
