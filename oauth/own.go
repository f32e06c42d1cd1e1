package oauth

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/grantd/grantd/catalog"
)

// What providers do in their own way about requests.

// rename gives parameters the provider's own names.
func (p params) rename(of *catalog.Provider) {
	for _, own := range [...]struct{ standard, name string }{
		{"client_id", of.ClientIDParameter}, {"client_secret", of.ClientSecretParameter}, {"grant_type", of.GrantTypeParameter},
		{"code", of.CodeParameter}, {"refresh_token", of.RefreshTokenParameter},
	} {
		if own.name == "" {
			continue
		}
		if value, ok := p[own.standard]; ok {
			delete(p, own.standard)
			p[own.name] = value
		}
	}
}

// withOwn puts the client's id and the token of a revocation into an address
// that has places for them; package catalog sees to it that these are behind
// the host.
func (c call) withOwn(address string) string {
	if c.endpoint != "revocation_url" || !strings.Contains(address, "{") {
		return address
	}
	address = strings.ReplaceAll(address, "{client_id}", url.QueryEscape(c.reg.ClientID))
	return strings.ReplaceAll(address, "{token}", url.QueryEscape(c.bearer.Reveal()))
}

// bodyless reports whether the parameters go into the address.
func (c call) bodyless() bool {
	return c.method == http.MethodGet || c.method == http.MethodDelete && c.format == ""
}

// query builds a request without a body. What has none has an empty one here:
// net/http asks for its first byte before it writes the head, so that the
// flight's gate sees the request pass, and repeats no request whose body it
// cannot ask for anew.
func (c call) query(f *flight, u *url.URL, header http.Header) *http.Request {
	with := *u
	if q := with.Query(); len(c.params)+len(c.resources) > 0 {
		for name, value := range c.params {
			q.Set(name, value)
		}
		if len(c.resources) > 0 {
			q["resource"] = c.resources
		}
		with.RawQuery = q.Encode()
	}
	return (&http.Request{
		Method: c.method, URL: &with, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header,
		Body:   io.NopCloser(&gate{flight: f, r: bytes.NewReader(nil)}), ContentLength: -1,
	}).WithContext(f.ctx)
}

// place is where a token request goes, and how; the zero value is the token end
// point.
type place struct{ endpoint, url, method string }

// refreshPlace is where the provider's tokens are refreshed.
func refreshPlace(of *catalog.Provider) place {
	at := place{method: cmp.Or(of.RefreshRequestMethod, of.TokenRequestMethod)}
	if of.RefreshURL != "" {
		at.endpoint, at.url = "refresh_url", of.RefreshURL
	}
	return at
}

// or fills in what is as at the token end point.
func (at place) or(reg Registration) place {
	switch of := reg.Provider; {
	case at.url != "":
	case of.MTLSTokenURL != "" && reg.authMethod().MutualTLS(): // RFC 8705 section 5
		at.endpoint, at.url = "mtls_token_url", of.MTLSTokenURL
	default:
		at.endpoint, at.url = "token_url", of.TokenURL
	}
	at.method = cmp.Or(at.method, reg.Provider.TokenRequestMethod)
	return at
}
