package oauth

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// Bounds of what a server gives a client that registers, in bytes.
const (
	maxGivenID     = 1 << 10
	maxGivenSecret = 4 << 10
)

// ClientMetadata are what a client tells of itself: when it registers (RFC 7591
// section 2), and in the document that its client id leads to
// (draft-ietf-oauth-client-id-metadata-document section 4).
type ClientMetadata struct {
	ClientID        string   `json:"client_id,omitempty"` // of a document only
	Name            string   `json:"client_name"`
	URI             string   `json:"client_uri,omitempty"`
	RedirectURIs    []string `json:"redirect_uris"`
	GrantTypes      []string `json:"grant_types"`
	ResponseTypes   []string `json:"response_types"`
	AuthMethod      string   `json:"token_endpoint_auth_method"`
	ApplicationType string   `json:"application_type,omitempty"`
	Scope           string   `json:"scope,omitempty"`
	JWKSURL         string   `json:"jwks_uri,omitempty"`
	DPoPBound       bool     `json:"dpop_bound_access_tokens,omitempty"`
}

// Registered is a client as the server has registered it.
type Registered struct {
	ClientID   string
	Secret     credential.Secret // empty: a public client
	SecretEnds time.Time         // zero: never
	AuthMethod catalog.AuthMethod
	// ManageURL and ManageToken are for asking for the registration later (RFC
	// 7592); empty: the server does not offer it.
	ManageURL   string
	ManageToken credential.Secret
}

// registrationAnswer is what a server answers (RFC 7591 section 3.2.1).
type registrationAnswer struct {
	ClientID     string      `json:"client_id"`
	Secret       string      `json:"client_secret"`
	SecretEnds   json.Number `json:"client_secret_expires_at"`
	AuthMethod   string      `json:"token_endpoint_auth_method"`
	RedirectURIs []string    `json:"redirect_uris"`
	GrantTypes   []string    `json:"grant_types"`
	ManageURL    string      `json:"registration_client_uri"`
	ManageToken  string      `json:"registration_access_token"`
}

// Register makes a client at a server (RFC 7591). It is not to be repeated
// without need: each call that is answered leaves a client there. The error is
// always a *[credential.Failure]; its Code is the server's where it refused.
func (c *Client) Register(ctx context.Context, endpoint string, m ClientMetadata) (Registered, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	body, err := json.Marshal(m)
	if err != nil {
		return Registered{}, misconfigured("bad_client_metadata", "the client's metadata cannot be written")
	}
	r, failure := c.registration(ctx, call{
		endpoint: "registration_url", url: endpoint, auth: catalog.RevokeByNobody,
		reg: Registration{Provider: &catalog.Provider{}}, params: params{}, raw: body,
	}, m)
	if failure != nil {
		return Registered{}, failure
	}
	return r, nil
}

// ReadRegistration asks for a client that was registered before (RFC 7592 section
// 2.1). A server that does not know it any more answers 401 or 404, which is a
// Misconfigured failure of the code [CodeClientGone]. The error is always a
// *[credential.Failure].
func (c *Client) ReadRegistration(ctx context.Context, old Registered, m ClientMetadata) (Registered, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, failure := c.registration(ctx, call{
		endpoint: "registration_client_uri", url: old.ManageURL, method: http.MethodGet, auth: catalog.RevokeByToken, bearer: old.ManageToken,
		reg: Registration{Provider: &catalog.Provider{}}, params: params{},
	}, m)
	switch {
	case failure != nil && (failure.Status == http.StatusUnauthorized || failure.Status == http.StatusNotFound || failure.Status == http.StatusForbidden):
		return Registered{}, &credential.Failure{Class: credential.Misconfigured, Code: CodeClientGone, Status: failure.Status, Sent: true, Detail: "the server does not know the client any more"}
	case failure != nil:
		return Registered{}, failure
	case r.ClientID != old.ClientID:
		return Registered{}, badRegistration("the server told of another client than the one that was asked for")
	}
	r.ManageURL = cmp.Or(r.ManageURL, old.ManageURL)
	if r.ManageToken.IsZero() {
		r.ManageToken = old.ManageToken
	}
	return r, nil
}

// CodeClientGone is the code of a failure to read a registration that the server
// does not have any more.
const CodeClientGone = "client_gone"

