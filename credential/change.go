package credential

import "time"

// Change is one atomic write to an account: the record, its schedule entry,
// what its history and its subscribers are told. It takes effect only if the
// record is still the one that the change was computed from.
type Change struct {
	Ref    Ref
	Expect uint64   // revision that was read; 0: the account must not exist
	Before *Account // the record at that revision; nil where Expect is 0
	After  Account
	Lines  []Line
	Events []Event
	// Revoke are grants of the account that are to be revoked from now on, and
	// Revoked those that need not be any more.
	Revoke, Revoked []Revocation
}

// Due is an entry of the schedule: an account and the time of its next
// refresh. Entries are ordered by time, then account.
type Due struct {
	At          time.Time
	Ref         Ref
	Integration string
}
