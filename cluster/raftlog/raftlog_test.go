package raftlog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestRaftSpeaksThroughSlogFromWarnOn(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), 7, false)
	l.Info("chatter")
	l.Debug("chatter")
	l.Trace("chatter")
	if out.Len() > 0 || l.IsInfo() || !l.IsWarn() {
		t.Errorf("below warn: %s", out.String())
	}
	l.With("peer", "n2").Named("sub").Warn("slow", "took", hclog.Fmt("%d ms", 12))
	l.StandardLogger(nil).Print("plain")
	for _, want := range []string{"level=WARN", "group=7", "peer=n2", "raft.sub: slow", `took="12 ms"`, "raft: plain"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %s", want, out.String())
		}
	}
}

// TestLoneVoterStartsSilently: its election is no news.
func TestLoneVoterStartsSilently(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)), 7, true)
	l.Warn("heartbeat timeout reached, starting election")
	if out.Len() > 0 {
		t.Error(out.String())
	}
	l.Error("broken")
	if !strings.Contains(out.String(), "level=ERROR") {
		t.Error("errors are lost")
	}
}
