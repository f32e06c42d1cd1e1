package oauth

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth/clientkey"
)

// DefaultTimeout bounds a call whose context allows more.
const DefaultTimeout = 30 * time.Second

// Registration is an OAuth client at a provider.
type Registration struct {
	// Provider's end points may hold URL variables; they are filled in for each
	// call. It is only read.
	Provider     *catalog.Provider
	ClientID     string
	ClientSecret credential.Secret // empty for a public client
	// Key signs assertions of the client; nil: it has none. Certificate is its
	// certificate with the same key.
	Key         *clientkey.Key
	Certificate *clientkey.Certificate
	// DPoPKey is what tokens are bound to where the provider requires DPoP.
	DPoPKey *clientkey.Key
}

// Options say how a [Client] behaves. The zero value is the default.
type Options struct {
	// Timeout bounds each call, from the dial to the last byte of the answer;
	// 0: [DefaultTimeout]. A context that ends sooner wins.
	Timeout time.Duration
	// UserAgent names the caller to providers; empty: "grantd".
	UserAgent string
}

// Client asks authorization servers. Between calls it keeps connections, the
// nonces that servers ask for, and what issuers tell of themselves. It never retries, and may be used by many goroutines.
type Client struct {
	rt        http.RoundTripper
	timeout   time.Duration
	userAgent string
	nonces    nonces
	mutual    mutual
	directory directory
}

// New returns a client that sends its requests through rt; nil: a
// [NewTransport] with the default options. Any round tripper will do that is
// safe for concurrent use and does not write a POST request twice; one that
// calls the hooks of net/http/httptrace lets failures be told apart more
// exactly.
func New(rt http.RoundTripper, o Options) *Client {
	c := &Client{rt: rt, timeout: o.Timeout, userAgent: o.UserAgent}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.userAgent == "" {
		c.userAgent = "grantd"
	}
	if rt == nil { // net/http's own default would reach private addresses
		c.rt = NewTransport(TransportOptions{})
	}
	return c
}

// Refresh trades a refresh token for a new grant (RFC 6749 section 6). Scopes
// are asked for where there are any; none means those of the grant. No byte of
// the request is written after the deadline of ctx. A request that the server
// refused because it wants a nonce of its own in the DPoP proof is sent once
// more: that refusal says for certain that the refresh token was not used. The
// error is always a *[credential.Failure].
func (c *Client) Refresh(ctx context.Context, reg Registration, refreshToken credential.Secret, scopes []string) (credential.Grant, error) {
	if refreshToken.IsZero() {
		return credential.Grant{}, &credential.Failure{
			Class: credential.Terminal, Code: credential.ReasonNoRefreshToken, Detail: "there is no refresh token to present",
		}
	}
	p := newParams(cmp.Or(reg.Provider.RefreshGrantType, "refresh_token"))
	p.add(reg.Provider.TokenParams)
	p.add(reg.Provider.RefreshParams)
	p.set("refresh_token", refreshToken.Reveal())
	p.setScopes(reg.Provider, scopes)
	return c.token(ctx, reg, tokenRequest{params: p, at: refreshPlace(reg.Provider), secrets: [2]credential.Secret{refreshToken}})
}

// ClientCredentials fetches a token for the client itself (RFC 6749 section
// 4.4). The error is always a *[credential.Failure].
func (c *Client) ClientCredentials(ctx context.Context, reg Registration, scopes []string) (credential.Grant, error) {
	p := newParams("client_credentials")
	p.add(reg.Provider.TokenParams)
	p.setScopes(reg.Provider, scopes)
	return c.token(ctx, reg, tokenRequest{params: p})
}

// tokenRequest is what one kind of grant asks of the token end point.
type tokenRequest struct {
	params    params
	resources []string // nil: those of the provider
	at        place
	auth      string // as in call
	// secrets are in the parameters; no failure may show them.
	secrets [2]credential.Secret
	// identify says that the answer comes after a person's consent, and may name
	// the person; nonce is what an id_token has to hold then.
	identify bool
	nonce    string
}

// token sends a token request and understands its answer.
func (c *Client) token(ctx context.Context, reg Registration, r tokenRequest) (credential.Grant, error) {
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > c.timeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	if failure := c.complete(ctx, &reg); failure != nil {
		return credential.Grant{}, failure
	}
	at := r.at.or(reg)
	call := call{endpoint: at.endpoint, url: at.url, method: at.method, auth: r.auth, reg: reg, params: r.params, resources: r.resources, format: reg.Provider.TokenBodyFormat}
	if r.resources == nil {
		call.resources = reg.Provider.Resources
	}
	answer, failure := c.sendProven(ctx, call)
	if failure != nil {
		return credential.Grant{}, failure
	}
	msg, now := parse(answer.header, answer.body), time.Now()
	if failure = classify(answer, msg, reg.Provider, now); failure == nil {
		var g credential.Grant
		if g, failure = readGrant(answer, msg, reg.Provider, now); failure == nil && r.identify {
			failure = named(ctx, reg, msg, r.nonce, &g)
		}
		if failure == nil {
			return g, nil
		}
	}
	hideSecrets(failure, r.secrets[0], r.secrets[1], reg.ClientSecret)
	return credential.Grant{}, failure
}
