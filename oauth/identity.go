package oauth

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	oidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// maxClockAhead is how far a server's clock may be ahead of ours.
const maxClockAhead = 5 * time.Minute

// identify reads who authorised out of the id_token of an answer. It came from
// the token end point itself, over TLS, which stands for its signature (OpenID
// Connect Core section 3.1.3.7, step 6); all else that the section demands is
// checked: issuer, audience, authorized party, times, nonce. A token that fails
// was meant for somebody else, or for another request: the grant beside it must
// not be taken.
func identify(ctx context.Context, reg Registration, m message, nonce string) (credential.Subject, *credential.Failure) {
	raw, _ := m.fields.text("id_token")
	if raw == "" {
		return credential.Subject{}, nil
	}
	wrong := func(what string) (credential.Subject, *credential.Failure) {
		return credential.Subject{}, &credential.Failure{
			Class: credential.Unrecognised, Code: "bad_id_token", Sent: true,
			Detail: "the id_token of the answer " + what + "; the grant is not taken",
		}
	}
	issuer, err := reg.Provider.Fill(reg.Provider.Issuer)
	if err != nil || len(raw) > maxToken {
		return wrong("cannot be checked")
	}
	token, err := oidc.NewVerifier(issuer, nil, &oidc.Config{
		ClientID: reg.ClientID, SkipIssuerCheck: issuer == "", InsecureSkipSignatureCheck: true,
		SupportedSigningAlgs: idTokenAlgorithms(),
	}).Verify(ctx, raw)
	if err != nil { // its text quotes the token's claims
		return wrong("does not name this issuer and this client, has expired, or cannot be read")
	}
	var also struct {
		AuthorizedParty string `json:"azp"`
	}
	if token.Claims(&also) != nil {
		return wrong("cannot be read")
	}
	switch {
	case len(token.Audience) > 1 && also.AuthorizedParty == "", also.AuthorizedParty != "" && also.AuthorizedParty != reg.ClientID:
		return wrong("was issued to another client")
	case token.IssuedAt.After(time.Now().Add(maxClockAhead)):
		return wrong("was issued in the future")
	case nonce != "" && token.Nonce != nonce:
		return wrong("does not hold the nonce of the authorization request")
	case token.Subject == "" || len(token.Subject) > 1024 || token.Issuer == "":
		return wrong("names nobody")
	}
	return credential.Subject{Issuer: token.Issuer, User: token.Subject}, nil
}

// idTokenAlgorithms are those that an id_token may be signed with.
func idTokenAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"}
}

// named puts who authorised into the grant. Where the catalogue has found the
// user in the answer already, that stays.
func named(ctx context.Context, reg Registration, m message, nonce string, g *credential.Grant) *credential.Failure {
	who, failure := identify(ctx, reg, m, nonce)
	if failure == nil && g.Subject.IsZero() {
		g.Subject = who
	}
	return failure
}

// Userinfo asks who a token stands for (OpenID Connect Core section 5.3, or
// where the catalogue says that the answer names the user). Nobody is named
// where the provider has no such end point. The error is always a
// *[credential.Failure].
func (c *Client) Userinfo(ctx context.Context, reg Registration, access credential.Secret) (credential.Subject, error) {
	if failure := c.complete(ctx, &reg); failure != nil {
		return credential.Subject{}, failure
	}
	if reg.Provider.UserinfoURL == "" {
		return credential.Subject{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, failure := c.sendProven(ctx, call{
		endpoint: "userinfo_url", url: reg.Provider.UserinfoURL, reg: reg, params: params{},
		method: http.MethodGet, auth: catalog.RevokeByToken, bearer: access,
	})
	if failure != nil {
		return credential.Subject{}, failure
	}
	m := parse(answer.header, answer.body)
	if failure = classify(answer, m, reg.Provider, time.Now()); failure != nil {
		hideSecrets(failure, access, reg.ClientSecret)
		return credential.Subject{}, failure
	}
	holder, name := m.fields.find(cmp.Or(reg.Provider.UserinfoSubjectField, "sub"))
	user := holder.line(name)
	if user == "" {
		return credential.Subject{}, &credential.Failure{Class: credential.Unrecognised, Code: "no_subject", Status: answer.status, Sent: true, Detail: answer.describe(m)}
	}
	issuer, err := reg.Provider.Fill(reg.Provider.Issuer)
	if err != nil || issuer == "" {
		issuer = cmp.Or(reg.Provider.ID, catalog.Custom)
	}
	return credential.Subject{Issuer: issuer, User: user}, nil
}

// asksForOpenID reports whether the scopes make the server answer at the
// userinfo end point, as far as that can be told.
func asksForOpenID(reg Registration, g credential.Grant) bool {
	return reg.Provider.UserinfoSubjectField != "" || g.Scopes == nil || slices.Contains(g.Scopes, "openid")
}
