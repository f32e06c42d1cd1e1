package main

import (
	"strings"
	"testing"

	"github.com/grantd/grantd/bench/herd"
)

func TestHerdFlagsThatCannotBe(t *testing.T) {
	for _, args := range []string{"--callers 0", "--accounts 0", "--connections -1", "--timeout 0s", "--callers 2 --accounts 3", "--provider nowhere"} {
		got := runWith(nil, "", append([]string{"herd", "--key", testKey}, strings.Fields(args)...)...)
		if got.code != exitUsage || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s: exit %d, stderr %q", args, got.code, got.stderr)
		}
	}
}

func TestAHerdThatIsNotServedFails(t *testing.T) {
	for _, tc := range []struct {
		result herd.Result
		failed bool
	}{
		{herd.Result{Callers: 10, ProviderRequests: 1}, false},
		{herd.Result{Callers: 10, Failures: 1}, true},
		{herd.Result{Callers: 10, Replays: 1}, true},
	} {
		if err := verdict(tc.result); (err != nil) != tc.failed {
			t.Errorf("%+v: %v", tc.result, err)
		}
	}
	f := newFakeServer(t)
	got := f.against("", "herd", "--callers", "2", "--provider", f.URL)
	if got.code != exitFailed || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("a provider that is none: exit %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
	}
}
