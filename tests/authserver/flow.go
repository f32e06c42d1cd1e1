package authserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"

	"github.com/grantd/grantd/credential"
)

// Code is an authorization code and the secret that it is bound to (RFC 7636).
type Code struct {
	Value    credential.Secret
	Verifier credential.Secret
}

// Code has a person grant access in a browser (RFC 6749 section 4.1, with PKCE),
// and returns the code that the server sends the browser back with.
func (a *App) Code(ctx context.Context) (Code, error) {
	verifier, state := rand.Text()+rand.Text(), rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	params := url.Values{
		"response_type":         {"code"},
		"client_id":             {a.ClientID},
		"redirect_uri":          {a.RedirectURI},
		"scope":                 {strings.Join(a.Scopes, " ")},
		"state":                 {state},
		"nonce":                 {rand.Text()},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"},
	}
	for name, values := range a.AuthParams {
		params[name] = values
	}
	b, err := newBrowser(a.SignIn)
	if err != nil {
		return Code{}, err
	}
	defer b.close()
	back, err := b.visit(ctx, a.Metadata.Authorization+"?"+params.Encode(), a.RedirectURI)
	if err != nil {
		return Code{}, fmt.Errorf("authorize %s: %w", a.ClientID, err)
	}
	q := back.Query()
	if e := q.Get("error"); e != "" {
		return Code{}, fmt.Errorf("authorize %s: the server says %s: %s", a.ClientID, e, q.Get("error_description"))
	}
	if q.Get("state") != state {
		return Code{}, fmt.Errorf("authorize %s: the state that came back is not the one that was sent", a.ClientID)
	}
	if iss := q.Get("iss"); iss != "" && iss != a.Metadata.Issuer {
		return Code{}, fmt.Errorf("authorize %s: the answer is of issuer %q, not of %q", a.ClientID, iss, a.Metadata.Issuer)
	}
	if q.Get("code") == "" {
		return Code{}, fmt.Errorf("authorize %s: no code came back", a.ClientID)
	}
	return Code{Value: credential.NewSecret(q.Get("code")), Verifier: credential.NewSecret(verifier)}, nil
}

// Redeem exchanges a code for tokens (RFC 6749 section 4.1.3).
func (a *App) Redeem(ctx context.Context, c Code) (Answer, error) {
	return a.Post(ctx, a.Metadata.Token, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {c.Value.Reveal()},
		"redirect_uri":  {a.RedirectURI},
		"code_verifier": {c.Verifier.Reveal()},
	})
}
