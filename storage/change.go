package storage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/grantd/grantd/credential"
)

// Bounds of what is kept.
const (
	// HistoryLines is how many lines of history an account keeps: the newest.
	HistoryLines = 256
	// OutboxEvents is how many events a shard keeps: the newest. A subscriber
	// that falls further behind sees a gap in their positions.
	OutboxEvents = 10_000
)

// firstLine numbers the first line of history that the change adds.
func firstLine(c *credential.Change) uint64 {
	if c.Before == nil {
		return 0
	}
	return c.Before.HistoryNext
}

func validate(c *credential.Change) error {
	if err := c.Ref.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadChange, err)
	}
	switch {
	case c.After.Ref != c.Ref:
		return fmt.Errorf("%w: After is the record of %s, not of %s", ErrBadChange, c.After.Ref, c.Ref)
	case c.Before != nil && c.Before.Ref != c.Ref:
		return fmt.Errorf("%w: Before is the record of %s, not of %s", ErrBadChange, c.Before.Ref, c.Ref)
	case (c.Before == nil) != (c.Expect == 0):
		return fmt.Errorf("%w: %s: Before and Expect (%d) must both be given, or neither for a new account", ErrBadChange, c.Ref, c.Expect)
	case len(c.Lines) > HistoryLines:
		return fmt.Errorf("%w: %s: %d lines of history at once, at most %d are kept", ErrBadChange, c.Ref, len(c.Lines), HistoryLines)
	case len(c.Events) > OutboxEvents:
		return fmt.Errorf("%w: %s: %d events at once, at most %d are kept", ErrBadChange, c.Ref, len(c.Events), OutboxEvents)
	}
	for _, r := range slices.Concat(c.Revoke, c.Revoked) {
		if r.Account.Ref != c.Ref || r.ID == "" || strings.ContainsRune(r.ID, separator) {
			return fmt.Errorf("%w: %s: revocation %q of %s", ErrBadChange, c.Ref, r.ID, r.Account.Ref)
		}
	}
	return nil
}

// Encode returns the bytes to propose to the account's shard: the batch that
// takes effect only if the record is still the one that was read. It writes
// the record, moves its entry in the schedule, appends to its history and
// to the shard's outbox, and notes grants to be revoked. Expect is the revision that [Group.Account] gave with
// Before; the lines are numbered from Before.HistoryNext on, and After's is
// set accordingly, whatever it says. Once the entry is committed, its index is
// the record's revision.
//
// Encode is a pure function. The error is ErrBadChange.
func Encode(c credential.Change) ([]byte, error) {
	if err := validate(&c); err != nil {
		return nil, err
	}
	c.After.HistoryNext = firstLine(&c) + uint64(len(c.Lines))
	key := accountKey(c.Ref)
	b := Batch{
		Checks: []Check{{Key: key, Revision: c.Expect}},
		Puts:   append(make([]Put, 0, 2+len(c.Lines)), Put{Key: key, Value: encodeAccount(&c.After), KeepAbove: accountFields}),
	}
	addSchedule(&b, &c)
	addHistory(&b, &c)
	addEvents(&b, &c)
	addRevocations(&b, &c)
	return b.Encode()
}

// addSchedule moves the account's entry in the schedule with the record.
func addSchedule(b *Batch, c *credential.Change) {
	next := c.After.NextRefreshAt
	if c.Before != nil && !c.Before.NextRefreshAt.IsZero() {
		if c.Before.NextRefreshAt.Equal(next) && c.Before.Integration == c.After.Integration {
			return
		}
		b.Deletes = append(b.Deletes, scheduleKey(c.Before.NextRefreshAt, c.Ref))
	}
	if !next.IsZero() {
		b.Puts = append(b.Puts, Put{Key: scheduleKey(next, c.Ref), Value: []byte(c.After.Integration)})
	}
}

// addHistory adds the lines and deletes as many of the oldest. Lines are deleted
// one by one: a range tombstone would cost every later reader more.
func addHistory(b *Batch, c *credential.Change) {
	for i := range c.Lines {
		number := firstLine(c) + uint64(i)
		b.Puts = append(b.Puts, Put{Key: historyKey(c.Ref, number), Value: encodeLine(&c.Lines[i])})
		if number >= HistoryLines {
			b.Deletes = append(b.Deletes, historyKey(c.Ref, number-HistoryLines))
		}
	}
}

func addEvents(b *Batch, c *credential.Change) {
	for i := range c.Events {
		b.Appends = append(b.Appends, AppendEvent(&c.Events[i]))
	}
}
