package gossip

import (
	"fmt"
	"log"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemberlistSpeaksThroughSlog(t *testing.T) {
	out := newLogbook()
	h := newHerald(out.logger())
	l := log.New(h, "", 0)
	l.Print("[DEBUG] memberlist: chatter")
	l.Print("[INFO] memberlist: chatter")
	l.Printf("[ERR] memberlist: Decrypt packet failed: %v", "no key")
	l.Print("[WARN] memberlist: odd")
	l.Print("Err: no level")
	l.Print("[WARN] " + strings.Repeat("long", 1000))
	h.say(slog.LevelError, "ours")
	h.drain()
	got := out.String()
	for _, want := range []string{
		`level=WARN msg="gossip: memberlist: Decrypt packet failed: no key"`, `level=WARN msg="gossip: memberlist: odd"`,
		`level=WARN msg="gossip: Err: no level"`, `level=ERROR msg="gossip: ours"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "chatter") || len(got) > 1500 {
		t.Errorf("too much:\n%s", got)
	}
}

func TestLogIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newLogbook()
		h := newHerald(out.logger())
		lines := func() int { return strings.Count(out.String(), "\n") }
		for range 1000 {
			h.say(slog.LevelWarn, "the same")
			h.drain()
		}
		if n := lines(); n != 1 {
			t.Errorf("the same line was logged %d times", n)
		}
		<-time.After(2 * time.Minute)
		h.say(slog.LevelWarn, "the same")
		h.drain()
		if !strings.Contains(out.String(), "suppressed=999") || lines() != 2 {
			t.Errorf("later:\n%s", out)
		}
		<-time.After(2 * time.Minute)
		for i := range 10000 {
			h.say(slog.LevelWarn, fmt.Sprint("line ", i))
			h.drain()
		}
		for i := range 10000 { // nobody drains
			h.say(slog.LevelWarn, fmt.Sprint("row ", i))
		}
		if n := lines(); n > 2+linesAtOnce {
			t.Errorf("%d lines", n)
		}
	})
}
