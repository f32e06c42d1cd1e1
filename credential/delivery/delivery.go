// Package delivery holds the words of webhook deliveries: an event on its way to
// one end point, where it stands, and how lists of deliveries are asked for and
// put together.
//
// It promises that a delivery holds no secret, and that its functions do no I/O.
// It does not know who stores deliveries, who makes them, nor where the groups
// are that keep them.
package delivery

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

// State is where a delivery stands.
type State string

// The states: pending -> delivered or parked; a replay makes either pending.
const (
	Pending   State = "pending"   // to be tried, or tried again
	Delivered State = "delivered" // the end point has taken it
	Parked    State = "parked"    // tried for as long as is tried
)

// Place orders the deliveries of one end point within a group of accounts: by
// the time at which they are listed, then by the event's position in the
// group's outbox. The times only grow with the positions, so that either alone
// gives the same order. The zero Place is before all.
type Place struct {
	At  int64  `json:"at"` // nanoseconds since 1970
	Pos uint64 `json:"pos"`
}

// Compare orders places.
func (p Place) Compare(o Place) int {
	return cmp.Or(cmp.Compare(p.At, o.At), cmp.Compare(p.Pos, o.Pos))
}

// Next is the smallest place after p.
func (p Place) Next() Place {
	if p.Pos == math.MaxUint64 {
		return Place{p.At + 1, 0}
	}
	return Place{p.At, p.Pos + 1}
}

// Delivery is one event on its way to one end point. It is a value: change a
// copy.
type Delivery struct {
	Webhook string
	Place   Place
	Event   credential.Event
	State   State
	// Attempts counts the tries since the event was taken in, or replayed.
	Attempts int
	FirstAt  time.Time // the first of them
	LastAt   time.Time // the newest of them
	// NextAt is when it is tried next; zero: not while an earlier event of the
	// same account is pending, or not at all.
	NextAt time.Time

	// What came of the newest attempt.
	Latency time.Duration
	Status  int    // of HTTP; 0: there was no answer
	Answer  string // the first bytes of the body, without control characters
	Error   string // why there was no answer; no secrets
}

// Subject is whose order the delivery keeps: the account, or, of an event that
// is of none, the tenant and the integration. The text is for comparing, and as
// a part of a key: it holds no byte below 0x01 but the separators.
func (d *Delivery) Subject() string { return SubjectOf(&d.Event) }

// SubjectOf is the Subject of the deliveries of an event.
func SubjectOf(e *credential.Event) string {
	s := e.Ref.Tenant + "\x00" + e.Ref.ID
	if e.Ref.ID == "" {
		s += "\x00" + e.Integration
	}
	return s
}

// Standing is what a group knows of one end point as a whole.
type Standing struct {
	Webhook string
	// Incarnation tells an end point from an earlier one of the same id.
	Incarnation string
	// Seen is a revision at which the registry held the end point: it is gone
	// only where a newer state of the registry lacks it.
	Seen uint64
	// After is the position in the outbox after which the end point gets events.
	After uint64
	// Off: it was disabled, and got events up to After.
	Off bool
	// Open counts the pending and the parked deliveries, Parked the latter.
	Open, Parked int
	// Kept counts the delivered ones that are still listed, from KeptFrom on.
	Kept     int
	KeptFrom Place
	// Dropped counts the deliveries that were given up because there were too
	// many open ones.
	Dropped uint64
}

// Ledger says how far a group has come with its outbox.
type Ledger struct {
	// Cursor is the position up to which events were taken in.
	Cursor uint64
	// ListedAt is the newest Place.At given.
	ListedAt int64
}

// Write replaces a delivery as it is stored by another; Before nil: it is new,
// After nil: it is forgotten. Webhook and Place are the same in both.
type Write struct{ Before, After *Delivery }

// Step is one atomic change of a group's deliveries. It takes effect only if the
// ledger is at the revision that was read; 0: there was none.
type Step struct {
	Expect    uint64
	Ledger    Ledger
	Purge     []string // end points of which everything is forgotten, first of all
	Writes    []Write
	Standings []Standing // as they are afterwards
}

// idLen is the length of a delivery's id before it is encoded: group, time and
// position.
const idLen = 2 + 8 + 8

const idPrefix = "dlv_"

// ID is the name of a delivery of a group, unique for its end point.
func ID(group uint16, p Place) string {
	b := make([]byte, 0, idLen)
	b = binary.BigEndian.AppendUint16(b, group)
	b = binary.BigEndian.AppendUint64(b, uint64(p.At))
	b = binary.BigEndian.AppendUint64(b, p.Pos)
	return idPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseID reads what ID returned. The error is a credential.ErrBadName.
func ParseID(id string) (group uint16, p Place, err error) {
	text, ok := strings.CutPrefix(id, idPrefix)
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(b) != idLen {
		return 0, Place{}, fmt.Errorf("%w: this is no id of a delivery; take one from the list of deliveries", credential.ErrBadName)
	}
	return binary.BigEndian.Uint16(b), Place{int64(binary.BigEndian.Uint64(b[2:])), binary.BigEndian.Uint64(b[10:])}, nil
}
