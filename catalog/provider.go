package catalog

import (
	"maps"
	"slices"
	"time"
)

// Custom is the id of the provider of which nothing is known: an integration
// with it brings its end points along, see [Override].
const Custom = "custom"

// AuthMethod is how a client authenticates at the token end point, as the
// OAuth registry of token end point authentication methods names it
// (RFC 7591 section 2).
type AuthMethod string

// The methods. Unknown ("") is treated as [ClientSecretBasic], which every
// server must support (RFC 6749 section 2.3.1).
const (
	ClientSecretBasic AuthMethod = "client_secret_basic"
	ClientSecretPost  AuthMethod = "client_secret_post"
	NoSecret          AuthMethod = "none" // a public client: client_id in the body
)

// BodyFormat is how parameters are written into a token request.
type BodyFormat string

// The formats. Unknown ("") is treated as [FormBody], the standard's.
const (
	FormBody BodyFormat = "form"
	JSONBody BodyFormat = "json"
)

// Rotation is what becomes of a refresh token when it is used.
type Rotation string

// The kinds of rotation. Unknown ("") is treated like [Rotating], the one that
// punishes a mistake.
const (
	Rotating  Rotation = "rotating" // a refresh returns a new one and ends the old
	Static    Rotation = "static"   // it stays the same
	NoRefresh Rotation = "none"     // the provider gives no refresh tokens
)

// PKCE says whether the provider knows RFC 7636.
type PKCE string

// Support of PKCE. Unknown ("") is treated as [PKCESupported]: a server that
// does not know the parameters ignores them (RFC 6749 section 3.1).
const (
	PKCERequired    PKCE = "required"
	PKCESupported   PKCE = "supported"
	PKCEUnsupported PKCE = "unsupported" // requests with its parameters are refused
)

// Provider is what is known of one authorization server. A zero field is not
// known. It is a value; its maps and slices are shared and must not be
// changed, use [Provider.Clone] first.
type Provider struct {
	ID   string
	Name string // for people

	// The end points: https, or http to this machine itself. A part in braces
	// ("https://{subdomain}.example.com/token") is a variable, see
	// [Provider.Fill].
	AuthorizationURL string
	TokenURL         string
	RevocationURL    string // RFC 7009
	IntrospectionURL string // RFC 7662
	APIBaseURL       string
	DocsURL          string
	// URLVariables are the variables of the end points and their values. An
	// empty value has to be given by the integration.
	URLVariables map[string]string

	TokenAuthMethod AuthMethod
	TokenBodyFormat BodyFormat
	ScopeSeparator  string // between scopes, in requests and answers; see [Provider.Separator]
	PKCE            PKCE
	// AuthorizationParams are added to the authorization request, TokenParams to
	// every token request. RefreshParams are added to refreshes, and win there.
	AuthorizationParams map[string]string
	TokenParams         map[string]string
	RefreshParams       map[string]string
	// TokenPath says where in a JSON answer the object with the tokens is:
	// names joined by dots; empty: the answer itself.
	TokenPath string

	RefreshRotation Rotation
	// RefreshReuseGrace is for how long a refresh token still works after it
	// was used.
	RefreshReuseGrace    time.Duration
	AccessTokenLifetime  time.Duration
	RefreshTokenLifetime time.Duration // from its issue
	RefreshTokenIdle     time.Duration // from its last use

	// The provider's own words for errors, beyond those of RFC 6749 section 5.2
	// or in another sense than theirs, and what they mean for a grant. They are
	// compared without regard to case, with every run of characters that are not
	// letters, digits and . _ - written as one underscore.
	TerminalErrors      []string
	TransientErrors     []string
	MisconfiguredErrors []string

	RateLimit RateLimit

	RequestQuirks
	AnswerQuirks
	RevocationQuirks
	FactRules
	Sourcing
}

// RateLimit is what the provider's token end point bears of one client. A zero
// field is not known.
type RateLimit struct {
	RequestsPerSecond float64 `json:"requests_per_second,omitempty"`
	Burst             int     `json:"burst,omitempty"`
	Concurrency       int     `json:"concurrency,omitempty"`
}

// Rotates reports whether a refresh token has to be taken as good for one use.
func (p *Provider) Rotates() bool {
	return p.RefreshRotation == Rotating || p.RefreshRotation == ""
}

// Separator is what stands between scopes: the catalogue's, else a space
// (RFC 6749 section 3.3).
func (p *Provider) Separator() string {
	if p.ScopeSeparator == "" {
		return " "
	}
	return p.ScopeSeparator
}

// Clone returns a deep copy.
func (p Provider) Clone() Provider {
	p.URLVariables = maps.Clone(p.URLVariables)
	p.AuthorizationParams = maps.Clone(p.AuthorizationParams)
	p.TokenParams = maps.Clone(p.TokenParams)
	p.RefreshParams = maps.Clone(p.RefreshParams)
	p.TerminalErrors = slices.Clone(p.TerminalErrors)
	p.TransientErrors = slices.Clone(p.TransientErrors)
	p.MisconfiguredErrors = slices.Clone(p.MisconfiguredErrors)
	p.RequestQuirks = p.RequestQuirks.clone()
	p.AnswerQuirks = p.AnswerQuirks.clone()
	p.RevocationParams = maps.Clone(p.RevocationParams)
	p.FactRules = p.FactRules.clone()
	p.Sourcing = p.Sourcing.clone()
	return p
}
