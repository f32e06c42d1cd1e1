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
	ClientSecretJWT   AuthMethod = "client_secret_jwt"           // OpenID Connect Core section 9
	PrivateKeyJWT     AuthMethod = "private_key_jwt"             // RFC 7523 section 2.2
	TLSClientAuth     AuthMethod = "tls_client_auth"             // RFC 8705 section 2.1
	SelfSignedTLS     AuthMethod = "self_signed_tls_client_auth" // RFC 8705 section 2.2
	NoSecret          AuthMethod = "none"                        // a public client: client_id in the body
)

// MutualTLS reports whether the client is known by its certificate.
func (m AuthMethod) MutualTLS() bool { return m == TLSClientAuth || m == SelfSignedTLS }

// authMethods are all of them.
func authMethods() []string {
	return []string{
		string(ClientSecretBasic), string(ClientSecretPost), string(ClientSecretJWT), string(PrivateKeyJWT),
		string(TLSClientAuth), string(SelfSignedTLS), string(NoSecret),
	}
}

// DPoP says whether the provider binds tokens to a key of the client's
// (RFC 9449). Only [DPoPRequired] makes grantd ask for such tokens: whoever
// presents one has to sign each request.
type DPoP string

// Support of DPoP. Unknown ("") is treated as no support.
const (
	DPoPRequired  DPoP = "required"
	DPoPSupported DPoP = "supported"
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
	// Issuer is the authorization server's own name (RFC 8414 section 2), to the
	// letter. End points that are not known are learned from its metadata.
	Issuer                        string
	PushedAuthorizationRequestURL string // RFC 9126
	DeviceAuthorizationURL        string // RFC 8628
	UserinfoURL                   string // OpenID Connect Core section 5.3
	JWKSURL                       string // the server's public keys
	RegistrationURL               string // RFC 7591
	// MTLSTokenURL is the token end point for clients with a certificate, where it
	// is another one (RFC 8705 section 5).
	MTLSTokenURL string
	APIBaseURL   string
	DocsURL      string
	// URLVariables are the variables of the end points and their values. An
	// empty value has to be given by the integration.
	URLVariables map[string]string

	TokenAuthMethod AuthMethod
	// AssertionAudience is whom a signed assertion of the client is meant for
	// (RFC 7523 section 3); empty: TokenURL.
	AssertionAudience string
	// AuthorizationResponseIss says that the answer to an authorization request
	// names the issuer (RFC 9207): one that does not is forged.
	AuthorizationResponseIss bool
	DPoP                     DPoP
	// Resources are asked for with every authorization and token request
	// (RFC 8707).
	Resources       []string
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
	p.Resources = slices.Clone(p.Resources)
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
