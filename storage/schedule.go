package storage

import (
	"fmt"
	"time"

	"github.com/grantd/grantd/credential"
)

// DueItem is an entry of the schedule: the account is to be refreshed at that
// time. It is a hint: whoever acts on it reads the record, which may have moved
// on meanwhile.
type DueItem struct {
	At  time.Time
	Ref credential.Ref
}

// DueKey is a place in the schedule; the zero DueKey is its beginning.
type DueKey struct {
	At  time.Time
	Ref credential.Ref
}

// Key returns the item's place, to go on after it.
func (d DueItem) Key() DueKey { return DueKey(d) }

// Due returns up to limit entries of the schedule that come after the given
// place and are not later than until, in order of time. It reads no more than
// it returns.
func (g *Group) Due(until time.Time, after DueKey, limit int) ([]DueItem, error) {
	var due []DueItem
	err := g.due(after, func(d DueItem) bool {
		if len(due) >= limit || d.At.After(until) {
			return false
		}
		due = append(due, d)
		return len(due) < limit
	})
	return due, err
}

// NextDue returns the time of the first entry after the given place; false
// where there is none.
func (g *Group) NextDue(after DueKey) (at time.Time, ok bool, err error) {
	err = g.due(after, func(d DueItem) bool {
		at, ok = d.At, true
		return false
	})
	return at, ok, err
}

// due calls fn with the entries after the given place until fn returns false.
func (g *Group) due(from DueKey, fn func(DueItem) bool) error {
	lo := []byte{tagSchedule}
	if from != (DueKey{}) {
		lo = after(scheduleKey(from.At, from.Ref))
	}
	err := g.Scan(lo, []byte{tagSchedule + 1}, func(key, _ []byte, _ uint64) (bool, error) {
		d, err := parseScheduleKey(key)
		if err != nil {
			return false, err
		}
		return fn(d), nil
	})
	if err != nil {
		return fmt.Errorf("read the schedule: %w", err)
	}
	return nil
}
