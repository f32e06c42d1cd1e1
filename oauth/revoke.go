package oauth

import (
	"context"
	"time"

	"github.com/grantd/grantd/credential"
)

// Token type hints of RFC 7009 section 2.1.
const (
	HintAccessToken  = "access_token"
	HintRefreshToken = "refresh_token"
)

// Revoke ends a token at the provider (RFC 7009). The hint says what it is;
// empty: not known. A token that the provider does not know counts as revoked.
// The error is always a *[credential.Failure]; that of a provider without a
// revocation_url has the code "bad_revocation_url".
func (c *Client) Revoke(ctx context.Context, reg Registration, token credential.Secret, hint string) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	p := params{"token": token.Reveal()}
	if hint != "" {
		p.set("token_type_hint", hint)
	}
	answer, failure := c.send(ctx, call{endpoint: "revocation_url", url: reg.Provider.RevocationURL, reg: reg, params: p})
	if failure != nil {
		return failure
	}
	if failure = classify(answer, parse(answer.header, answer.body), reg.Provider, time.Now()); failure != nil {
		hideSecrets(failure, token, reg.ClientSecret)
		return failure
	}
	return nil
}
