package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// resourceWellKnown is where a host tells of its protected resources (RFC 9728
// section 3).
const resourceWellKnown = "/.well-known/oauth-protected-resource"

// maxListed bounds the lists that are taken from a resource's metadata.
const maxListed = 64

// Resource is what a protected resource tells of itself (RFC 9728 section 2).
type Resource struct {
	// Resource is its name, as tokens for it are asked for (RFC 8707).
	Resource string `json:"resource"`
	// AuthorizationServers are the issuers that it takes tokens of; at least one.
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported"`
	Name                 string   `json:"resource_name"`
	DPoPRequired         bool     `json:"dpop_bound_access_tokens_required"`
	// Asked are the scopes that it asked for itself when it was called without a
	// token (RFC 6750 section 3); nil: it said nothing.
	Asked []string `json:"-"`
}

// CheckResource says what is wrong with the address of a protected resource that
// a token is wanted for: credential.ErrInvalid. It is https, or http on this
// machine, without a fragment, a user and a query.
func CheckResource(address string) error {
	if _, failure := resourceURL(address); failure != nil {
		return &credential.Unavailable{Err: credential.ErrInvalid, Reason: failure.Detail}
	}
	return nil
}

func resourceURL(address string) (*url.URL, *credential.Failure) {
	u, err := url.Parse(address)
	if err != nil || !isEndpoint(address, true) || u.RawQuery != "" || u.ForceQuery || strings.Contains(address, "#") {
		return nil, misconfigured("bad_resource", "the address must be an https URL with a host, and without a user, a query and a fragment; http is taken on this machine only")
	}
	return u, nil
}

// FindResource asks a protected resource for its metadata: where it says itself,
// when it is called without a token, that they are, else at its host's well-known
// places (RFC 9728 sections 3 and 5). The error is always a *[credential.Failure].
func (c *Client) FindResource(ctx context.Context, address string) (*Resource, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	u, failure := resourceURL(address)
	if failure != nil {
		return nil, failure
	}
	place, asked, failure := c.challengeOf(ctx, u)
	if failure != nil {
		return nil, failure
	}
	places := resourcePlaces(u)
	if place != "" {
		if !isEndpoint(place, u.Scheme == "http") {
			return nil, misconfigured("bad_resource_metadata", "the server says that its metadata are at an address that is not an https URL of a host")
		}
		places = []string{place}
	}
	for _, place := range places {
		r, failure := c.fetchResource(ctx, place)
		if failure != nil {
			return nil, failure
		}
		if r == nil {
			continue
		}
		if failure := r.check(u, place); failure != nil {
			return nil, failure
		}
		r.Asked = asked
		return r, nil
	}
	return nil, misconfigured("no_resource_metadata", u.Host+" has no protected-resource metadata (RFC 9728), so its authorization server cannot be found; is the address right? Otherwise make an integration of the provider custom, with its end points")
}

