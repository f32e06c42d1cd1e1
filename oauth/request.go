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

// authenticate adds the client's identity (RFC 6749 section 2.3.1) to the
// parameters, or returns the user and password for HTTP Basic.
func (p params) authenticate(reg Registration) (user, password string, basic bool) {
	method := reg.Provider.TokenAuthMethod
	if reg.ClientSecret.IsZero() {
		method = catalog.NoSecret // a public client, whatever others do at this provider
	}
	switch method {
	case catalog.ClientSecretPost:
		p["client_id"], p["client_secret"] = reg.ClientID, reg.ClientSecret.Reveal()
	case catalog.NoSecret:
		p["client_id"] = reg.ClientID
	default:
		// Both are form-encoded before they are joined: an id may hold a colon.
		return url.QueryEscape(reg.ClientID), url.QueryEscape(reg.ClientSecret.Reveal()), true
	}
	return "", "", false
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
	method    string // empty: POST
	// auth is who asks, as the catalogue writes it for revocations; empty: the
	// client, as everywhere.
	auth string
	// bearer is a token that stands in the address or presents itself.
	bearer credential.Secret
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
func (c call) request(f *flight, u *url.URL, userAgent string) (*http.Request, error) {
	user, password, basic := c.authenticate()
	c.params.rename(c.reg.Provider)
	if c.bodyless() {
		return c.query(f, u, userAgent, user, password, basic), nil
	}
	body, contentType, err := c.params.encode(c.format, c.resources)
	if err != nil {
		return nil, err
	}
	req := (&http.Request{
		Method: cmp.Or(c.method, http.MethodPost), URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {contentType}, "Accept": {"application/json"}, "User-Agent": {userAgent}},
		Body:   io.NopCloser(&gate{flight: f, r: bytes.NewReader(body)}), ContentLength: int64(len(body)),
	}).WithContext(f.ctx)
	// net/http asks for the body again only to repeat an attempt that wrote
	// nothing: a pooled connection that had died meanwhile.
	req.GetBody = func() (io.ReadCloser, error) {
		f.rewind()
		return io.NopCloser(&gate{flight: f, r: bytes.NewReader(body)}), nil
	}
	c.finish(req, user, password, basic)
	return req, nil
}
