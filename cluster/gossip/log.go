package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// line is something to log.
type line struct {
	level slog.Level
	text  string
}

// herald logs what memberlist and its callbacks have to say. They write lines
// with locks held and for every packet of a stranger, so writing never waits,
// and of many lines few are logged.
type herald struct {
	out   *slog.Logger
	lines chan line
	lost  atomic.Int64 // lines that were not logged, since the last one that was

	// Of the goroutine that logs:
	rate   *rate.Limiter
	lately map[string]time.Time // when a text was logged last
}

const (
	maxLine      = 300         // bytes of a line
	maxWaiting   = 64          // lines
	maxLately    = 128         // texts
	linesAtOnce  = 20          // lines, then one a second
	sameLineOnce = time.Minute // how long the same text is not logged again
)

func newHerald(out *slog.Logger) *herald {
	return &herald{
		out:    out,
		lines:  make(chan line, maxWaiting),
		rate:   rate.NewLimiter(rate.Every(time.Second), linesAtOnce),
		lately: map[string]time.Time{},
	}
}

// say has a line logged, if not too many are.
func (h *herald) say(level slog.Level, text string) {
	if !h.out.Enabled(context.Background(), level) {
		return
	}
	if len(text) > maxLine {
		text = text[:maxLine] + "..."
	}
	select {
	case h.lines <- line{level, text}:
	default:
		h.lost.Add(1)
	}
}

// Write takes a line of memberlist's logger, which begins with its level. Most
// of its errors are other nodes' or strangers', so they are warnings here; what
// it does all day is for debugging.
func (h *herald) Write(p []byte) (int, error) {
	level, text := slog.LevelWarn, bytes.TrimSpace(p)
	if word, rest, ok := bytes.Cut(text, []byte("] ")); ok && bytes.HasPrefix(word, []byte("[")) {
		switch string(word[1:]) {
		case "INFO", "DEBUG":
			level = slog.LevelDebug
		}
		text = rest
	}
	h.say(level, string(text[:min(len(text), maxLine+1)]))
	return len(p), nil
}

// log logs one line. Only one goroutine calls it.
func (h *herald) log(l line) {
	now := time.Now()
	if at, ok := h.lately[l.text]; ok && now.Sub(at) < sameLineOnce || !h.rate.AllowN(now, 1) {
		h.lost.Add(1)
		return
	}
	if len(h.lately) >= maxLately {
		clear(h.lately)
	}
	h.lately[l.text] = now
	var args []any
	if n := h.lost.Swap(0); n > 0 {
		args = append(args, "suppressed", n)
	}
	h.out.Log(context.Background(), l.level, "gossip: "+l.text, args...)
}

// drain logs what is waiting.
func (h *herald) drain() {
	for {
		select {
		case l := <-h.lines:
			h.log(l)
		default:
			return
		}
	}
}
