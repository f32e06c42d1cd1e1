package envelope

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
	"golang.org/x/sync/singleflight"

	"github.com/grantd/grantd/credential"
)

// SystemTenant is whose keyset seals what belongs to no tenant, such as client
// secrets of integrations. It is no valid name of a tenant.
const SystemTenant = "~system"

// ErrNoKeyset is what [Keysets] answers for a tenant that has none.
var ErrNoKeyset = errors.New("tenant has no keyset")

// Keysets keeps the wrapped keysets of the tenants. Methods may be called
// concurrently.
type Keysets interface {
	// Load returns a tenant's wrapped keyset, or ErrNoKeyset.
	Load(ctx context.Context, tenant string) (wrapped []byte, err error)
	// Create stores a tenant's first keyset durably. If there is one already,
	// that one wins and is returned.
	Create(ctx context.Context, tenant string, wrapped []byte) (winner []byte, err error)
	// Replace stores a changed keyset in place of old, and fails with
	// credential.ErrConflict if old is no longer the stored one.
	Replace(ctx context.Context, tenant string, old, wrapped []byte) error
}

// Sealer seals and opens secrets. Methods may be called concurrently.
type Sealer struct {
	kek     *KEK
	keysets Keysets

	merge singleflight.Group
	mu    sync.RWMutex
	open  map[string]tink.AEAD // at most maxOpen
}

// maxOpen bounds the tenants whose keysets are kept open; about 2 KB each.
const maxOpen = 10_000

// fetchTimeout bounds how long loading or creating a keyset may take. Callers
// that wait for the same keyset share one fetch, so it is not bound to one's context.
const fetchTimeout = 10 * time.Second

// New makes a Sealer.
func New(kek *KEK, keysets Keysets) *Sealer {
	return &Sealer{kek: kek, keysets: keysets, open: make(map[string]tink.AEAD)}
}

// Seal encrypts a secret under its label. A tenant's first Seal makes its keyset.
func (s *Sealer) Seal(ctx context.Context, label credential.Label, secret credential.Secret) (credential.Sealed, error) {
	a, err := s.tenant(ctx, label.Tenant, true)
	if err != nil {
		return nil, err
	}
	sealed, err := a.Encrypt([]byte(secret.Reveal()), fieldData(label))
	if err != nil {
		return nil, fmt.Errorf("seal %s of %s/%s: %w", label.Field, label.Tenant, label.Account, err)
	}
	return sealed, nil
}

// Open decrypts a secret. credential.ErrSealed: it was not sealed under this
// label, or is damaged.
func (s *Sealer) Open(ctx context.Context, label credential.Label, sealed credential.Sealed) (credential.Secret, error) {
	a, err := s.tenant(ctx, label.Tenant, false)
	if err != nil {
		return credential.Secret{}, err
	}
	plain, err := a.Decrypt(sealed, fieldData(label))
	if err != nil {
		return credential.Secret{}, fmt.Errorf("%w: %s of %s/%s, generation %d", credential.ErrSealed, label.Field, label.Tenant, label.Account, label.Generation)
	}
	return credential.NewSecret(string(plain)), nil
}

// tenant returns the tenant's AEAD from the cache, or fetches it.
func (s *Sealer) tenant(ctx context.Context, tenant string, create bool) (tink.AEAD, error) {
	s.mu.RLock()
	a := s.open[tenant]
	s.mu.RUnlock()
	if a != nil {
		return a, nil
	}
	flight := tenant
	if create {
		flight = "+" + tenant // no valid name begins with it
	}
	fetched := s.merge.DoChan(flight, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return s.fetch(ctx, tenant, create)
	})
	select {
	case r := <-fetched:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(tink.AEAD), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("keyset of tenant %q: %w", tenant, context.Cause(ctx))
	}
}

func (s *Sealer) fetch(ctx context.Context, tenant string, create bool) (tink.AEAD, error) {
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
	s.remember(tenant, a)
	return a, nil
}

func (s *Sealer) create(ctx context.Context, tenant string) ([]byte, error) {
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

func (s *Sealer) wrap(tenant string, h *keyset.Handle) ([]byte, error) {
	var buf bytes.Buffer
	if err := h.WriteWithAssociatedData(keyset.NewBinaryWriter(&buf), s.kek.aead, keysetData(tenant)); err != nil {
		return nil, fmt.Errorf("wrap keyset of tenant %q: %w", tenant, err)
	}
	return buf.Bytes(), nil
}

func (s *Sealer) unwrap(tenant string, wrapped []byte) (*keyset.Handle, error) {
	h, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(wrapped)), s.kek.aead, keysetData(tenant))
	if err != nil {
		return nil, fmt.Errorf("%w: keyset of tenant %q", ErrWrongKEK, tenant)
	}
	return h, nil
}

// remember caches a tenant's AEAD. Where the cache is full any other makes
// room: its next use unwraps it again, which costs microseconds.
func (s *Sealer) remember(tenant string, a tink.AEAD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxOpen {
		for other := range s.open {
			delete(s.open, other)
			break
		}
	}
	s.open[tenant] = a
}

// Forget drops a tenant's keyset from the cache: it was changed or destroyed.
func (s *Sealer) Forget(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, tenant)
}

// Rotate gives the tenant a new primary key. What was sealed before still
// opens, by the old keys.
func (s *Sealer) Rotate(ctx context.Context, tenant string) error {
	old, err := s.keysets.Load(ctx, tenant)
	if err != nil {
		return fmt.Errorf("rotate keyset of tenant %q: %w", tenant, err)
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
		return fmt.Errorf("rotate keyset of tenant %q: %w", tenant, err)
	}
	wrapped, err := s.wrap(tenant, handle)
	if err != nil {
		return err
	}
	if err := s.keysets.Replace(ctx, tenant, old, wrapped); err != nil {
		return fmt.Errorf("rotate keyset of tenant %q: %w", tenant, err)
	}
	s.Forget(tenant)
	return nil
}
