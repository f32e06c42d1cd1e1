package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Story tells what happened to an account, in the order of time: what was asked
// for, what was sent, what the history says, and when processes ended. It is
// for the report of a failure.
func (e *Evidence) Story(c *Case) string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	add := func(at time.Time, format string, args ...any) {
		lines = append(lines, line{at, fmt.Sprintf(format, args...)})
	}
	r := &report{Evidence: e, owner: owners(e.Cases)}
	for _, op := range c.Book.Ops {
		add(op.At, "%s %s, acknowledged %v, generation %d", op.Kind, op.Grant, op.Acked, op.Generation)
	}
	for _, x := range r.of(c) {
		got := "no answer"
		if !x.Got.IsZero() {
			got = fmt.Sprintf("%d %s %.4s at %s", x.Status, x.Code, x.Access, x.Got.Format(clockFormat))
		}
		add(x.Sent, "request of process %d with %.4s of %s, sent %v, until %s: %s, lost %v", x.Process, x.Presented, x.Grant, x.Reached, x.Ended.Format(clockFormat), got, r.lost(x))
	}
	for _, l := range c.Lines {
		add(l.At, "history %d: %s %s (%s) generation %d", l.Number, l.What, l.Reason, l.Detail, l.Generation)
	}
	for _, p := range e.Processes {
		if !p.CrashedAt.IsZero() {
			add(p.CrashedAt, "process %d crashes; journal %v", p.Number, p.Journal)
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	fmt.Fprintf(&b, "the story of %s, which ends as %+v and %+v:\n", c.Ref, c.Record, c.Final)
	for _, l := range lines {
		fmt.Fprintf(&b, "  %s %s\n", l.at.Format(clockFormat), l.text)
	}
	return b.String()
}

const clockFormat = "15:04:05.000"
