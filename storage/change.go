package storage

import (
	"fmt"

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

// Change is one step of an account: its new record, and what there is to tell
// about it. It is committed as a whole or not at all.
type Change struct {
	Ref credential.Ref
	// Expect is the revision of the record that was read, as [Group.Account]
	// gave it; 0: the account must not exist.
	Expect uint64
	Before *credential.Account // the record that was read; nil if Expect is 0
	// After is the new record. Its HistoryNext is ignored; see [Change.Written].
	After  credential.Account
	Lines  []credential.Line  // added to the account's history, at most HistoryLines
	Events []credential.Event // added to the shard's outbox
}

// Written returns the record as Encode writes it: After with its HistoryNext.
// It is what to keep as the next change's Before once this one is committed;
// the revision is then the index of its entry.
func (c Change) Written() credential.Account {
	a := c.After
	a.HistoryNext = c.firstLine() + uint64(len(c.Lines))
	return a
}

func (c Change) firstLine() uint64 {
	if c.Before == nil {
		return 0
	}
	return c.Before.HistoryNext
}

func (c Change) validate() error {
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
	return nil
}

// Encode returns the bytes to propose to the account's shard: the batch that
// takes effect only if the record is still the one that was read. It is a pure
// function. The error is ErrBadChange.
func Encode(c Change) ([]byte, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	written := c.Written()
	record, err := encodeAccount(&written)
	if err != nil {
		return nil, fmt.Errorf("encode account %s: %w", c.Ref, err)
	}
	key := accountKey(c.Ref)
	b := Batch{
		Checks: []Check{{Key: key, Revision: c.Expect}},
		Puts:   append(make([]Put, 0, 2+len(c.Lines)), Put{Key: key, Value: record, KeepAbove: accountFields}),
	}
	c.schedule(&b)
	if err := c.history(&b); err != nil {
		return nil, err
	}
	if err := c.outbox(&b); err != nil {
		return nil, err
	}
	return b.Encode()
}

// schedule moves the account's entry in the schedule with the record.
func (c Change) schedule(b *Batch) {
	next := c.After.NextRefreshAt
	if c.Before != nil && !c.Before.NextRefreshAt.IsZero() {
		if c.Before.NextRefreshAt.Equal(next) {
			return
		}
		b.Deletes = append(b.Deletes, scheduleKey(c.Before.NextRefreshAt, c.Ref))
	}
	if !next.IsZero() {
		b.Puts = append(b.Puts, Put{Key: scheduleKey(next, c.Ref)})
	}
}

// history adds the lines and deletes as many of the oldest. Lines are deleted
// one by one: a range tombstone would cost every later reader more.
func (c Change) history(b *Batch) error {
	for i := range c.Lines {
		v, err := encodeLine(&c.Lines[i])
		if err != nil {
			return fmt.Errorf("encode history of %s: %w", c.Ref, err)
		}
		number := c.firstLine() + uint64(i)
		b.Puts = append(b.Puts, Put{Key: historyKey(c.Ref, number), Value: v})
		if number >= HistoryLines {
			b.Deletes = append(b.Deletes, historyKey(c.Ref, number-HistoryLines))
		}
	}
	return nil
}

func (c Change) outbox(b *Batch) error {
	for i := range c.Events {
		v, err := encodeEvent(&c.Events[i])
		if err != nil {
			return fmt.Errorf("encode event of %s: %w", c.Ref, err)
		}
		b.Appends = append(b.Appends, Append{Prefix: []byte{tagEvent}, Value: v, Keep: OutboxEvents})
	}
	return nil
}
