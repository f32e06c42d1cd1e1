package oauth

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// params are the parameters of a request's body.
type params map[string]string

func newParams(grantType string) params { return params{"grant_type": grantType} }

// add adds the catalogue's parameters. They never replace one that the
// protocol has set: package catalog refuses those names, and the protocol's
// own are set last.
func (p params) add(extra map[string]string) {
	for name, value := range extra {
		if name != "grant_type" {
			p[name] = value
		}
	}
}

func (p params) set(name, value string) { p[name] = value }

func (p params) setScopes(provider *catalog.Provider, scopes []string) {
	if len(scopes) > 0 {
		p["scope"] = strings.Join(scopes, provider.Separator())
	}
}

// encode writes the body and names its content type.
func (p params) encode(format catalog.BodyFormat, resources []string) (body []byte, contentType string, err error) {
	if format == catalog.JSONBody {
		body, err = json.Marshal(p.withResources(resources))
		return body, "application/json", err
	}
	form := make(url.Values, len(p))
	for name, value := range p {
		form[name] = []string{value}
	}
	if len(resources) > 0 {
		form["resource"] = resources
	}
	return []byte(form.Encode()), "application/x-www-form-urlencoded", nil
}

// withResources is what is written as JSON: several resources are a list.
func (p params) withResources(resources []string) any {
	switch len(resources) {
	case 0:
		return p
	case 1:
		p["resource"] = resources[0]
		return p
	}
	all := make(map[string]any, len(p)+1)
	for name, value := range p {
		all[name] = value
	}
	all["resource"] = resources
	return all
}

// call is a request to be sent.
type call struct {
	endpoint string // the catalogue's name of url, for messages
	url      string // may hold URL variables
	reg      Registration
	params   params
	// resources are resource indicators (RFC 8707), the one parameter that may be
	// repeated.
	resources []string
	format    catalog.BodyFormat
	// raw is a JSON body in place of the parameters.
	raw    []byte
	method string // empty: POST
	// auth is who asks, as the catalogue writes it for revocations; empty: the
	// client, as everywhere.
	auth string
	// bearer is a token that stands in the address or presents itself.
	bearer credential.Secret
	// bound requests prove the possession of a key (RFC 9449), with the server's nonce.
	bound bool
	nonce string
}

// target fills and checks the address. Its failure does not repeat the address.
func (c call) target() (*url.URL, *credential.Failure) {
	wrong := func(why string) (*url.URL, *credential.Failure) {
		return nil, &credential.Failure{Class: credential.Misconfigured, Code: "bad_" + c.endpoint, Detail: c.endpoint + " of the integration " + why}
	}
	if c.url == "" {
		return wrong("is not set")
	}
	filled, err := c.reg.Provider.Fill(c.withOwn(c.url))
	if err != nil {
		return wrong("has a variable without a value; set url_variables")
	}
	u, err := url.Parse(filled)
	if err != nil || u.Hostname() == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return wrong("is not an https URL with a host and without a password")
	}
	return u, nil
}

// request builds the HTTP request, whose body passes through the flight's gate.
func (c call) request(f *flight, u *url.URL, userAgent string) (*http.Request, *credential.Failure) {
	header, failure := c.header(u, userAgent)
	if failure != nil {
		return nil, failure
	}
	c.params.rename(c.reg.Provider)
	if c.bodyless() {
		return c.query(f, u, header), nil
	}
	body, contentType, err := c.raw, "application/json", error(nil)
	if body == nil {
		body, contentType, err = c.params.encode(c.format, c.resources)
	}
	if err != nil { // its text may show a parameter
		return nil, misconfigured("bad_"+c.endpoint, "no request can be made for "+c.endpoint)
	}
	header.Set("Content-Type", contentType)
	req := (&http.Request{
		Method: c.verb(), URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(&gate{flight: f, r: bytes.NewReader(body)}), ContentLength: int64(len(body)),
	}).WithContext(f.ctx)
	// net/http asks for the body again only to repeat an attempt that wrote
	// nothing: a pooled connection that had died meanwhile.
	req.GetBody = func() (io.ReadCloser, error) {
		f.rewind()
		return io.NopCloser(&gate{flight: f, r: bytes.NewReader(body)}), nil
	}
	return req, nil
}

// verb is the method of the HTTP request.
func (c call) verb() string { return cmp.Or(c.method, http.MethodPost) }

// header is the request's, with all that tells who asks. Some of that goes into
// the parameters.
func (c call) header(u *url.URL, userAgent string) (http.Header, *credential.Failure) {
	h := http.Header{"Accept": {"application/json"}, "User-Agent": {userAgent}}
	for name, value := range c.reg.Provider.TokenHeaders {
		h.Set(name, value)
	}
	if failure := c.authenticate(h, u); failure != nil {
		return nil, failure
	}
	if c.bound {
		if failure := c.prove(h, u); failure != nil {
			return nil, failure
		}
	}
	return h, nil
}
