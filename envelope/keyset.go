package envelope

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/grantd/grantd/credential"
)

// SystemTenant is whose keyset seals what belongs to no tenant, such as client
// secrets of integrations. It is no valid name of a tenant.
const SystemTenant = "~system"

// ErrNoKeyset is what [Keysets] answers for a tenant that has none.
var ErrNoKeyset = errors.New("tenant has no keyset")

// Keysets keeps the wrapped keysets of the tenants. Methods may be called
// concurrently and end with their context.
type Keysets interface {
	// Load returns a tenant's wrapped keyset, or ErrNoKeyset. It is called for
	// every ciphertext that does not open, so it should be a local read.
	Load(ctx context.Context, tenant string) (wrapped []byte, err error)
	// Create stores a tenant's first keyset durably. If there is one already,
	// that one wins and is returned.
	Create(ctx context.Context, tenant string, wrapped []byte) (winner []byte, err error)
	// Replace stores a changed keyset in place of old, and fails with
	// credential.ErrConflict if old is no longer the stored one.
	Replace(ctx context.Context, tenant string, old, wrapped []byte) error
}

// fetch loads a tenant's keyset and opens it; with create, one that does not
// exist is made.
func (s *Sealer) fetch(ctx context.Context, tenant string, create bool) (*opened, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	wrapped, err := s.keysets.Load(ctx, tenant)
	if errors.Is(err, ErrNoKeyset) && create {
		wrapped, err = s.create(ctx, tenant)
	}
	if errors.Is(err, ErrNoKeyset) {
		return nil, fmt.Errorf("%w: %w: %q", credential.ErrSealed, ErrNoKeyset, tenant)
	}
	if err != nil {
		return nil, fmt.Errorf("keyset of tenant %q: %w", tenant, err)
	}
	handle, err := s.unwrap(tenant, wrapped)
	if err != nil {
		return nil, err
	}
	a, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("keyset of tenant %q: %w", tenant, err)
	}
	return &opened{tenant: tenant, wrapped: bytes.Clone(wrapped), aead: a}, nil
}

func (s *Sealer) create(ctx context.Context, tenant string) ([]byte, error) {
	if tenant != SystemTenant {
		if err := credential.CheckName("tenant", tenant); err != nil {
			return nil, err
		}
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	wrapped, err := s.wrap(tenant, handle)
	if err != nil {
		return nil, err
	}
	return s.keysets.Create(ctx, tenant, wrapped)
}

// wrap encrypts a keyset with the key-encryption key, bound to its tenant.
func (s *Sealer) wrap(tenant string, h *keyset.Handle) ([]byte, error) {
	var buf bytes.Buffer
	if err := h.WriteWithAssociatedData(keyset.NewBinaryWriter(&buf), s.kek.aead, keysetData(tenant)); err != nil {
		return nil, fmt.Errorf("wrap keyset of tenant %q: %w", tenant, err)
	}
	return buf.Bytes(), nil
}

// unwrap is the reverse of wrap. Its error is a credential.ErrSealed and an
// ErrWrongKEK.
func (s *Sealer) unwrap(tenant string, wrapped []byte) (*keyset.Handle, error) {
	h, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(wrapped)), s.kek.aead, keysetData(tenant))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", credential.ErrSealed, s.kek.refused(fmt.Sprintf("the keyset of tenant %q", tenant), err))
	}
	return h, nil
}

// Rotate gives the tenant a new primary key. What was sealed before still
// opens, by the old keys, and this Sealer seals with the new one from now on.
// Others notice it when they meet a ciphertext that they cannot open, or are
// told ([Sealer.Forget]). Errors: ErrNoKeyset; credential.ErrConflict if the
// keyset was changed by somebody else meanwhile; those of [Keysets].
func (s *Sealer) Rotate(ctx context.Context, tenant string) error {
	err := s.rotate(ctx, tenant)
	s.Forget(tenant) // whatever became of it: a write may have an unknown outcome
	if err != nil {
		return fmt.Errorf("rotate keyset of tenant %q: %w", tenant, err)
	}
	return nil
}

func (s *Sealer) rotate(ctx context.Context, tenant string) error {
	old, err := s.keysets.Load(ctx, tenant)
	if err != nil {
		return err
	}
	handle, err := s.unwrap(tenant, old)
	if err != nil {
		return err
	}
	m := keyset.NewManagerFromHandle(handle)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	if err == nil {
		handle, err = m.Handle()
	}
	if err != nil {
		return err
	}
	wrapped, err := s.wrap(tenant, handle)
	if err != nil {
		return err
	}
	return s.keysets.Replace(ctx, tenant, old, wrapped)
}
