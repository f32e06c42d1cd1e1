package httpapi

import (
	"net/url"
	"strings"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

const (
	maxProofMethod = 32
	maxProofURL    = 4096
	maxProofNonce  = 1024
)

// Proof is a request that a token bound to a key is going to be presented with
// (RFC 9449). The zero value asks for none.
type Proof struct {
	Method, URL string
	Nonce       string // that the provider's API asked for; empty: none
}

// check looks at what a caller gave.
func (p Proof) check() error {
	if p == (Proof{}) {
		return nil
	}
	if p.Method == "" || p.URL == "" {
		return invalid("A DPoP proof is for one request: give both dpop_method and dpop_url, and dpop_nonce if the API asked for one.")
	}
	if len(p.Method) > maxProofMethod || strings.ContainsFunc(p.Method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		return invalid("Query parameter dpop_method must be the method of the request in capitals, such as GET.")
	}
	u, err := url.Parse(p.URL)
	if err != nil || len(p.URL) > maxProofURL || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return invalid("Query parameter dpop_url must be the URL of the request, of at most %d bytes.", maxProofURL)
	}
	if len(p.Nonce) > maxProofNonce || hasControl(p.Nonce) {
		return invalid("Query parameter dpop_nonce must have at most %d bytes and no control characters.", maxProofNonce)
	}
	return nil
}

// prove signs that the caller of the provider's API holds the token's key.
func (a *api) prove(x *exchange, ref credential.Ref, t credential.Token, p Proof) (wire.Secret, error) {
	if !strings.EqualFold(t.TokenType, "DPoP") {
		return "", invalid("The account's token is not bound to a key (its token_type is not DPoP), so that there is nothing to prove. Leave the dpop parameters out.")
	}
	account, err := a.Accounts.Account(&x.ctx, ref)
	if err != nil {
		return "", err
	}
	proof, err := a.Integrations.Prove(&x.ctx, account.Integration, t.Secret, p)
	return wire.Secret(proof.Reveal()), err
}
