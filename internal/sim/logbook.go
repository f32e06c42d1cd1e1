package sim

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logbook keeps the newest lines of what the node logged and what was done to
// it, for the report of a run that failed.
type logbook struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

// logLines is how many lines are kept.
const logLines = 300

func newLogbook() *logbook { return &logbook{start: time.Now()} }

// note adds a line of the simulation's own.
func (l *logbook) note(format string, args ...any) { l.add("---- " + fmt.Sprintf(format, args...)) }

func (l *logbook) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf("%12v %s", time.Since(l.start), line))
	if len(l.lines) > 2*logLines {
		l.lines = append(l.lines[:0], l.lines[len(l.lines)-logLines:]...)
	}
}

// Write takes lines of a slog.TextHandler.
func (l *logbook) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(`msg="raft: failed to`)) {
		return len(b), nil // of each try to reach a node that is not there
	}
	l.add(strings.TrimSpace(string(b)))
	return len(b), nil
}

// logger returns a logger for one process.
func (l *logbook) logger(process int) *slog.Logger {
	leaveOut := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	h := slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: leaveOut})
	return slog.New(h).With("process", process)
}

// String returns the newest lines.
func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-logLines):], "\n")
}