func badRegistration(detail string) *credential.Failure {
	return &credential.Failure{Class: credential.Misconfigured, Code: "bad_registration", Sent: true, Detail: detail}
}

// registration sends a request and understands the client in its answer.
func (c *Client) registration(ctx context.Context, ask call, m ClientMetadata) (Registered, *credential.Failure) {
	a, failure := c.send(ctx, ask)
	if failure != nil {
		return Registered{}, failure
	}
	if a.status != http.StatusCreated && a.status != http.StatusOK {
		msg := parse(a.header, a.body)
		w := wordsOf(msg, ask.reg.Provider)
		f := &credential.Failure{
			Class: classByStatus(a.status, w.code), Code: cmp.Or(w.shown(), shapeCode(a, msg)), Status: a.status, Sent: true, Detail: a.describe(msg),
			RetryAfter: retryAfter(a.header, ask.reg.Provider, time.Now()),
		}
		hideSecrets(f, ask.bearer)
		return Registered{}, f
	}
	var told registrationAnswer
	if a.cut != "" || json.Unmarshal(a.body, &told) != nil {
		return Registered{}, badRegistration(a.host + " answered the registration with something that is not a client: " + cmp.Or(a.cut, "no JSON of the right shape"))
	}
	return told.registered(a.host, m, strings.HasPrefix(ask.url, "http://"), time.Now())
}

// registered checks what the server made of the client. Where it says what it
// registered, that must be what was asked for where the difference matters: the
// addresses that codes are sent to, and the kind of grant.
func (t registrationAnswer) registered(host string, m ClientMetadata, plain bool, now time.Time) (Registered, *credential.Failure) {
	unfit := func(s string, most int) bool { return len(s) > most || strings.ContainsFunc(s, notVSCHAR) }
	switch {
	case t.ClientID == "" || unfit(t.ClientID, maxGivenID):
		return Registered{}, badRegistration(host + " registered a client without a client_id that can be used")
	case unfit(t.Secret, maxGivenSecret) || unfit(t.ManageToken, maxGivenSecret):
		return Registered{}, badRegistration(host + " registered a client with a secret that cannot be used")
	case t.RedirectURIs != nil && !sameSet(t.RedirectURIs, m.RedirectURIs):
		return Registered{}, badRegistration(host + " registered the client with other redirect_uris than it was given")
	case t.GrantTypes != nil && !slices.Contains(t.GrantTypes, "authorization_code"):
		return Registered{}, badRegistration(host + " registered the client without the grant type authorization_code")
	}
	r := Registered{ClientID: t.ClientID, Secret: credential.NewSecret(t.Secret), AuthMethod: catalog.AuthMethod(t.AuthMethod)}
	if r.AuthMethod == "" && t.Secret != "" {
		r.AuthMethod = catalog.ClientSecretBasic // RFC 7591 section 2: the default
	}
	switch r.AuthMethod {
	case "", catalog.NoSecret:
		r.AuthMethod, r.Secret = catalog.NoSecret, credential.Secret{}
	case catalog.ClientSecretBasic, catalog.ClientSecretPost, catalog.ClientSecretJWT:
		if t.Secret == "" {
			return Registered{}, badRegistration(host + " registered the client with " + string(r.AuthMethod) + " and gave it no secret")
		}
	case catalog.PrivateKeyJWT:
		if m.AuthMethod != t.AuthMethod {
			return Registered{}, badRegistration(host + " registered the client with a key that it did not give")
		}
		r.Secret = credential.Secret{}
	default:
		return Registered{}, badRegistration(host + " registered the client with a token_endpoint_auth_method that is not known here")
	}
	if ends, err := t.SecretEnds.Int64(); err == nil && ends > 0 && !r.Secret.IsZero() {
		if r.SecretEnds = time.Unix(ends, 0).UTC(); !r.SecretEnds.After(now) {
			return Registered{}, badRegistration(host + " registered the client with a secret that has expired already")
		}
	}
	if t.ManageToken != "" && isEndpoint(t.ManageURL, plain) {
		r.ManageURL, r.ManageToken = t.ManageURL, credential.NewSecret(t.ManageToken)
	}
	return r, nil
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}
