package httpapi

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
)

const (
	headerRequestID = "X-Request-Id"
	// logRequestID is the key of the request's id in log lines.
	logRequestID = "request_id"
	maxRequestID = 64
)

// RequestID returns the id of the HTTP request that ctx belongs to; empty if
// it belongs to none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// requestIDOf takes over the id that the caller sent, if it is one that can
// stand in a log line, and makes one else. The id ties log lines together; it
// proves nothing.
func requestIDOf(sent string) string {
	if validRequestID(sent) {
		return sent
	}
	var b [16]byte
	return string(strconv.AppendUint(b[:0], rand.Uint64()|1<<60, 32))
}

func validRequestID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// LogHandler adds the request's id to every line that is logged with the
// context of a request. Wrap the handler of the whole node in it once, so that
// the lines of the actors carry the id too.
func LogHandler(next slog.Handler) slog.Handler { return logHandler{next} }

type logHandler struct{ slog.Handler }

// Handle adds the id and passes the line on.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r.AddAttrs(slog.String(logRequestID, id))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the wrapping.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the wrapping.
func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.Handler.WithGroup(name)}
}
