package connect

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// secretBytes is how many random bytes a link, a state, a browser's mark and a
// PKCE verifier have.
const secretBytes = 32

var encoding = base64.RawURLEncoding

// newSecret makes an unguessable text that is safe in a URL and a cookie.
func newSecret() string {
	var b [secretBytes]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return encoding.EncodeToString(b[:])
}

// isSecret reports whether a text can be one of [newSecret]'s.
func isSecret(s string) bool {
	b, err := encoding.Strict().DecodeString(s)
	return err == nil && len(b) == secretBytes
}

// hashOf is what is stored of a secret. The purpose keeps the hash of a link from
// being that of a state.
func hashOf(purpose, secret string) []byte {
	sum := sha256.Sum256([]byte("grantd " + purpose + " 1\x00" + secret))
	return sum[:]
}

// matches compares a secret with a stored hash in constant time.
func matches(hash []byte, purpose, secret string) bool {
	return subtle.ConstantTimeCompare(hash, hashOf(purpose, secret)) == 1
}

// A state is the flow's secret and the name of its link's record, which is a
// hash: it leads back to the record and gives away nothing.
func joinState(secret, record string) string { return secret + "." + record }

func splitState(state string) (secret, record string, ok bool) {
	secret, record, ok = strings.Cut(state, ".")
	return secret, record, ok && isSecret(secret) && isSecret(record)
}

// recordOf names the record of a link.
func recordOf(link string) string { return encoding.EncodeToString(hashOf("link", link)) }

// nonceOf binds an id_token to the flow and the browser. It needs no place of its
// own: it follows from what only the two have.
func nonceOf(secret, browser string) string {
	return encoding.EncodeToString(hashOf("nonce", secret+"\x00"+browser))
}
