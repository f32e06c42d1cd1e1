package oauth

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// Metadata is what an authorization server tells of itself (RFC 8414 section 2,
// OpenID Connect Discovery section 3). An absent field was not told.
type Metadata struct {
	Issuer                   string   `json:"issuer"`
	AuthorizationURL         string   `json:"authorization_endpoint"`
	TokenURL                 string   `json:"token_endpoint"`
	RevocationURL            string   `json:"revocation_endpoint"`
	IntrospectionURL         string   `json:"introspection_endpoint"`
	PushedURL                string   `json:"pushed_authorization_request_endpoint"`
	DeviceURL                string   `json:"device_authorization_endpoint"`
	UserinfoURL              string   `json:"userinfo_endpoint"`
	JWKSURL                  string   `json:"jwks_uri"`
	RegistrationURL          string   `json:"registration_endpoint"`
	TokenAuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	CodeChallengeMethods     []string `json:"code_challenge_methods_supported"`
	GrantTypes               []string `json:"grant_types_supported"`
	Scopes                   []string `json:"scopes_supported"`
	ResponseIss              bool     `json:"authorization_response_iss_parameter_supported"`
	ClientIDMetadataDocument bool     `json:"client_id_metadata_document_supported"`
	MutualTLS                struct {
		TokenURL string `json:"token_endpoint"`
	} `json:"mtls_endpoint_aliases"`
}

// check compares the issuer, to the letter (RFC 8414 section 3.3), and refuses
// end points that a token must not be sent to.
func (m *Metadata) check(issuer string) *credential.Failure {
	if m.Issuer != issuer {
		return misconfigured("issuer_mismatch", "the metadata of the issuer name another one; correct issuer, to the letter")
	}
	plain := strings.HasPrefix(issuer, "http://")
	for _, e := range []struct{ name, url string }{
		{"authorization_endpoint", m.AuthorizationURL}, {"token_endpoint", m.TokenURL}, {"revocation_endpoint", m.RevocationURL},
		{"introspection_endpoint", m.IntrospectionURL}, {"pushed_authorization_request_endpoint", m.PushedURL},
		{"device_authorization_endpoint", m.DeviceURL}, {"userinfo_endpoint", m.UserinfoURL}, {"jwks_uri", m.JWKSURL},
		{"registration_endpoint", m.RegistrationURL}, {"mtls_endpoint_aliases", m.MutualTLS.TokenURL},
	} {
		if e.url != "" && !isEndpoint(e.url, plain) {
			return misconfigured("bad_metadata", "the issuer's metadata have an "+e.name+" that is not an https URL of a host")
		}
	}
	return nil
}

// isEndpoint reports whether requests can go to an address: https, or http
// where the issuer itself is asked so, which is for this machine only. Where the
// host's name leads is seen when it is dialled.
func isEndpoint(s string, plain bool) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > 2048 || u.Hostname() == "" || u.User != nil || u.Fragment != "" || strings.ContainsAny(s, " {}<>\"\\^`|") {
		return false
	}
	return u.Scheme == "https" || plain && u.Scheme == "http" && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// fill returns the provider with the end points that it lacks. What it has
// stays: an operator knows better than a document.
func (m *Metadata) fill(of *catalog.Provider) *catalog.Provider {
	p := *of // the maps and slices are only read
	for _, e := range []struct {
		at   *string
		told string
	}{
		{&p.AuthorizationURL, m.AuthorizationURL}, {&p.TokenURL, m.TokenURL}, {&p.RevocationURL, m.RevocationURL},
		{&p.IntrospectionURL, m.IntrospectionURL}, {&p.PushedAuthorizationRequestURL, m.PushedURL}, {&p.DeviceAuthorizationURL, m.DeviceURL},
		{&p.UserinfoURL, m.UserinfoURL}, {&p.JWKSURL, m.JWKSURL}, {&p.RegistrationURL, m.RegistrationURL}, {&p.MTLSTokenURL, m.MutualTLS.TokenURL},
	} {
		if *e.at == "" {
			*e.at = e.told
		}
	}
	p.Issuer = m.Issuer
	p.AuthorizationResponseIss = p.AuthorizationResponseIss || m.ResponseIss
	has := func(method catalog.AuthMethod) bool { return slices.Contains(m.TokenAuthMethods, string(method)) }
	if p.TokenAuthMethod == "" && has(catalog.ClientSecretPost) && !has(catalog.ClientSecretBasic) {
		p.TokenAuthMethod = catalog.ClientSecretPost
	}
	return &p
}

