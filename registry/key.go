package registry

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

// AllTenants in a key's scope stands for every tenant.
const AllTenants = "*"

// AdminKeyID is the id of the key that [Registry.EnsureAdmin] keeps.
const AdminKeyID = "admin"

// Key is an API key and its scope. It is shared and never changed.
type Key struct {
	KeySpec
	ID        string
	CreatedAt time.Time

	hash [sha256.Size]byte
	rev  uint64
}

// KeySpec is the scope of a key.
type KeySpec struct {
	Name         string // for people
	Tenant       string // a tenant, or AllTenants
	Integrations []string
	Permissions  []string
}

// storedKey is a Key in the store. The key itself is not there, only the
// SHA-256 of it. A fast hash is right here: the key is 256 random bits, which
// nobody can guess whatever a guess costs; slow hashes protect what people
// choose.
type storedKey struct {
	Name         string    `json:"name,omitempty"`
	Tenant       string    `json:"tenant"`
	Integrations []string  `json:"integrations,omitempty"`
	Permissions  []string  `json:"permissions"`
	Hash         string    `json:"sha256"`
	CreatedAt    time.Time `json:"created_at"`
}

func (k *Key) encode() ([]byte, error) {
	return json.Marshal(storedKey{
		Name: k.Name, Tenant: k.Tenant, Integrations: k.Integrations, Permissions: k.Permissions,
		Hash: hex.EncodeToString(k.hash[:]), CreatedAt: k.CreatedAt,
	})
}

func decodeKey(id string, b []byte) (*Key, error) {
	var s storedKey
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("key %s: %w", id, err)
	}
	k := &Key{ID: id, KeySpec: KeySpec{s.Name, s.Tenant, s.Integrations, s.Permissions}, CreatedAt: s.CreatedAt}
	hash, err := hex.DecodeString(s.Hash)
	if err != nil || len(hash) != len(k.hash) {
		return nil, fmt.Errorf("key %s: its hash is damaged", id)
	}
	copy(k.hash[:], hash)
	return k, nil
}

// A key's text is gk_<id>_<43 characters of base64url>. The admin key's may be
// any text that an operator chose.
const keyPrefix = "gk_"

// minAdminKey is the least length of an admin key that an operator chooses.
const minAdminKey = 16

// Authenticate finds the key that a caller presents. It does not block, and
// its time does not tell how much of a key was right: a key that is not there
// is compared, too.
func (r *Registry) Authenticate(presented string) (*Key, bool) {
	id := AdminKeyID
	if rest, ok := strings.CutPrefix(presented, keyPrefix); ok {
		if i := strings.IndexByte(rest, '_'); i > 0 {
			id = rest[:i]
		}
	}
	k := &Key{}
	v, known := r.keys.Load(id)
	if !known {
		v, known = r.keys.Load(AdminKeyID) // an admin key may begin like any other
	}
	if known {
		k = v.(*Key)
	}
	hash := sha256.Sum256([]byte(presented))
	same := subtle.ConstantTimeCompare(hash[:], k.hash[:]) == 1
	return k, same && known
}

// Keys returns all keys, in order of their ids.
func (r *Registry) Keys() []*Key {
	var all []*Key
	r.keys.Range(func(_, v any) bool {
		all = append(all, v.(*Key))
		return true
	})
	slices.SortFunc(all, func(a, b *Key) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// CreateKey makes a key and returns its text, which nobody can see again.
func (r *Registry) CreateKey(ctx context.Context, spec KeySpec) (*Key, credential.Secret, error) {
	if r.counts.keys.Load() >= MaxKeys {
		return nil, credential.Secret{}, invalid("%v: at most %d keys", ErrFull, MaxKeys)
	}
	var random [8 + 32]byte
	_, _ = rand.Read(random[:]) // never fails
	id := hex.EncodeToString(random[:8])
	text := credential.NewSecret(keyPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(random[8:]))
	k := newKey(id, spec, text)
	if err := r.putKey(ctx, k, 0); err != nil {
		return nil, credential.Secret{}, err
	}
	return k, text, nil
}

func newKey(id string, spec KeySpec, text credential.Secret) *Key {
	return &Key{ID: id, KeySpec: spec, CreatedAt: time.Now().UTC(), hash: sha256.Sum256([]byte(text.Reveal()))}
}

func (r *Registry) putKey(ctx context.Context, k *Key, expect uint64) error {
	b, err := k.encode()
	if err != nil {
		return err
	}
	if _, err = r.kv.Put(ctx, prefixKey+k.ID, expect, b); err != nil {
		return err
	}
	r.catchUp(ctx, prefixKey+k.ID)
	return nil
}

// DeleteKey ends a key, or fails with credential.ErrNotFound. The admin key is
// ended by another in its file.
func (r *Registry) DeleteKey(ctx context.Context, id string) error {
	if id == AdminKeyID {
		return invalid("the admin key cannot be deleted; put another key into its file and start the node again")
	}
	_, rev, err := r.kv.Get(prefixKey + id)
	if err != nil {
		return err
	}
	err = r.kv.Delete(ctx, prefixKey+id, rev)
	r.catchUp(ctx, prefixKey+id)
	return err
}

// EnsureAdmin makes text the admin key, which may do everything. Doing it
// again changes nothing.
func (r *Registry) EnsureAdmin(ctx context.Context, text credential.Secret, permissions []string) error {
	if len(text.Reveal()) < minAdminKey {
		return invalid("an admin key has at least %d characters", minAdminKey)
	}
	for {
		value, rev, err := r.kv.Get(prefixKey + AdminKeyID)
		if err != nil && !errors.Is(err, credential.ErrNotFound) {
			return err
		}
		k := newKey(AdminKeyID, KeySpec{Name: "admin", Tenant: AllTenants, Permissions: permissions}, text)
		if rev != 0 {
			if old, err := decodeKey(AdminKeyID, value); err == nil && subtle.ConstantTimeCompare(old.hash[:], k.hash[:]) == 1 {
				return nil
			}
		}
		err = r.putKey(ctx, k, rev)
		if !errors.Is(err, credential.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}
