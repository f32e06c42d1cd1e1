package oauth

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// Token type hints of RFC 7009 section 2.1.
const (
	HintAccessToken  = "access_token"
	HintRefreshToken = "refresh_token"
)

// Revoke ends a token at the provider (RFC 7009, or the provider's own way). The
// hint says what it is; empty: not known. A token that the provider does not
// know, or holds for dead, counts as revoked; one of a kind that it cannot
// revoke is left alone. The error is always a *[credential.Failure]; that of a
// provider without a revocation_url has the code "bad_revocation_url".
func (c *Client) Revoke(ctx context.Context, reg Registration, token credential.Secret, hint string) error {
	if failure := c.complete(ctx, &reg); failure != nil {
		return failure
	}
	of := reg.Provider
	if of.RevocationTakes != "" && hint != "" && hint != of.RevocationTakes {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, failure := c.send(ctx, revocation(reg, token, hint))
	if failure != nil {
		return failure
	}
	if failure = classify(answer, parse(answer.header, answer.body), of, time.Now()); failure == nil {
		return nil
	}
	gone := answer.status == http.StatusNotFound || answer.status == http.StatusGone
	if failure.Class == credential.Terminal || of.RevocationMethod == http.MethodDelete && gone {
		return nil
	}
	hideSecrets(failure, token, reg.ClientSecret)
	return failure
}

// revocation is the request for it. The token stands in the address, presents
// itself, or is a parameter.
func revocation(reg Registration, token credential.Secret, hint string) call {
	of, p := reg.Provider, params{}
	p.add(of.RevocationParams)
	byItself := of.RevocationAuth == catalog.RevokeByToken || strings.Contains(of.RevocationURL, "{token}")
	switch {
	case of.RevocationTokenParameter != "":
		p.set(of.RevocationTokenParameter, token.Reveal())
	case !byItself:
		p.set("token", token.Reveal())
	}
	if hint != "" && !byItself && of.RevocationTokenParameter == "" && of.RevocationBodyFormat != catalog.JSONBody {
		p.set("token_type_hint", hint)
	}
	return call{
		endpoint: "revocation_url", url: of.RevocationURL, reg: reg, params: p,
		method: of.RevocationMethod, auth: of.RevocationAuth, format: of.RevocationBodyFormat, bearer: token,
	}
}
