package registry

import (
	"context"
	"errors"
	"time"

	"github.com/grantd/grantd/credential"
)

// KV is the replicated store of keys and values. Every value has a revision
// that grows with each write; 0 means that the key does not exist. Methods may
// be called concurrently.
type KV interface {
	// Get returns a value and its revision, or credential.ErrNotFound, from this
	// node's own copy. It shows every write of this node that has returned.
	Get(key string) (value []byte, rev uint64, err error)
	// Scan calls fn with every key that begins with prefix, until it fails.
	Scan(prefix string, fn func(key string, value []byte, rev uint64) error) error
	// Put writes a value if the key is at the expected revision, else
	// credential.ErrConflict, and returns the new revision. It ends with ctx;
	// credential.ErrUnknownOutcome: the value may have been written.
	Put(ctx context.Context, key string, expect uint64, value []byte) (rev uint64, err error)
	// PutAndTell writes a value as Put does and adds events to the outbox beside
	// the keys, in one write: both are done, or neither.
	PutAndTell(ctx context.Context, key string, expect uint64, value []byte, events []credential.Event) (rev uint64, err error)
	// Emit adds events that come without a change of state.
	// credential.ErrUnknownOutcome: they may have been added, and receivers drop
	// doubles by their ids.
	Emit(ctx context.Context, events ...credential.Event) error
	// Delete removes a key if it is at the expected revision; errors as of Put.
	Delete(ctx context.Context, key string, expect uint64) error
	// OnChange has fn called with keys that were written, on whatever node, once
	// Get shows them; nil: any may have been. fn does not block.
	OnChange(fn func(keys []string))
}

// Prefixes of keys.
const (
	prefixIntegration = "integration/"
	prefixKey         = "key/"
	prefixKeyset      = "keyset/"
	prefixProvider    = "provider/"
	prefixSetting     = "setting/"
	prefixWebhook     = "webhook/"
)

// remembered are those whose values are kept in memory. Providers come first:
// integrations go by them.
var remembered = []string{prefixProvider, prefixIntegration, prefixKey, prefixWebhook}

const (
	// maxTries bounds how often a write that lost a race is computed anew.
	maxTries = 10
	// firstWait is the wait before the second try, doubled for each that
	// follows: about five seconds in all. This node's copy may have to catch up
	// with the write that won.
	firstWait = 5 * time.Millisecond
)

// again calls fn until it returns anything but credential.ErrConflict, with a
// growing wait in between. It gives up with ctx or after maxTries, with the
// conflict.
func again(ctx context.Context, fn func() error) error {
	wait := firstWait
	for try := 1; ; try++ {
		err := fn()
		if !errors.Is(err, credential.ErrConflict) || try == maxTries {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
		wait *= 2
	}
}