// Settings are what the metadata say, as fields of a provider of the catalogue,
// for an integration that is to keep them.
func (m *Metadata) Settings() (map[string]json.RawMessage, error) {
	b, err := json.Marshal(*m.fill(&catalog.Provider{}))
	if err != nil {
		return nil, err
	}
	var settings map[string]json.RawMessage
	return settings, json.Unmarshal(b, &settings)
}

// metadataPlaces are where an issuer's metadata can be, in the order in which the
// Model Context Protocol wants them asked: RFC 8414's, which puts the well-known
// part before the issuer's path, and OpenID's, before and behind it.
func metadataPlaces(issuer string) ([]string, *credential.Failure) {
	u, err := url.Parse(issuer)
	if err != nil || u.RawQuery != "" || !isEndpoint(issuer, true) {
		return nil, misconfigured("bad_issuer", "issuer of the integration is not an https URL with a host and without query")
	}
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	places := []string{origin + "/.well-known/oauth-authorization-server" + path, origin + "/.well-known/openid-configuration" + path}
	if path != "" {
		places = append(places, origin+path+"/.well-known/openid-configuration")
	}
	return places, nil
}

// fetchMetadata asks the issuer for its metadata, and says for how long they
// are fresh. A host may have a page for every address, or metadata of another
// issuer at a place of this one's: the next place is asked then, and the first
// failure told where none has the right ones. Nothing of a grant is sent: a
// failure never was.
func (c *Client) fetchMetadata(ctx context.Context, issuer string) (*Metadata, time.Duration, *credential.Failure) {
	places, failure := metadataPlaces(issuer)
	if failure != nil {
		return nil, 0, failure
	}
	var first *credential.Failure
	for _, place := range places {
		a, failure := c.fetch(ctx, "issuer", place)
		if failure != nil {
			return nil, 0, failure
		}
		if a.status != http.StatusOK {
			continue // it is not here, or not for everybody
		}
		m, failure := readMetadata(a, issuer)
		if failure == nil {
			return m, freshness(a.header), nil
		}
		if first == nil {
			first = failure
		}
	}
	if first != nil {
		return nil, 0, first
	}
	return nil, 0, misconfigured("no_metadata", "the issuer has no metadata (RFC 8414, OpenID); give the end points with the integration, or correct issuer")
}

// readMetadata reads and checks what was found at a place.
func readMetadata(a answer, issuer string) (*Metadata, *credential.Failure) {
	if a.cut != "" {
		return nil, misconfigured("bad_metadata", a.host+" gave metadata that cannot be read: "+a.cut)
	}
	m := &Metadata{}
	if json.Unmarshal(a.body, m) != nil {
		return nil, misconfigured("bad_metadata", a.host+" gave metadata that are not JSON as they must be")
	}
	return m, m.check(issuer)
}

// unanswered is what a failure to ask means for what was to be done next: it
// was not begun.
func unanswered(f *credential.Failure) *credential.Failure {
	g := *f
	g.Sent = false
	if g.Class == credential.Ambiguous {
		g.Class = credential.Transient
	}
	return &g
}

// Bounds of how long metadata are believed without asking again.
const (
	defaultFresh = time.Hour
	minFresh     = 5 * time.Minute
	maxFresh     = 24 * time.Hour
)

// freshness follows max-age of Cache-Control (RFC 9111 section 5.2.2.1) within bounds.
func freshness(header http.Header) time.Duration {
	for directive := range strings.SplitSeq(header.Get("Cache-Control"), ",") {
		text, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(directive)), "max-age=")
		if !ok {
			continue
		}
		if age, err := time.ParseDuration(strings.Trim(text, `"`) + "s"); err == nil {
			return min(max(age, minFresh), maxFresh)
		}
	}
	return defaultFresh
}
