package credential

import (
	"errors"
	"fmt"
	"time"
)

// Grant is what an authorization server answered to a token request
// (RFC 6749 section 5.1).
type Grant struct {
	AccessToken  Secret
	RefreshToken Secret // empty: the old one stays in use
	TokenType    string
	Scopes       []string      // nil: as before
	ExpiresIn    time.Duration // 0: not told
	// RefreshExpiresIn is the refresh token's lifetime; 0: not told.
	RefreshExpiresIn time.Duration
	// Facts are what the answer told besides, by the names of the catalogue;
	// bounded by [CheckFacts] where it is stored.
	Facts map[string]string
	// Subject is who authorised, where the answer told. It stays in memory:
	// stored is its hash.
	Subject Subject
}

// Class sorts failures by what is to be done about them.
type Class uint8

// The classes of DESIGN.md.
const (
	// Transient: the grant is fine, try again later.
	Transient Class = iota + 1
	// Terminal: the grant is dead until a person authorises again.
	Terminal
	// Misconfigured: nobody's grant is dead; the integration needs an operator.
	Misconfigured
	// Ambiguous: the request was sent and no answer came.
	Ambiguous
	// Unrecognised: a refusal that neither the standard nor the catalogue explains.
	Unrecognised
)

// String returns the class's name as it stands in history and metrics.
func (c Class) String() string {
	switch c {
	case Transient:
		return "transient"
	case Terminal:
		return "terminal"
	case Misconfigured:
		return "misconfigured"
	case Ambiguous:
		return "ambiguous"
	case Unrecognised:
		return "unrecognised"
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Failure is a token request that brought no token. Its text never holds
// anything of the answer's body but a sanitised error code.
type Failure struct {
	Class Class
	// Code is the OAuth error code (RFC 6749 section 5.2) or a short word of
	// ours such as "timeout" or "html_answer"; letters, digits and . _ - only.
	Code string
	// Detail is a sentence for people: where, what, the answer's shape.
	Detail     string
	Status     int           // HTTP status; 0: no answer
	RetryAfter time.Duration // as the server asked; 0: it did not
	// Sent tells whether any byte of the request may have reached the server.
	Sent bool
}

// Error describes the failure in one line.
func (f *Failure) Error() string {
	if f.Status != 0 {
		return fmt.Sprintf("%s: %s (HTTP %d): %s", f.Class, f.Code, f.Status, f.Detail)
	}
	return fmt.Sprintf("%s: %s: %s", f.Class, f.Code, f.Detail)
}

// Errors that callers of the account actors tell apart with errors.Is.
var (
	ErrNotFound     = errors.New("no such account")
	ErrNeedsReauth  = errors.New("account needs to be authorised again")
	ErrDisconnected = errors.New("account is disconnected")
	// ErrExists: the account exists and is active; import into it is refused
	// unless it is in needs_reauth or disconnected.
	ErrExists = errors.New("account exists already")
	// ErrOtherIdentity: the provider names another user than the one whose grant
	// the account held. Nothing was changed.
	ErrOtherIdentity = errors.New("another identity authorised")
	// ErrProviderUnavailable: the token in hand no longer serves and the
	// provider could not be asked, or did not answer usefully.
	ErrProviderUnavailable = errors.New("provider unavailable")
	// ErrMisconfigured: the integration is marked broken.
	ErrMisconfigured = errors.New("integration is misconfigured")
	// ErrNoQuorum: the shard has no leader, or could not commit in time.
	ErrNoQuorum = errors.New("no quorum")
	// ErrNotOwner: another node owns the account's shard.
	ErrNotOwner = errors.New("not the owner of this shard")
	// ErrOverloaded: too many requests wait already.
	ErrOverloaded = errors.New("overloaded")
	// ErrConflict: the record changed since it was read. Read again and decide anew.
	ErrConflict = errors.New("record changed meanwhile")
	// ErrUnknownOutcome: a write may or may not have been committed.
	ErrUnknownOutcome = errors.New("unknown whether the write was committed")
	// ErrSealed: a ciphertext did not open under its label.
	ErrSealed = errors.New("sealed value does not open")
	// ErrInvalid: the request asks for something that cannot be.
	ErrInvalid = errors.New("invalid request")
)

// Unavailable adds to an error for how long it is not worth asking again.
type Unavailable struct {
	Err        error // one of the sentinels above
	Reason     string
	RetryAfter time.Duration
}

// Error describes the condition in one line.
func (u *Unavailable) Error() string {
	if u.Reason == "" {
		return u.Err.Error()
	}
	return u.Err.Error() + ": " + u.Reason
}

// Unwrap returns the sentinel.
func (u *Unavailable) Unwrap() error { return u.Err }
