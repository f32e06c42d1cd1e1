package credential

import "time"

// Revocation is a grant of a disconnected account that is still to be ended at
// its provider. It is the only place that holds the account's tokens then, and
// nobody is handed them.
type Revocation struct {
	ID string // unique within its account
	// Account is the record as it was: its tokens, sealed, and what is needed to
	// reach the provider.
	Account Account
	Since   time.Time // when the account was disconnected
	At      time.Time // when it is tried next
	Tries   int       // that failed
	// Revision is that of the stored revocation; 0: it is not stored yet.
	Revision uint64
}
