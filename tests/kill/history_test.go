package kill

import (
	"fmt"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// line is a line of an account's history.
type line struct {
	at              time.Time // to the millisecond
	what            credential.What
	reason, attempt string
	generation      uint64
}

// String names the line in the report of a failed test.
func (l line) String() string {
	return fmt.Sprintf("generation %d: %s %s attempt %s at %s", l.generation, l.what, l.reason, l.attempt, l.at.Format(time.StampMilli))
}

func fromAPI(l wire.HistoryLine) line {
	return line{l.At.Time, credential.What(l.What), l.Reason, l.Attempt, l.Generation}
}

func fromStore(l credential.Line) line {
	return line{l.At.UTC().Truncate(time.Millisecond), l.What, l.Reason, l.Attempt, l.Generation}
}

// history is all that happened to an account. The node keeps the newest lines
// only, so they are collected while it runs.
type history []line

// next is the number of the first line that is not known yet.
func (h history) next() uint64 { return uint64(len(h)) }

// add takes the line of a number in. A line that is known must be the same
// again, and none may be missing.
func (h *history) add(number uint64, l line) error {
	switch {
	case number < h.next():
		if old := (*h)[number]; !old.at.Equal(l.at) || old.what != l.what || old.reason != l.reason || old.attempt != l.attempt || old.generation != l.generation {
			return brokenf("line %d of the history was %q and is %q", number, old, l)
		}
	case number > h.next():
		return brokenf("line %d of the history is missing, there is a line %d", h.next(), number)
	default:
		*h = append(*h, l)
	}
	return nil
}

// count returns how many lines say one of the words.
func (h history) count(words ...credential.What) (n int) {
	for _, l := range h {
		for _, w := range words {
			if l.what == w {
				n++
			}
		}
	}
	return n
}

// checkGenerations sees that every generation was brought by exactly one line:
// a record and its history are written together or not at all.
func (h history) checkGenerations(newest uint64) error {
	brought := map[uint64]int{}
	for _, l := range h {
		switch l.what {
		case credential.WhatCreated, credential.WhatImported, credential.WhatReactivated, credential.WhatRefreshed:
			brought[l.generation]++
		}
	}
	for g := uint64(1); g <= newest; g++ {
		if brought[g] != 1 {
			return brokenf("generation %d was brought by %d lines of the history", g, brought[g])
		}
	}
	if uint64(len(brought)) != newest {
		return brokenf("the history knows %d generations, the newest is %d", len(brought), newest)
	}
	return nil
}
