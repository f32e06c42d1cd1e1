package credential

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what every formatter shows in place of a secret.
const Redacted = "[redacted]"

// Secret is a token, a client secret or any other value that must never be
// seen outside the process. Every formatter (fmt with any verb, encoding/json,
// encoding.TextMarshaler, log/slog) prints [Redacted]; only [Secret.Reveal]
// gives the value. The zero Secret is empty. A Secret is immutable and may be
// shared between goroutines. Compare with [Secret.Equal], not with ==.
//
// The value is behind a pointer because fmt calls no methods on unexported
// fields: of a Secret in one it prints the address.
type Secret struct{ value *string }

// NewSecret wraps value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

// Reveal returns the plaintext. Call it where the value leaves the process on
// purpose (a token request, an answer to an authorised caller) or is sealed.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal compares two secrets in time that depends on their lengths only.
func (s Secret) Equal(o Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(o.Reveal())) == 1
}

// String returns [Redacted].
func (Secret) String() string { return Redacted }

// GoString returns [Redacted], for %#v.
func (Secret) GoString() string { return Redacted }

// Format writes [Redacted] for every verb, %x and %d included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// MarshalText returns [Redacted].
func (Secret) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON returns [Redacted] as a JSON string.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// LogValue returns [Redacted].
func (Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }

// Sealed is a secret under authenticated encryption. It is bound to the
// [Label] under which it was sealed and opens under no other.
type Sealed []byte

// Field names which secret of an account (or of an integration) a [Sealed] holds.
type Field string

// The sealed fields. The names are part of the associated data of stored
// ciphertexts: they never change.
const (
	FieldAccessToken  Field = "access_token"
	FieldRefreshToken Field = "refresh_token"
	FieldAPIKey       Field = "api_key"
	FieldPassword     Field = "password"
	FieldClientSecret Field = "client_secret"
	FieldClientKey    Field = "client_key"
	FieldDPoPKey      Field = "dpop_key"
	// FieldWebhookSecret is what messages to an end point are signed with.
	FieldWebhookSecret Field = "webhook_secret"
	// FieldAnswer is a whole authorization server's answer in the node's journal.
	FieldAnswer Field = "answer"
	// FieldPosition is a position in the event stream, in its readers' hands.
	FieldPosition Field = "position"
	// FieldVerifier is the PKCE verifier of an authorization under way.
	FieldVerifier Field = "pkce_verifier"
	// FieldRegistration is the token that manages a client that was registered.
	FieldRegistration Field = "registration_token"
)

// Label says what a ciphertext is: it becomes the associated data of the AEAD,
// so that a ciphertext moved to another tenant, account, field or generation
// does not open.
type Label struct {
	Tenant     string
	Account    string // account id, integration id for FieldClientSecret, record of a link for FieldVerifier
	Field      Field
	Generation uint64
}
