package registry

import (
	"bytes"
	"context"
	"errors"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
)

// Keysets keeps the tenants' wrapped keysets in a KV, for package envelope.
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
	_, err := k.KV.Put(ctx, prefixKeyset+tenant, 0, wrapped)
	if errors.Is(err, credential.ErrConflict) {
		return k.Load(ctx, tenant)
	}
	return wrapped, err
}

// Replace implements envelope.Keysets.
func (k Keysets) Replace(ctx context.Context, tenant string, old, wrapped []byte) error {
	stored, rev, err := k.KV.Get(prefixKeyset + tenant)
	if err != nil {
		return err
	}
	if !bytes.Equal(stored, old) {
		return credential.ErrConflict
	}
	_, err = k.KV.Put(ctx, prefixKeyset+tenant, rev, wrapped)
	return err
}

// Setting returns a setting of the whole cluster; the first caller's value
// becomes it.
func Setting(ctx context.Context, kv KV, name string, first func() ([]byte, error)) ([]byte, error) {
	for {
		value, _, err := kv.Get(prefixSetting + name)
		if !errors.Is(err, credential.ErrNotFound) {
			return value, err
		}
		if value, err = first(); err != nil {
			return nil, err
		}
		_, err = kv.Put(ctx, prefixSetting+name, 0, value)
		if errors.Is(err, credential.ErrConflict) && ctx.Err() == nil {
			continue
		}
		return value, err
	}
}
