package storage

import (
	"errors"
	"fmt"

	"github.com/grantd/grantd/credential"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: no such key, log entry or account.
	ErrNotFound = errors.New("not found in the store")
	// ErrInUse: another process, or another DB of this one, has the directory open.
	ErrInUse = errors.New("data directory is in use")
	// ErrNotWritable: the directory cannot be created or written to.
	ErrNotWritable = errors.New("data directory is not writable")
	// ErrForeign: the directory holds something that grantd did not write.
	ErrForeign = errors.New("directory does not hold grantd data")
	// ErrNewerFormat: a newer grantd wrote this, and this one does not
	// understand it.
	ErrNewerFormat = errors.New("written by a newer version of grantd")
	// ErrCorrupt: stored or received bytes are not what was written.
	ErrCorrupt = errors.New("data is damaged")
	// ErrBadBatch: an entry is not an encoded Batch. It changes nothing, on
	// every node alike.
	ErrBadBatch = errors.New("entry is not a batch")
	// ErrBadChange: a Change contradicts itself and was not encoded.
	ErrBadChange = errors.New("change contradicts itself")
)

// errNoAccount is both credential.ErrNotFound, for those who must not know of
// this package, and ErrNotFound.
var errNoAccount = fmt.Errorf("%w: %w", credential.ErrNotFound, ErrNotFound)

// damaged describes a stored value that cannot be read.
func damaged(what string, err error) error {
	return fmt.Errorf("%w: %s: %v; restore this node's data from a backup, or empty its data directory and let it join again", ErrCorrupt, what, err)
}
