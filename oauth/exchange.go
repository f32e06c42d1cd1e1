package oauth

import (
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
// The error is always a *[credential.Failure], and holds nothing of the code.
func (c *Client) Exchange(ctx context.Context, reg Registration, e Exchange) (credential.Grant, error) {
	p := newParams("authorization_code")
	p.add(reg.Provider.TokenParams)
	p.set("code", e.Code.Reveal())
	if e.RedirectURI != "" {
		p.set("redirect_uri", e.RedirectURI)
	}
	if !e.Verifier.IsZero() && reg.Provider.PKCE != catalog.PKCEUnsupported {
		p.set("code_verifier", e.Verifier.Reveal())
	}
	return c.token(ctx, reg, tokenRequest{params: p, resources: e.Resources, secrets: [2]credential.Secret{e.Code, e.Verifier}})
}
