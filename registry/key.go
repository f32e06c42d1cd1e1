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

// AdminKeyID is the id of the key that [Registry.EnsureAdmin] keeps.
const AdminKeyID = "admin"

// Key is an API key and its scope. It is shared and never changed.
type Key struct {
	KeySpec
	ID        string
	CreatedAt time.Time

	hash [sha256.Size]byte
}

// storedKey is a Key in the store. The key itself is not there, only the
// SHA-256 of it. A fast hash is right here: the key is 256 random bits, which
// nobody can guess whatever a guess costs; slow hashes protect what people
// choose.
type storedKey struct {
	Name         string    `json:"name,omitempty"`
	Tenant       string    `json:"tenant"`
	Integrations []string  `json:"integrations,omitempty"`
	Accounts     []string  `json:"accounts,omitempty"`
	Agent        string    `json:"agent,omitempty"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
	Permissions  []string  `json:"permissions"`
	Hash         string    `json:"sha256,omitempty"`
	// LimitedHash is the hash of a key that has accounts, an agent or an end. It
	// has a name of its own so that a node of a version that does not know these
	// limits takes the key for damaged, and not for one without them.
	LimitedHash string    `json:"limited_sha256,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
}

func (k *Key) encode() ([]byte, error) {
	var accounts []string
	for _, ref := range k.Accounts {
		accounts = append(accounts, ref.String())
	}
	s := storedKey{
		Name: k.Name, Tenant: k.Tenant, Integrations: k.Integrations, Permissions: k.Permissions,
		Accounts: accounts, Agent: k.Agent, ExpiresAt: k.ExpiresAt,
		CreatedAt: k.CreatedAt,
	}
	if hash := hex.EncodeToString(k.hash[:]); k.limited() {
		s.LimitedHash = hash
	} else {
		s.Hash = hash
	}
	return json.Marshal(s)
}

func decodeKey(id string, b []byte) (*Key, error) {
	var s storedKey
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("key %s: %w", id, err)
	}
	k := &Key{ID: id, CreatedAt: s.CreatedAt, KeySpec: KeySpec{
		Name: s.Name, Tenant: s.Tenant, Integrations: s.Integrations, Permissions: s.Permissions,
		Agent: s.Agent, ExpiresAt: s.ExpiresAt,
	}}
	for _, name := range s.Accounts {
		ref, err := credential.ParseRef(name)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", id, err)
		}
		k.Accounts = append(k.Accounts, ref)
	}
	hash, err := hex.DecodeString(cmp.Or(s.Hash, s.LimitedHash))
	if err != nil || len(hash) != len(k.hash) {
		return nil, fmt.Errorf("key %s: its hash is damaged", id)
	}
	copy(k.hash[:], hash)
	return k, nil
}

// A key's text is gk_<id>_<43 characters of base64url>: the id finds it, the
// rest is 256 random bits. The admin key's may be any text that an operator
// chose.
const keyPrefix = "gk_"

const (
	// minAdminKey is the least length of an admin key that an operator chooses.
	minAdminKey = 16
	// maxKeyText bounds what is taken for a key at all.
	maxKeyText = 4096
)

// keyID returns the id in a key's text; empty: there is none.
func keyID(text string) string {
	rest, ok := strings.CutPrefix(text, keyPrefix)
	if !ok {
		return ""
	}
	id, _, ok := strings.Cut(rest, "_")
	if !ok {
		return ""
	}
	return id
}

// Authenticate finds the key that a caller presents. It does not block, and
// its time does not tell which ids exist nor how much of a key was right: the
// text is hashed and compared twice whatever it is, with the key of its id and
// with the admin key, which may look like any other. Where there is no such
// key, the comparison is with one that nobody has.
func (r *Registry) Authenticate(presented string) (*Key, bool) {
	if len(presented) > maxKeyText {
		return nil, false
	}
	hash := sha256.Sum256([]byte(presented))
	k, admin := r.key(keyID(presented)), r.key(AdminKeyID)
	isKey := subtle.ConstantTimeCompare(hash[:], k.hash[:]) == 1
	isAdmin := subtle.ConstantTimeCompare(hash[:], admin.hash[:]) == 1
	switch {
	case isKey:
		return k, !k.expired(time.Now())
	case isAdmin:
		return admin, true
	}
	return nil, false
}

// key returns the key of an id, else the one that nobody has.
func (r *Registry) key(id string) *Key {
	if v, ok := r.keys.Load(id); ok {
		return v.(*Key)
	}
	return r.nobody
}

// nobodysKey returns a key whose text nobody has: its hash is random.
func nobodysKey() *Key {
	k := &Key{}
	_, _ = rand.Read(k.hash[:]) // never fails
	return k
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
// Errors: credential.ErrInvalid with a reason, and those of the KV.
func (r *Registry) CreateKey(ctx context.Context, spec KeySpec) (*Key, credential.Secret, error) {
	if err := spec.check(); err != nil {
		return nil, credential.Secret{}, err
	}
	r.dropExpiredKeys(ctx)
	if r.counts.keys.Load() >= MaxKeys {
		return nil, credential.Secret{}, invalid("%w: at most %d keys; delete some that are not used", ErrFull, MaxKeys)
	}
	var random [8 + 32]byte
	_, _ = rand.Read(random[:]) // never fails
	id := hex.EncodeToString(random[:8])
	text := credential.NewSecret(keyPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(random[8:]))
	k := newKey(id, spec.clone(), text)
	if err := r.putKey(ctx, k, 0); err != nil {
		return nil, credential.Secret{}, err
	}
	return k, text, nil
}

// dropAtOnce is how many keys that have expired are removed when one is made:
// more than one, so that they do not heap up, and few enough not to be felt.
const dropAtOnce = 4

// dropExpiredKeys removes some of the keys that have ended by themselves, if
// there are any. One that cannot be removed now is tried again another time: it
// no longer opens anything.
func (r *Registry) dropExpiredKeys(ctx context.Context) {
	now, left := time.Now(), dropAtOnce
	r.keys.Range(func(_, v any) bool {
		if k := v.(*Key); k.expired(now) {
			_ = r.remove(ctx, prefixKey+k.ID)
			left--
		}
		return left > 0
	})
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
	return r.remove(ctx, prefixKey+id)
}

// EnsureAdmin makes text the admin key, for all tenants. Doing it again
// changes nothing.
func (r *Registry) EnsureAdmin(ctx context.Context, text credential.Secret, permissions []string) error {
	if n := len(text.Reveal()); n < minAdminKey || n > maxKeyText {
		return invalid("an admin key has %d to %d bytes, this one has %d", minAdminKey, maxKeyText, n)
	}
	spec := KeySpec{Name: "admin", Tenant: AllTenants, Permissions: permissions}.clone()
	if err := spec.check(); err != nil {
		return err
	}
	return again(ctx, func() error {
		k := newKey(AdminKeyID, spec, text)
		value, rev, err := r.kv.Get(prefixKey + AdminKeyID)
		if errors.Is(err, credential.ErrNotFound) {
			return r.putKey(ctx, k, 0)
		}
		if err != nil {
			return err
		}
		if old, err := decodeKey(AdminKeyID, value); err == nil && old.same(k) {
			return nil
		}
		return r.putKey(ctx, k, rev)
	})
}

// same reports whether two keys have the same text and permissions.
func (k *Key) same(o *Key) bool {
	return subtle.ConstantTimeCompare(k.hash[:], o.hash[:]) == 1 && slices.Equal(k.Permissions, o.Permissions)
}
