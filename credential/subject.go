package credential

import (
	"crypto/sha256"
	"encoding/binary"
)

// Subject is a person as an authorization server names them: the issuer and the
// user id there (OpenID Connect Core section 2: iss and sub together).
type Subject struct{ Issuer, User string }

// IsZero reports whether nobody is named.
func (s Subject) IsZero() bool { return s.User == "" }

// Hash is what is stored of the subject: SHA-256, salted with the tenant and the
// integration. Within them the same person has the same hash, so that another
// one is noticed, and two accounts on one grant; across them hashes cannot be
// compared. Nil for nobody. User ids can be short: the hash hides them from a
// glance, not from whoever can try them all.
func (s Subject) Hash(tenant, integration string) []byte {
	if s.IsZero() {
		return nil
	}
	h := sha256.New()
	for _, part := range []string{"grantd subject 1", tenant, integration, s.Issuer, s.User} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return h.Sum(nil)
}
