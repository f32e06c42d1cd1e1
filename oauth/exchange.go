package oauth

import (
	"cmp"
	"context"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// Exchange trades the code of an authorization response for a grant.
type Exchange struct {
	Code credential.Secret
	// RedirectURI is the one of the authorization request, to the letter.
	RedirectURI string
	Verifier    credential.Secret // of PKCE; empty: none was used
	// Nonce is the one of the authorization request; empty: none was sent.
	Nonce string
	// Resources are resource indicators (RFC 8707); nil: those of the provider.
	Resources []string
}

// Exchange trades a code for a grant (RFC 6749 section 4.1.3). It is not to be
// repeated: a code that is presented twice may end the grant that it brought.
// Where the catalogue says so, the token is traded at once for one that lives
// longer, and the provider is asked for the facts that the answer does not tell.
// The error is always a *[credential.Failure], and holds nothing of the code.
func (c *Client) Exchange(ctx context.Context, reg Registration, e Exchange) (credential.Grant, error) {
	if failure := c.complete(ctx, &reg); failure != nil {
		return credential.Grant{}, failure
	}
	p := newParams(cmp.Or(reg.Provider.ExchangeGrantType, "authorization_code"))
	p.add(reg.Provider.TokenParams)
	p.add(reg.Provider.ExchangeParams)
	p.set("code", e.Code.Reveal())
	if e.RedirectURI != "" {
		p.set("redirect_uri", e.RedirectURI)
	}
	if !e.Verifier.IsZero() && reg.Provider.PKCE != catalog.PKCEUnsupported {
		p.set("code_verifier", e.Verifier.Reveal())
	}
	g, err := c.token(ctx, reg, tokenRequest{params: p, resources: e.Resources, identify: true, nonce: e.Nonce, secrets: [2]credential.Secret{e.Code, e.Verifier}})
	if err == nil && reg.Provider.ExtensionURL != "" {
		g, err = c.extend(ctx, reg, g)
	}
	if err != nil {
		return credential.Grant{}, err
	}
	if reg.Provider.FactsRequest != nil {
		// The grant is good without them, and its code is spent: a failure here
		// costs the facts only.
		if told, err := c.Facts(ctx, reg, g.AccessToken); err == nil {
			g.Facts = credential.MergeFacts(g.Facts, told)
		}
	}
	if g.Subject.IsZero() && asksForOpenID(reg, g) {
		if who, err := c.Userinfo(ctx, reg, g.AccessToken); err == nil {
			g.Subject = who
		}
	}
	return g, nil
}

// extend trades the token of an exchange, which lives for an hour or so, for
// one that can be kept. What the trade does not tell stays as the exchange told
// it.
func (c *Client) extend(ctx context.Context, reg Registration, g credential.Grant) (credential.Grant, error) {
	p := newParams(reg.Provider.ExtensionGrantType)
	p.add(reg.Provider.TokenParams)
	p.set("refresh_token", g.AccessToken.Reveal())
	at := refreshPlace(reg.Provider)
	at.endpoint, at.url = "extension_url", reg.Provider.ExtensionURL
	long, err := c.token(ctx, reg, tokenRequest{params: p, at: at, secrets: [2]credential.Secret{g.AccessToken}})
	if err != nil {
		return credential.Grant{}, err
	}
	if long.Scopes == nil {
		long.Scopes = g.Scopes
	}
	if long.Subject.IsZero() {
		long.Subject = g.Subject
	}
	long.Facts = credential.MergeFacts(g.Facts, long.Facts)
	return long, nil
}
