// Package browser runs the scripts beside it, which use pages as people do, in a
// real browser that shows nothing on a screen.
//
// It promises that a script ends in bounded time, and with it the browser, and
// that what it complained of is shown where it did not get to its end. What the
// scripts do and print each says itself; what that ought to be is left to the
// tests.
package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Browser is a browser and what drives it.
type Browser struct {
	// Executable is the browser's path, which the scripts are told.
	Executable string

	dir, node string
}

// Find finds the programs; the test fails at once where one is missing. dir is
// the folder of this package as the test sees it.
func Find(t testing.TB, dir string) Browser {
	t.Helper()
	b := Browser{dir: dir}
	for _, name := range []string{"chromium", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			b.Executable = path
			break
		}
	}
	if b.Executable == "" {
		t.Fatal("pages are tested in Chromium or Chrome, and neither is in PATH: install one (.ci/run does)")
	}
	var err error
	if b.node, err = exec.LookPath("node"); err != nil {
		t.Fatalf("the browser is driven by Node.js 20 or newer: install it and npm (.ci/run does), then run make deps: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "playwright-core")); err != nil {
		t.Fatalf("what drives the browser is not installed: run make deps, or npm ci in tests/browser: %v", err)
	}
	return b
}

// patience bounds a script, which takes some 10 s where nothing else runs.
const patience = 3 * time.Minute

// Run runs a script with in as its standard input, in JSON, and reads what it
// prints into out. The test fails at once where it does not get to its end.
func (b Browser) Run(t testing.TB, script string, in, out any) {
	t.Helper()
	stdin, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.node, script)
	cmd.Dir, cmd.Stdin, cmd.WaitDelay = b.dir, bytes.NewReader(stdin), 10*time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("browser/%s did not get to its end: %v\n%s", script, err, &stderr)
	}
	t.Logf("browser/%s:\n%s", script, &stderr)
	if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
		t.Fatalf("browser/%s printed no JSON: %v", script, err)
	}
}
