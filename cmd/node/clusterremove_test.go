package main

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
)

func TestARemovalThatIsNotWaitedForGoesOn(t *testing.T) {
	f := newFakeServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next := f.Config.Handler
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if len(f.seen()) == 2 {
			cancel()
		}
	})
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"cluster", "remove", "n4"}, Env{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Environ: []string{envAddr + "=" + f.URL, envKey + "=" + testKey},
	})
	want := "n4 goes on leaving: it holds 5 shards yet. The same command waits for it again.\ngrantd: interrupted\n"
	if code != exitFailed || stdout.Len() > 0 || stderr.String() != want {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
	}
}

func TestARemovalThatNeverEndsIsGivenUp(t *testing.T) {
	f := newFakeServer(t)
	got := f.against("", "cluster", "remove", "n4", "--timeout", "2s")
	if got.code != exitFailed || !strings.Contains(got.stderr, "n4 goes on leaving") || !strings.HasSuffix(got.stderr, "\ngrantd: n4 is not removed after 2s\n") {
		t.Errorf("exit %d, stderr %q", got.code, got.stderr)
	}
}

func TestARemovalAsksOnATerminal(t *testing.T) {
	f := newFakeServer(t)
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"cluster", "remove", "n3"}, Env{
		Stdin: strings.NewReader("no\n"), Stdout: &stdout, Stderr: &stderr, StdinTerminal: true, Environ: []string{envAddr + "=" + f.URL, envKey + "=" + testKey},
	})
	if code != exitFailed || !strings.Contains(stderr.String(), "nothing was done") || len(f.seen()) > 0 {
		t.Errorf("exit %d, stderr %q, asked %v", code, stderr.String(), f.seen())
	}
}
