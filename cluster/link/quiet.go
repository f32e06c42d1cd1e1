package link

import (
	"log/slog"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// quiet logs warnings whose number others decide: ten at once, then one a
// second. It counts what it leaves out. It is safe for concurrent use.
type quiet struct {
	log    *slog.Logger
	limit  *rate.Limiter
	missed atomic.Int64
}

func newQuiet(log *slog.Logger) *quiet { return &quiet{log: log, limit: rate.NewLimiter(1, 10)} }

func (q *quiet) warn(msg string, args ...any) {
	if !q.limit.Allow() {
		q.missed.Add(1)
		return
	}
	if n := q.missed.Swap(0); n > 0 {
		args = append(args, "left_out_before", n)
	}
	q.log.Warn(msg, args...)
}
