package storage

import (
	"fmt"
	"time"

	"github.com/grantd/grantd/credential"
)

// Due returns up to limit entries of the schedule that come after the given
// one and whose time has come, in order of time and account. A zero after: from
// the first. An entry is a hint: whoever acts on it reads the record, which may
// have moved on meanwhile.
func (g *Group) Due(now time.Time, after credential.Due, limit int) ([]credential.Due, error) {
	var due []credential.Due
	err := g.due(after, func(d credential.Due) bool {
		if len(due) >= limit || d.At.After(now) {
			return false
		}
		due = append(due, d)
		return len(due) < limit
	})
	return due, err
}

// NextDue returns the time of the first entry after the given one; false
// where there is none.
func (g *Group) NextDue(after credential.Due) (at time.Time, ok bool, err error) {
	err = g.due(after, func(d credential.Due) bool {
		at, ok = d.At, true
		return false
	})
	return at, ok, err
}

// due calls fn with the entries after the given one until fn returns false.
func (g *Group) due(from credential.Due, fn func(credential.Due) bool) error {
	lo := []byte{tagSchedule}
	if from != (credential.Due{}) {
		lo = after(scheduleKey(from.At, from.Ref))
	}
	err := g.Scan(lo, []byte{tagSchedule + 1}, func(key, value []byte, _ uint64) (bool, error) {
		d, err := parseSchedule(key, value)
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
