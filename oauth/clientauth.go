package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/url"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// assertionType is the kind of client assertion that a JWT is (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionLifetime is for how long a signed assertion is good: long enough for
// the request that carries it and a clock that is a minute off.
const assertionLifetime = 2 * time.Minute

// authMethod is how the client proves who it is. Whatever others do at this
// provider, a client that has nothing to prove it with is a public one, and one
// that has a key only signs with it.
func (reg Registration) authMethod() catalog.AuthMethod {
	switch method := reg.Provider.TokenAuthMethod; method {
	case catalog.PrivateKeyJWT, catalog.TLSClientAuth, catalog.SelfSignedTLS, catalog.NoSecret:
		return method
	default:
		switch {
		case !reg.ClientSecret.IsZero():
			return method
		case reg.Key != nil && method == "":
			return catalog.PrivateKeyJWT
		}
		return catalog.NoSecret
	}
}

// authenticate adds the client's identity (RFC 6749 section 2.3) to the
// parameters, or to the header for HTTP Basic.
func (c call) authenticate(header http.Header, u *url.URL) *credential.Failure {
	p, reg := c.params, c.reg
	switch c.auth { // a revocation in the provider's own way
	case catalog.RevokeByNobody:
		return nil
	case catalog.RevokeByToken:
		return c.present(header, u)
	case catalog.RevokeByBasic:
		reg.basic(header)
		return nil
	}
	switch method := reg.authMethod(); method {
	case catalog.ClientSecretPost:
		p["client_id"], p["client_secret"] = reg.ClientID, reg.ClientSecret.Reveal()
	case catalog.PrivateKeyJWT, catalog.ClientSecretJWT:
		assertion, err := reg.clientAssertion(method)
		if err != nil {
			return unsigned(err)
		}
		p["client_id"], p["client_assertion_type"], p["client_assertion"] = reg.ClientID, assertionType, assertion
	case catalog.NoSecret:
		p["client_id"] = reg.ClientID
	case catalog.TLSClientAuth, catalog.SelfSignedTLS: // RFC 8705 section 2: the handshake proves the rest
		if reg.Certificate == nil {
			return misconfigured("no_client_certificate", "the provider knows the client by its certificate; give client_certificate and client_key with the integration")
		}
		p["client_id"] = reg.ClientID
	default:
		reg.basic(header)
	}
	return nil
}

// basic puts the client's id and secret into the header. Both are form-encoded
// before they are joined: an id may hold a colon.
func (reg Registration) basic(header http.Header) {
	r := http.Request{Header: header}
	r.SetBasicAuth(url.QueryEscape(reg.ClientID), url.QueryEscape(reg.ClientSecret.Reveal()))
}

// present puts the token into the header, as what it is.
func (c call) present(header http.Header, u *url.URL) *credential.Failure {
	if !c.reg.bound() || c.reg.DPoPKey == nil {
		header.Set("Authorization", "Bearer "+c.bearer.Reveal())
		return nil
	}
	proof, err := Prove(c.reg.DPoPKey, Proof{Method: c.verb(), URL: u.String(), Nonce: c.nonce, AccessToken: c.bearer})
	if err != nil {
		return unsigned(err)
	}
	header.Set("Authorization", "DPoP "+c.bearer.Reveal())
	header.Set("DPoP", proof)
	return nil
}

func misconfigured(code, detail string) *credential.Failure {
	return &credential.Failure{Class: credential.Misconfigured, Code: code, Detail: detail}
}

// errNoKey is a client without the key that its way of proving itself needs.
var errNoKey = misconfigured("no_client_key", "the client proves itself by a signature; give client_key with the integration")

// unsigned is the failure of a request that could not be signed. Nothing was sent.
func unsigned(err error) *credential.Failure {
	if f, ok := err.(*credential.Failure); ok {
		return f
	}
	return misconfigured("not_signed", "the client's key could not sign the request; give another client_key")
}

// clientAssertion signs who the client is (RFC 7523 section 3).
func (reg Registration) clientAssertion(method catalog.AuthMethod) (string, error) {
	claims, err := reg.assertion(reg.ClientID)
	if err != nil {
		return "", err
	}
	if method == catalog.PrivateKeyJWT {
		if reg.Key == nil {
			return "", errNoKey
		}
		return reg.Key.Sign(claims, reg.Certificate.Header())
	}
	if len(reg.ClientSecret.Reveal()) < sha256.Size {
		return "", misconfigured("short_client_secret", "a client_secret of less than 32 bytes signs no assertion (RFC 7518 section 3.2); use another token_auth_method")
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(reg.ClientSecret.Reveal())}, nil)
	if err != nil {
		return "", err
	}
	return signJSON(signer, claims)
}

// assertion are the claims of an assertion that the client makes about subject.
// Its key belongs to one integration, so that no other server can be the
// audience that this one names (the audience is the operator's, or the token end
// point).
func (reg Registration) assertion(subject string) (map[string]any, error) {
	audience := reg.Provider.AssertionAudience
	if audience == "" {
		var err error
		if audience, err = reg.Provider.Fill(reg.Provider.TokenURL); err != nil {
			return nil, misconfigured("bad_token_url", "token_url of the integration has a variable without a value; set url_variables")
		}
	}
	now := time.Now()
	return map[string]any{
		"iss": reg.ClientID, "sub": subject, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionLifetime).Unix(),
	}, nil
}
