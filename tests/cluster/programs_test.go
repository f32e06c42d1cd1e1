package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/grantd/grantd/tests/process"
)

// programs are what the tests run, built once.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

// program returns the path of grantd, of certs, which makes certificates, or of
// pausingjob, an example.
func program(t testing.TB, name string) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.err = process.DependsOn("../.."); programs.err != nil {
			return
		}
		if programs.dir, programs.err = os.MkdirTemp("", "grantd-cluster-"); programs.err != nil {
			return
		}
		for name, pkg := range map[string]string{"grantd": "./cmd/node", "certs": "./scripts/certs", "pausingjob": "./client/examples/pausingjob"} {
			if programs.err = build("../..", pkg, filepath.Join(programs.dir, name)); programs.err != nil {
				return
			}
		}
	})
	must(t, programs.err)
	return filepath.Join(programs.dir, name)
}

// build makes a program of the sources in a folder. The race detector is left
// out: it makes nodes so slow that they miss their times.
func build(sources, pkg, into string) error {
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", into, pkg)
	cmd.Dir = sources
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
