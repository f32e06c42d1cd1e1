// Package cluster holds the tests of whole clusters: real grantd processes on
// loopback addresses of their own, with real certificates, beside the strict
// provider in the process of the test. They form, refuse who does not fit, stand
// strangers at every port, change certificates and keys, are upgraded and shut
// down, while callers ask for tokens; and one test goes the whole way from a grant
// that a real server revoked to a job that goes on. What becomes of them when
// things break is left to the chaos tests and the simulation.
//
// GRANTD_CLUSTER_LONG=1 makes the tests longer: more orders, more rounds.
package cluster

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if dir := programs.dir; dir != "" {
			_ = os.RemoveAll(dir)
		}
		os.Exit(code)
	}))
}

// long says whether there is time for more.
func long() bool { return os.Getenv("GRANTD_CLUSTER_LONG") != "" }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
