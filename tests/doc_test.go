// Package tests holds the tests of the whole: grantd's binary against
// authorization servers that others wrote, its dashboard in a real browser, the
// demo provider against one of those servers, the rules of DESIGN.md about which
// package may import which, and the commands in the documents. What a package
// promises by itself is tested beside its code.
package tests

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(binary.dir)
		os.Exit(code)
	}))
}
