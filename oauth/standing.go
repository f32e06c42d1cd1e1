package oauth

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// Grant types whose answers hold an access token and nothing to refresh it
// with.
const (
	grantJWTBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// JWTBearer trades an assertion for a token (RFC 7523 section 2.1). The client
// signs it with its key, for itself or for the subject. The scopes stand in the
// request and, for servers that look there, in the assertion. The error is always
// a *[credential.Failure].
func (c *Client) JWTBearer(ctx context.Context, reg Registration, b credential.Bearer, scopes []string) (credential.Grant, error) {
	if failure := c.complete(ctx, &reg); failure != nil {
		return credential.Grant{}, failure
	}
	assertion, err := reg.bearerAssertion(b, scopes)
	if err != nil {
		return credential.Grant{}, unsigned(err)
	}
	p := newParams(grantJWTBearer)
	p.add(reg.Provider.TokenParams)
	p.set("assertion", assertion)
	p.setScopes(reg.Provider, scopes)
	r := tokenRequest{params: p, secrets: [2]credential.Secret{credential.NewSecret(assertion)}}
	if reg.Provider.TokenAuthMethod == "" && reg.ClientSecret.IsZero() {
		r.auth = catalog.RevokeByNobody // the assertion says who asks (RFC 7521 section 4.1)
	}
	return c.standing(ctx, reg, r)
}

func (reg Registration) bearerAssertion(b credential.Bearer, scopes []string) (string, error) {
	if reg.Key == nil {
		return "", errNoKey
	}
	subject := b.Subject
	if subject == "" {
		subject = reg.ClientID
	}
	claims, err := reg.assertion(subject)
	if err != nil {
		return "", err
	}
	if len(scopes) > 0 {
		claims["scope"] = strings.Join(scopes, " ")
	}
	for name, value := range b.Claims {
		if string(value) == "null" {
			delete(claims, name)
			continue
		}
		claims[name] = json.RawMessage(value)
	}
	return reg.Key.Sign(claims, reg.Certificate.Header())
}

// TokenExchange trades a token of somebody's for one of this server (RFC 8693).
// The error is always a *[credential.Failure].
func (c *Client) TokenExchange(ctx context.Context, reg Registration, s credential.Subjected, scopes []string) (credential.Grant, error) {
	p := newParams(grantTokenExchange)
	p.add(reg.Provider.TokenParams)
	p.set("subject_token", s.Token)
	p.set("subject_token_type", s.TokenType)
	if s.Audience != "" {
		p.set("audience", s.Audience)
	}
	p.setScopes(reg.Provider, scopes)
	r := tokenRequest{params: p, secrets: [2]credential.Secret{credential.NewSecret(s.Token)}}
	if s.Resource != "" {
		r.resources = []string{s.Resource}
	}
	return c.standing(ctx, reg, r)
}

// standing makes the request. A refresh token that comes along is not kept:
// what was presented stays good, and is presented again.
func (c *Client) standing(ctx context.Context, reg Registration, r tokenRequest) (credential.Grant, error) {
	g, err := c.token(ctx, reg, r)
	g.RefreshToken, g.RefreshExpiresIn = credential.Secret{}, 0
	return g, err
}
