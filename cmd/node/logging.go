package main

import (
	"io"
	"log/slog"

	"github.com/grantd/grantd/internal/config"
)

// newLogger writes to w what the configuration asks for. The level and format
// have been validated; what is not known counts as the default.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
