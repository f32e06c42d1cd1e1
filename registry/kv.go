package registry

import "context"

// KV is the replicated store of keys and values. Every value has a revision
// that grows with each write; 0 means that the key does not exist. Methods may
// be called concurrently.
type KV interface {
	// Get returns a value and its revision, or credential.ErrNotFound, from this
	// node's own copy.
	Get(key string) (value []byte, rev uint64, err error)
	// Scan calls fn with every key that begins with prefix, until it fails.
	Scan(prefix string, fn func(key string, value []byte, rev uint64) error) error
	// Put writes a value if the key is at the expected revision, else
	// credential.ErrConflict, and returns the new revision.
	Put(ctx context.Context, key string, expect uint64, value []byte) (rev uint64, err error)
	// Delete removes a key if it is at the expected revision.
	Delete(ctx context.Context, key string, expect uint64) error
	// OnChange has fn called with keys that were written, on whatever node; nil:
	// any may have been. fn must not block.
	OnChange(fn func(keys []string))
}

// Prefixes of keys.
const (
	prefixIntegration = "integration/"
	prefixKey         = "key/"
	prefixKeyset      = "keyset/"
	prefixSetting     = "setting/"
)
