package storage

import (
	"bytes"
	"errors"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
)

// After a failed sync Pebble no longer knows what is on the disk. If the
// process went on, it would acknowledge what is not there.
func TestDiskFaultEndsTheProcessAndNothingMoreIsAcknowledged(t *testing.T) {
	for _, where := range []string{"sync of the log", "write to the log", "any table", "the manifest"} {
		for fault, word := range map[string]string{"full": "disk full: free space", "broken": "disk fault"} {
			t.Run(where+" "+fault, func(t *testing.T) {
				cmd := child(t, where, fault)
				var out, log bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &log
				err := cmd.Run()
				if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
					t.Fatalf("ended with %v, want status 1\n%s%s", err, &out, &log)
				}
				if !strings.Contains(log.String(), word) {
					t.Errorf("log lacks %q:\n%s", word, &log)
				}
				_, after, found := strings.Cut(out.String(), "fault\n")
				if !found {
					t.Fatalf("the fault never came:\n%s", &out)
				}
				ofLog := strings.HasSuffix(where, "log")
				if ofLog && strings.Contains(after, "acknowledged") {
					t.Errorf("acknowledged after the fault:\n%s", after)
				}
			})
		}
	}
}

func TestFatalThatReturnsDoesNotLetTheWriterGoOn(t *testing.T) {
	var reason string
	f := failer{logger: slog.New(slog.DiscardHandler), fatal: func(r string) { reason = r }}
	defer func() {
		if p, ok := recover().(string); !ok || !strings.Contains(p, "boom") || !strings.Contains(reason, "boom") {
			t.Errorf("recovered %q, reason %q", p, reason)
		}
	}()
	f.Fatalf("%s", "boom")
	t.Error("it returned")
}
