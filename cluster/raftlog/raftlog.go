// Package raftlog lets the raft library speak through slog.
//
// It promises that lines below the level are dropped before anything is
// formatted, and that every line names its group of keys. It decides nothing
// about where lines go.
package raftlog

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// logger hands raft's log lines to slog. Lines below level are dropped before
// anything is formatted. It is safe for concurrent use.
type logger struct {
	out   *slog.Logger
	level hclog.Level
	name  string
	args  []any
}

// New returns a logger for one group's raft. Its lines are those of warnings
// and worse. Raft warns of every election, which for a group of one voter is
// the normal start, so that lone asks for errors only.
func New(out *slog.Logger, group uint16, lone bool) hclog.Logger {
	level := hclog.Warn
	if lone {
		level = hclog.Error
	}
	return &logger{out: out.With("group", group), level: level, name: "raft"}
}

// Log emits a line if its level is high enough.
func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	if !l.enabled(level) {
		return
	}
	args = slices.Clone(args)
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	l.out.Log(context.Background(), slogLevel(level), l.name+": "+msg, args...)
}

func (l *logger) enabled(level hclog.Level) bool {
	return level >= l.level && level != hclog.Off
}

// slogLevel maps hclog's levels to slog's.
func slogLevel(level hclog.Level) slog.Level {
	switch {
	case level >= hclog.Error:
		return slog.LevelError
	case level == hclog.Warn:
		return slog.LevelWarn
	case level == hclog.Info:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}

// Trace emits a line at the lowest level.
func (l *logger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }

// Debug emits a line for developers.
func (l *logger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }

// Info emits a line about normal operation.
func (l *logger) Info(msg string, args ...any) { l.Log(hclog.Info, msg, args...) }

// Warn emits a line about something unusual.
func (l *logger) Warn(msg string, args ...any) { l.Log(hclog.Warn, msg, args...) }

// Error emits a line about something that failed.
func (l *logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

// IsTrace reports whether Trace emits anything.
func (l *logger) IsTrace() bool { return l.enabled(hclog.Trace) }

// IsDebug reports whether Debug emits anything.
func (l *logger) IsDebug() bool { return l.enabled(hclog.Debug) }

// IsInfo reports whether Info emits anything.
func (l *logger) IsInfo() bool { return l.enabled(hclog.Info) }

// IsWarn reports whether Warn emits anything.
func (l *logger) IsWarn() bool { return l.enabled(hclog.Warn) }

// IsError reports whether Error emits anything.
func (l *logger) IsError() bool { return l.enabled(hclog.Error) }

// ImpliedArgs returns what With has added.
func (l *logger) ImpliedArgs() []any { return l.args }

// With returns a logger that adds args to every line.
func (l *logger) With(args ...any) hclog.Logger {
	c := *l
	c.out = l.out.With(args...)
	c.args = slices.Concat(l.args, args)
	return &c
}

// Name returns the word that begins every line.
func (l *logger) Name() string { return l.name }

// Named returns a logger whose lines begin with one word more.
func (l *logger) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

// ResetNamed returns a logger whose lines begin with name.
func (l *logger) ResetNamed(name string) hclog.Logger {
	c := *l
	c.name = name
	return &c
}

// SetLevel does nothing: the level is fixed when the group starts.
func (l *logger) SetLevel(hclog.Level) {}

// GetLevel returns the lowest level that is emitted.
func (l *logger) GetLevel() hclog.Level { return l.level }

// StandardLogger returns a logger of package log whose lines are warnings.
func (l *logger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

// StandardWriter returns a writer that emits each write as a warning.
func (l *logger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return writer{l} }

// writer is the writer of [logger.StandardWriter].
type writer struct{ l *logger }

// Write emits p as one warning.
func (w writer) Write(p []byte) (int, error) {
	w.l.Warn(string(p))
	return len(p), nil
}
