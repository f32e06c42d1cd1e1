package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
)

// Keysets keeps the tenants' wrapped keysets in a KV, for package envelope. It
// is an envelope.Keysets.
type Keysets struct{ KV KV }

// Load implements envelope.Keysets.
func (k Keysets) Load(_ context.Context, tenant string) ([]byte, error) {
	wrapped, _, err := k.KV.Get(prefixKeyset + tenant)
	if errors.Is(err, credential.ErrNotFound) {
		return nil, envelope.ErrNoKeyset
	}
	return wrapped, err
}

// Create implements envelope.Keysets.
func (k Keysets) Create(ctx context.Context, tenant string, wrapped []byte) ([]byte, error) {
	return first(ctx, k.KV, prefixKeyset+tenant, func() ([]byte, error) { return wrapped, nil })
}

// Replace implements envelope.Keysets.
func (k Keysets) Replace(ctx context.Context, tenant string, old, wrapped []byte) error {
	stored, rev, err := k.KV.Get(prefixKeyset + tenant)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return envelope.ErrNoKeyset
	case err != nil:
		return err
	case !bytes.Equal(stored, old):
		return fmt.Errorf("keyset of tenant %q: %w", tenant, credential.ErrConflict)
	}
	_, err = k.KV.Put(ctx, prefixKeyset+tenant, rev, wrapped)
	return err
}

// Setting returns a setting of the whole cluster. The first caller's value
// becomes it, and stays.
func Setting(ctx context.Context, kv KV, name string, value func() ([]byte, error)) ([]byte, error) {
	return first(ctx, kv, prefixSetting+name, value)
}

// first returns the value of a key. Where it has none, the one that make
// returns is written, and returned, unless somebody else is faster.
func first(ctx context.Context, kv KV, key string, make func() ([]byte, error)) (value []byte, err error) {
	err = again(ctx, func() error {
		if value, _, err = kv.Get(key); !errors.Is(err, credential.ErrNotFound) {
			return err
		}
		if value, err = make(); err != nil {
			return err
		}
		_, err = kv.Put(ctx, key, 0, value)
		return err
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}
