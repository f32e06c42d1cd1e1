package witness

import (
	"fmt"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// Line is a line of an account's history.
type Line struct {
	At              time.Time // to the millisecond
	What            credential.What
	Reason, Attempt string
	Generation      uint64
	Node            string // that wrote it
}

// String names the line in the report of a failed test.
func (l Line) String() string {
	return fmt.Sprintf("generation %d: %s %s attempt %s at %s by %s", l.Generation, l.What, l.Reason, l.Attempt, l.At.Format(time.StampMilli), l.Node)
}

func (l Line) same(m Line) bool {
	at := l.At.Equal(m.At)
	l.At, m.At = time.Time{}, time.Time{}
	return at && l == m
}

// FromAPI is a line as the API tells it.
func FromAPI(l wire.HistoryLine) Line {
	return Line{l.At.Time, credential.What(l.What), l.Reason, l.Attempt, l.Generation, l.Node}
}

// FromStore is a line as the store holds it.
func FromStore(l credential.Line) Line {
	return Line{l.At.UTC().Truncate(time.Millisecond), l.What, l.Reason, l.Attempt, l.Generation, l.Node}
}

// History is all that happened to an account. The node keeps the newest lines
// only, so they are collected while it runs.
type History []Line

// Next is the number of the first line that is not known yet.
func (h History) Next() uint64 { return uint64(len(h)) }

// Add takes the line of a number in. A line that is known must be the same
// again, and none may be missing.
func (h *History) Add(number uint64, l Line) error {
	switch {
	case number < h.Next():
		if old := (*h)[number]; !l.same(old) {
			return Brokenf("line %d of the history was %q and is %q", number, old, l)
		}
	case number > h.Next():
		return Brokenf("line %d of the history is missing, there is a line %d", h.Next(), number)
	default:
		*h = append(*h, l)
	}
	return nil
}

// Count returns how many lines say one of the words.
func (h History) Count(words ...credential.What) (n int) {
	for _, l := range h {
		for _, w := range words {
			if l.What == w {
				n++
			}
		}
	}
	return n
}

// CheckGenerations sees that every generation was brought by exactly one line:
// a record and its history are written together or not at all.
func (h History) CheckGenerations(newest uint64) error {
	brought := map[uint64]int{}
	for _, l := range h {
		switch l.What {
		case credential.WhatCreated, credential.WhatImported, credential.WhatReactivated, credential.WhatRefreshed:
			brought[l.Generation]++
		}
	}
	for g := uint64(1); g <= newest; g++ {
		if brought[g] != 1 {
			return Brokenf("generation %d was brought by %d lines of the history", g, brought[g])
		}
	}
	if uint64(len(brought)) != newest {
		return Brokenf("the history knows %d generations, the newest is %d", len(brought), newest)
	}
	return nil
}
