package envelope

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/grantd/grantd/credential"
)

// Sealer seals and opens secrets. Methods may be called concurrently.
type Sealer struct {
	kek     *KEK
	keysets Keysets
	cache   *cache
}

const (
	// maxOpen bounds the tenants whose keysets are kept open; about 2 KB each.
	maxOpen = 10_000
	// fetchTimeout bounds how long loading or creating a keyset may take, for
	// callers whose context does not.
	fetchTimeout = 10 * time.Second
)

// New makes a Sealer.
func New(kek *KEK, keysets Keysets) *Sealer {
	return &Sealer{kek: kek, keysets: keysets, cache: newCache(maxOpen)}
}

// Seal encrypts a secret under its label. A tenant's first Seal makes its
// keyset, which needs a commit; all others are done in memory.
func (s *Sealer) Seal(ctx context.Context, label credential.Label, secret credential.Secret) (credential.Sealed, error) {
	o, err := s.tenant(ctx, label.Tenant, true)
	if err != nil {
		return nil, err
	}
	sealed, err := o.aead.Encrypt([]byte(secret.Reveal()), fieldData(label))
	if err != nil {
		return nil, fmt.Errorf("seal %s of %s/%s: %w", label.Field, label.Tenant, label.Account, err)
	}
	return sealed, nil
}

// Open decrypts a secret. credential.ErrSealed: it was not sealed under this
// label, or is damaged, or its tenant's keyset is gone; if the reason is the
// key-encryption key, the error is an ErrWrongKEK, too.
func (s *Sealer) Open(ctx context.Context, label credential.Label, sealed credential.Sealed) (credential.Secret, error) {
	o, err := s.tenant(ctx, label.Tenant, false)
	if err != nil {
		return credential.Secret{}, err
	}
	data := fieldData(label)
	plain, err := o.aead.Decrypt(sealed, data)
	if err != nil {
		// The keyset may have been rotated on another node.
		if o, err = s.renew(ctx, o); err != nil {
			return credential.Secret{}, err
		}
		plain, err = o.aead.Decrypt(sealed, data)
	}
	if err != nil {
		return credential.Secret{}, fmt.Errorf("%w: %s of %s/%s, generation %d", credential.ErrSealed, label.Field, label.Tenant, label.Account, label.Generation)
	}
	return credential.NewSecret(string(plain)), nil
}

// renew returns the stored keyset in place of an opened one, which is the same
// unless that was changed.
func (s *Sealer) renew(ctx context.Context, o *opened) (*opened, error) {
	if wrapped, err := s.keysets.Load(ctx, o.tenant); err == nil && bytes.Equal(wrapped, o.wrapped) {
		return o, nil
	}
	s.cache.forget(o.tenant)
	return s.tenant(ctx, o.tenant, false)
}

// Forget drops a tenant's keyset from the cache: it was changed or destroyed.
func (s *Sealer) Forget(tenant string) { s.cache.forget(tenant) }

// tenant returns the tenant's keyset from the cache, or fetches it. Callers
// that miss the same one share one fetch, done by the first of them; if that
// one gives up, the next takes over.
func (s *Sealer) tenant(ctx context.Context, tenant string, create bool) (*opened, error) {
	if o := s.cache.get(tenant); o != nil {
		return o, nil
	}
	for {
		o, f, first := s.cache.join(tenant, create)
		switch {
		case o != nil:
			return o, nil
		case first:
			return s.lead(ctx, f)
		}
		select {
		case <-f.done:
			if !f.abandoned {
				return f.opened, f.err
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("keyset of tenant %q: %w", tenant, context.Cause(ctx))
		}
	}
}

// lead fetches a keyset for all that wait for it.
func (s *Sealer) lead(ctx context.Context, f *flight) (*opened, error) {
	f.abandoned = true // if Keysets panic, the others try themselves
	defer s.cache.land(f)
	f.opened, f.err = s.fetch(ctx, f.tenant, f.create)
	f.abandoned = f.err != nil && ctx.Err() != nil
	return f.opened, f.err
}