// initialize is what a client of the Model Context Protocol says first.
const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"grantd","version":"1"}}}`

// challengeOf calls the resource without a token, to be told where its metadata
// are, and which scopes it wants; both may be empty. A GET is what changes
// nothing; where it is not allowed, the protocol's own first message is sent.
func (c *Client) challengeOf(ctx context.Context, u *url.URL) (place string, scopes []string, failure *credential.Failure) {
	for _, body := range []string{"", initialize} {
		status, header, failure := c.knock(ctx, u, body)
		if failure != nil {
			return "", nil, unanswered(failure)
		}
		for _, ch := range challenges(header) {
			if !strings.EqualFold(ch.scheme, "Bearer") && !strings.EqualFold(ch.scheme, "DPoP") {
				continue
			}
			if scopes == nil {
				scopes = wellFormed(strings.Fields(ch.params["scope"]))
			}
			if place == "" {
				place = ch.params["resource_metadata"]
			}
		}
		if status != http.StatusMethodNotAllowed && status != http.StatusNotAcceptable {
			break
		}
	}
	return place, scopes, nil
}

// knock sends a request without a token, and reads nothing of the answer's body,
// which may be a stream without an end.
func (c *Client) knock(ctx context.Context, u *url.URL, body string) (int, http.Header, *credential.Failure) {
	f := newFlight(ctx)
	defer f.end()
	header := http.Header{"Accept": {"application/json, text/event-stream"}, "User-Agent": {c.userAgent}}
	req := call{method: http.MethodGet}.query(f, u, header)
	if body != "" {
		header.Set("Content-Type", "application/json")
		req.Method, req.ContentLength = http.MethodPost, int64(len(body))
		req.Body = io.NopCloser(&gate{flight: f, r: bytes.NewReader([]byte(body))})
	}
	res, err := c.rt.RoundTrip(req)
	if err == nil && (res == nil || res.Body == nil) {
		err = errNoAnswer
	}
	if err != nil {
		return 0, nil, lost(f, u, err)
	}
	_ = res.Body.Close()
	return res.StatusCode, res.Header, nil
}

// resourcePlaces are the well-known places of a resource's metadata: with its
// path put behind, and the host's own.
func resourcePlaces(u *url.URL) []string {
	root := u.Scheme + "://" + u.Host + resourceWellKnown
	if path := strings.TrimSuffix(u.EscapedPath(), "/"); path != "" {
		return []string{root + path, root}
	}
	return []string{root}
}

// fetchResource reads the metadata at a place; nil without a failure: they are
// not there.
func (c *Client) fetchResource(ctx context.Context, place string) (*Resource, *credential.Failure) {
	a, failure := c.fetch(ctx, "resource_metadata", place)
	switch {
	case failure != nil:
		return nil, failure
	case a.status != http.StatusOK:
		return nil, nil
	case a.cut != "":
		return nil, misconfigured("bad_resource_metadata", a.host+" gave metadata of its resource that cannot be read: "+a.cut)
	}
	r := &Resource{}
	if json.Unmarshal(a.body, r) != nil {
		return nil, misconfigured("bad_resource_metadata", a.host+" gave metadata of its resource that are not JSON as they must be")
	}
	return r, nil
}

// fetch asks for a public document. A server that is busy or broken is a
// failure; nothing of a grant is sent.
func (c *Client) fetch(ctx context.Context, what, place string) (answer, *credential.Failure) {
	a, failure := c.send(ctx, call{
		endpoint: what, url: place, method: http.MethodGet, auth: catalog.RevokeByNobody,
		reg: Registration{Provider: &catalog.Provider{}}, params: params{},
	})
	switch {
	case failure != nil:
		return a, unanswered(failure)
	case a.status == http.StatusTooManyRequests || a.status >= 500:
		return a, &credential.Failure{Class: credential.Transient, Code: "no_metadata", Status: a.status, Detail: fmt.Sprintf("%s answered the request for its metadata with HTTP %d", a.host, a.status), RetryAfter: retryAfter(a.header, &catalog.Provider{}, time.Now())}
	}
	return a, nil
}

// check compares the metadata with the address that was asked for, and cuts what
// is not well-formed or too long.
//
// RFC 9728 section 3.3 wants resource to be that address, to the letter. MCP
// servers often name their host, or a part of the path, for several end points;
// that is taken from the host's own well-known tree only, so that who has one path
// of a host cannot have tokens made for all of it.
func (r *Resource) check(asked *url.URL, place string) *credential.Failure {
	named, err := url.Parse(r.Resource)
	if err != nil || r.Resource == "" || !sameOrigin(named, asked) || named.RawQuery != "" || named.Fragment != "" || named.User != nil {
		return misconfigured("resource_mismatch", "the metadata of "+asked.Host+" are of another resource than the one that was asked for; give the address that they name, or ask the server's operator")
	}
	own, at := strings.TrimSuffix(named.EscapedPath(), "/"), strings.TrimSuffix(asked.EscapedPath(), "/")
	from, err := url.Parse(place)
	inTree := err == nil && sameOrigin(from, asked) && (from.EscapedPath() == resourceWellKnown || strings.HasPrefix(from.EscapedPath(), resourceWellKnown+"/"))
	if own != at && !(inTree && strings.HasPrefix(at+"/", own+"/")) {
		return misconfigured("resource_mismatch", "the metadata of "+asked.Host+" are of another resource than the one that was asked for; give the address that they name, or ask the server's operator")
	}
	if len(r.AuthorizationServers) == 0 || len(r.AuthorizationServers) > maxListed {
		return misconfigured("no_authorization_server", "the metadata of "+asked.Host+" name no authorization server, or too many; give the end points with an integration of the provider custom")
	}
	for _, issuer := range r.AuthorizationServers {
		if !isEndpoint(issuer, asked.Scheme == "http") {
			return misconfigured("bad_resource_metadata", "the metadata of "+asked.Host+" name an authorization server that is not an https URL of a host")
		}
	}
	r.Scopes = wellFormed(r.Scopes)
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case strings.EqualFold(u.Scheme, "http"):
		return "80"
	}
	return "443"
}

// wellFormed keeps what can be scopes (RFC 6749 section 3.3), each once; nil
// where nothing is left, or where there are too many to be meant.
func wellFormed(scopes []string) []string {
	const most = 256 // bytes of one
	if len(scopes) > maxListed {
		return nil
	}
	var kept []string
	for _, s := range scopes {
		if s == "" || len(s) > most || slices.Contains(kept, s) || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			continue
		}
		kept = append(kept, s)
	}
	return kept
}
