package oauth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// AuthorizationRequest asks a person, through a browser, for a grant (RFC 6749
// section 4.1.1). Empty fields are left out.
type AuthorizationRequest struct {
	RedirectURI string
	State       string
	// Scopes to ask for; none: the provider's usual ones. Those without which it
	// gives no refresh token are added.
	Scopes []string
	// Verifier is the secret of PKCE (RFC 7636): only its S256 challenge is sent,
	// and nothing to a provider that breaks on it.
	Verifier credential.Secret
	// Nonce comes back within the id_token (OpenID Connect Core section 3.1.2.1).
	Nonce string
	// Params are added; they win over the catalogue's and never replace one that
	// the protocol sets.
	Params map[string]string
	// Resources are resource indicators (RFC 8707); nil: those of the provider.
	Resources []string
}

// AuthorizationURL is the address to send the browser to. It does nothing but
// put it together. A provider that wants the request pushed first is served by
// [Client.Authorize]. The error is always a *[credential.Failure].
func AuthorizationURL(reg Registration, r AuthorizationRequest) (string, error) {
	u, failure := call{endpoint: "authorization_url", url: reg.Provider.AuthorizationURL, reg: reg}.target()
	if failure != nil {
		return "", failure
	}
	q, _ := url.ParseQuery(u.RawQuery) // an end point may have a query of its own (RFC 6749 section 3.1)
	for name, value := range r.params(reg) {
		q.Set(name, value)
	}
	for _, resource := range r.resources(reg) {
		q.Add("resource", resource)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// params are all parameters of the request but resource, which may be repeated.
func (r AuthorizationRequest) params(reg Registration) params {
	p := params{}
	p.add(reg.Provider.AuthorizationParams)
	p.add(r.Params)
	p.set("response_type", "code")
	of := reg.Provider
	p.set(cmp.Or(of.AuthorizationClientIDParameter, of.ClientIDParameter, "client_id"), reg.ClientID)
	for _, own := range []struct{ name, value string }{
		{"redirect_uri", r.RedirectURI}, {"state", r.State}, {"nonce", r.Nonce},
		{cmp.Or(of.ScopeParameter, "scope"), strings.Join(askedScopes(of, r.Scopes), of.Separator())},
	} {
		if own.value != "" {
			p.set(own.name, own.value)
		}
	}
	if !r.Verifier.IsZero() && reg.Provider.PKCE != catalog.PKCEUnsupported {
		p.set("code_challenge", challenge(r.Verifier))
		p.set("code_challenge_method", "S256")
	}
	if reg.bound() && reg.DPoPKey != nil {
		p.set("dpop_jkt", reg.DPoPKey.Thumbprint()) // RFC 9449 section 10: the code is bound, too
	}
	return p
}

// askedScopes are the given scopes, else the provider's usual ones, and those
// that it wants for a refresh token.
func askedScopes(of *catalog.Provider, scopes []string) []string {
	if len(scopes) == 0 {
		scopes = of.DefaultScopes
	}
	for _, s := range of.ScopesForRefresh {
		if !slices.Contains(scopes, s) {
			scopes = append(slices.Clone(scopes), s)
		}
	}
	return scopes
}

func (r AuthorizationRequest) resources(reg Registration) []string {
	if r.Resources != nil {
		return r.Resources
	}
	return reg.Provider.Resources
}

// challenge is the S256 challenge of a verifier (RFC 7636 section 4.2).
func challenge(verifier credential.Secret) string {
	sum := sha256.Sum256([]byte(verifier.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Authorize is the address to send the browser to, as [AuthorizationURL] puts
// it together. Where the provider has an end point for pushed authorization
// requests (RFC 9126), the request goes there first, from here and under the
// client's name, and the browser carries only a reference to it, which is good
// for a short time, once. The error is always a *[credential.Failure].
func (c *Client) Authorize(ctx context.Context, reg Registration, r AuthorizationRequest) (string, error) {
	if failure := c.complete(ctx, &reg); failure != nil {
		return "", failure
	}
	if reg.Provider.PushedAuthorizationRequestURL == "" {
		return AuthorizationURL(reg, r)
	}
	u, failure := call{endpoint: "authorization_url", url: reg.Provider.AuthorizationURL, reg: reg}.target()
	if failure != nil {
		return "", failure
	}
	reference, failure := c.push(ctx, reg, r)
	if failure != nil {
		hideSecrets(failure, reg.ClientSecret, r.Verifier, credential.NewSecret(r.State))
		return "", failure
	}
	q, _ := url.ParseQuery(u.RawQuery)
	q.Set("client_id", reg.ClientID)
	q.Set("request_uri", reference)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// push leaves the request with the server and returns its reference.
func (c *Client) push(ctx context.Context, reg Registration, r AuthorizationRequest) (string, *credential.Failure) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, failure := c.send(ctx, call{
		endpoint: "pushed_authorization_request_url", url: reg.Provider.PushedAuthorizationRequestURL,
		reg: reg, params: r.params(reg), resources: r.resources(reg),
	})
	if failure != nil {
		return "", failure
	}
	m := parse(answer.header, answer.body)
	if failure = classify(answer, m, reg.Provider, time.Now()); failure != nil {
		return "", failure
	}
	reference := m.fields.line("request_uri")
	if reference == "" || strings.ContainsFunc(reference, notVSCHAR) || answer.status != http.StatusCreated && answer.status != http.StatusOK {
		return "", &credential.Failure{Class: credential.Unrecognised, Code: "no_request_uri", Status: answer.status, Sent: true, Detail: answer.describe(m)}
	}
	return reference, nil
}
