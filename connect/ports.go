package connect

import (
	"context"
	"net/url"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// KV is the replicated store, see registry.KV. Methods may be called
// concurrently.
type KV interface {
	Get(key string) (value []byte, rev uint64, err error)
	Scan(prefix string, fn func(key string, value []byte, rev uint64) error) error
	Put(ctx context.Context, key string, expect uint64, value []byte) (rev uint64, err error)
	PutAndTell(ctx context.Context, key string, expect uint64, value []byte, events []credential.Event) (rev uint64, err error)
	// DeleteAll removes keys, all in one write or, with credential.ErrConflict,
	// none: each must be at its revision.
	DeleteAll(ctx context.Context, revisions map[string]uint64) error
}

// Sealer seals what is secret in a record.
type Sealer interface {
	Seal(ctx context.Context, label credential.Label, s credential.Secret) (credential.Sealed, error)
	Open(ctx context.Context, label credential.Label, sealed credential.Sealed) (credential.Secret, error)
}

// Integration is what links need to know of an OAuth client registration. It is
// only read.
type Integration struct {
	ID string
	// Product is who asks, in words for people; empty: nobody said.
	Product string
	// Facts are the provider's, with the integration's own settings.
	Facts  catalog.Provider
	Scopes []string
	// ScopeDescriptions say in plain words what a scope allows.
	ScopeDescriptions map[string]string
	// ReturnOrigins are the only ones that people are sent to afterwards.
	ReturnOrigins []string
	RedirectURI   string // empty: the public URL's /callback
	// Issuer is the authorization server's name (RFC 8414), which may hold URL
	// variables; empty: not known. IssuerSent: it names itself in every answer
	// (RFC 9207).
	Issuer     string
	IssuerSent bool
}

// Integrations looks up integrations, without blocking.
type Integrations interface {
	ConnectIntegration(id string) (Integration, bool)
}

// Accounts is where accounts are made. Errors are those of package credential.
type Accounts interface {
	Account(ctx context.Context, ref credential.Ref) (credential.Account, error)
	Import(ctx context.Context, in credential.Import) (a credential.Account, created bool, err error)
}

// Authorization is a request for a person's consent (RFC 6749 section 4.1.1).
type Authorization struct {
	Integration string
	Variables   map[string]string // of the account
	Scopes      []string
	RedirectURI string
	State       string
	Nonce       string            // for an id_token (OpenID Connect Core section 3.1.2.1)
	Verifier    credential.Secret // of PKCE (RFC 7636), which is left out where the provider breaks on it
}

// Answer is what the provider sent the person back with, and what the flow knows
// (RFC 6749 section 4.1.3).
type Answer struct {
	Authorization
	Code   credential.Secret
	Params url.Values // all that the callback came with
}

// Provider speaks the protocol. Nothing is tried twice.
type Provider interface {
	// Authorize returns the URL to send the person to.
	Authorize(ctx context.Context, a Authorization) (string, error)
	// Exchange trades the code for a grant. An error is a *credential.Failure
	// where the provider refused.
	Exchange(ctx context.Context, a Answer) (credential.Grant, error)
}
