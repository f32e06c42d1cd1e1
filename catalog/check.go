package catalog

import (
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	maxURL     = 2048 // bytes
	maxText    = 512  // bytes of a parameter's value, a source, a name
	maxEntries = 64   // of a list or a map
)

var (
	idPattern     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	wordPattern   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	pathPattern   = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	sourcePattern = regexp.MustCompile(`^\S.* \((\d{4}-\d{2}-\d{2})\)$`)
)

// check says what is wrong with a provider's values, from a file or from
// overrides.
func check(p Provider) problems {
	var wrong problems
	checkURLs(&wrong, p)
	oneOf(&wrong, "token_auth_method", string(p.TokenAuthMethod), authMethods()...)
	oneOf(&wrong, "dpop", string(p.DPoP), string(DPoPRequired), string(DPoPSupported))
	checkResources(&wrong, p)
	oneOf(&wrong, "token_body_format", string(p.TokenBodyFormat), string(FormBody), string(JSONBody))
	oneOf(&wrong, "pkce", string(p.PKCE), string(PKCERequired), string(PKCESupported), string(PKCEUnsupported))
	oneOf(&wrong, "refresh_rotation", string(p.RefreshRotation), string(Rotating), string(Static), string(NoRefresh))
	checkSeparator(&wrong, "scope_separator", p.ScopeSeparator)
	checkPath(&wrong, "token_path", p.TokenPath)
	checkParams(&wrong, "authorization_params", p.AuthorizationParams, "response_type", "client_id", "redirect_uri", "state", "scope", "code_challenge", "code_challenge_method", "nonce", "resource", "request_uri", "request")
	checkParams(&wrong, "token_params", p.TokenParams, p.ownNames()...)
	checkParams(&wrong, "refresh_params", p.RefreshParams, p.ownNames()...)
	checkWords(&wrong, p)
	checkQuirks(&wrong, p)
	if p.RefreshRotation == NoRefresh && p.RefreshReuseGrace > 0 {
		wrong.add("refresh_reuse_grace_seconds", "makes no sense with refresh_rotation none; take one out")
	}
	return wrong
}

// tokenWords are the parameters of a token request that are the protocol's own.
func tokenWords() []string {
	return []string{"grant_type", "client_id", "client_secret", "refresh_token", "code", "code_verifier", "redirect_uri", "scope", "client_assertion", "client_assertion_type", "resource", "device_code", "assertion", "subject_token", "subject_token_type"}
}

// checkEntry says what a file must have that an override need not.
// Only the built-in catalogue has to say where its facts are from.
func checkEntry(p Provider, sourced bool) problems {
	var wrong problems
	if len(p.ID) > maxText || !idPattern.MatchString(p.ID) {
		wrong.add("id", "must be lower-case letters, digits and inner hyphens")
	}
	if p.ID == Custom {
		wrong.add("id", "%s is the name of the empty provider; choose another", Custom)
	}
	if strings.TrimSpace(p.Name) == "" || len(p.Name) > maxText {
		wrong.add("name", "must be a name for people")
	}
	if p.TokenURL == "" && p.Issuer == "" {
		wrong.add("token_url", "is missing; without it there must be an issuer, whose metadata tell it")
	}
	if sourced && len(p.Sources) == 0 {
		wrong.add("sources", "is missing; say where the facts were learned, and when")
	}
	for _, s := range p.Sources {
		if text := wrongSource(s); text != "" {
			wrong.add("sources", "%s", text)
		}
	}
	checkSourcing(&wrong, p)
	for _, name := range slices.Sorted(maps.Keys(p.URLVariables)) {
		if !slices.ContainsFunc(p.urls(), func(u namedURL) bool { return strings.Contains(u.value, "{"+name+"}") }) {
			wrong.add("url_variables", "%q is in no URL; take it out", shorten(name))
		}
	}
	return wrong
}

func isDate(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}

type namedURL struct{ field, value string }

func (p Provider) urls() []namedURL {
	return []namedURL{
		{"authorization_url", p.AuthorizationURL}, {"token_url", p.TokenURL},
		{"revocation_url", p.RevocationURL}, {"introspection_url", p.IntrospectionURL},
		{"issuer", p.Issuer}, {"pushed_authorization_request_url", p.PushedAuthorizationRequestURL},
		{"device_authorization_url", p.DeviceAuthorizationURL}, {"userinfo_url", p.UserinfoURL},
		{"jwks_url", p.JWKSURL}, {"registration_url", p.RegistrationURL}, {"mtls_token_url", p.MTLSTokenURL},
		{"api_base_url", p.APIBaseURL}, {"docs_url", p.DocsURL},
		{"refresh_url", p.RefreshURL}, {"extension_url", p.ExtensionURL}, {"facts_request", p.factsURL()},
	}
}

func (p *Provider) factsURL() string {
	if p.FactsRequest == nil {
		return ""
	}
	return p.FactsRequest.URL
}

func checkURLs(wrong *problems, p Provider) {
	if len(p.URLVariables) > maxEntries {
		wrong.add("url_variables", "has too many entries, at most %d are allowed", maxEntries)
	}
	for _, name := range slices.Sorted(maps.Keys(p.URLVariables)) {
		value := p.URLVariables[name]
		if !isVariable(name) {
			wrong.add("url_variables", "%q must be lower-case letters, digits and _", shorten(name))
		} else if value != "" {
			if text := p.wrongValue(name, value); text != "" {
				wrong.add("url_variables", "%s", text)
			}
		}
	}
	for _, u := range p.urls() {
		if u.value == "" {
			continue
		}
		value, text := p.withoutFacts(u)
		if text != "" {
			wrong.add(u.field, "%s", text)
			continue
		}
		plain, unknown := fill(value, p.URLVariables, "x")
		if unknown != "" {
			wrong.add(u.field, "has the variable %s, which is not in url_variables", shorten(unknown))
		} else if text := wrongURL(plain); text != "" {
			wrong.add(u.field, "%s", text)
		}
	}
}

// wrongURL says what is wrong with an end point's URL (RFC 6749 sections 3.1
// and 3.2: absolute, no fragment, TLS). It does not repeat the URL, in which a
// password may stand.
func wrongURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case len(s) > maxURL:
		return "is too long"
	case err != nil || strings.ContainsAny(s, " {}<>\"\\^`|"):
		return "is not a URL"
	case u.Hostname() == "" || u.Opaque != "":
		return "must be a whole URL, such as https://auth.example.com/token"
	case u.User != nil:
		return "must not hold a user name or password"
	case u.Fragment != "" || strings.HasSuffix(s, "#"):
		return "must not have a fragment (#)"
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return ""
	}
	return "must begin with https://; http:// is allowed only for this machine itself (localhost, 127.0.0.1, [::1])"
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func oneOf(wrong *problems, field, value string, known ...string) {
	if value != "" && !slices.Contains(known, value) {
		wrong.add(field, "must be one of %s", strings.Join(known, ", "))
	}
}

// checkResources wants absolute URIs without a fragment (RFC 8707 section 2).
func checkResources(wrong *problems, p Provider) {
	if len(p.Resources) > maxEntries {
		wrong.add("resources", "has too many entries, at most %d are allowed", maxEntries)
	}
	for _, r := range p.Resources {
		u, err := url.Parse(r)
		if err != nil || len(r) > maxText || u.Scheme == "" || u.User != nil || strings.ContainsAny(r, "# \t\r\n") {
			wrong.add("resources", "each must be an absolute URI without a fragment, such as https://api.example.com/")
			break
		}
	}
	if len(p.AssertionAudience) > maxText || strings.ContainsFunc(p.AssertionAudience, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		wrong.add("assertion_audience", "must be one URI or name without spaces, of at most %d bytes", maxText)
	}
}

func checkParams(wrong *problems, field string, params map[string]string, reserved ...string) {
	if len(params) > maxEntries {
		wrong.add(field, "has too many entries, at most %d are allowed", maxEntries)
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		switch {
		case slices.Contains(reserved, name):
			wrong.add(field, "%s is set by the protocol and cannot be replaced", name)
		case !wordPattern.MatchString(name):
			wrong.add(field, "the name %q must be letters, digits and . _ -", shorten(name))
		case len(value) > maxText:
			wrong.add(field, "the value of %s is too long, at most %d bytes are allowed", name, maxText)
		}
	}
}

// checkWords sees to it that an error has one meaning only.
func checkWords(wrong *problems, p Provider) {
	meaning := map[string]string{}
	for _, list := range []struct {
		field string
		words []string
	}{{"terminal_errors", p.TerminalErrors}, {"transient_errors", p.TransientErrors}, {"misconfigured_errors", p.MisconfiguredErrors}} {
		if len(list.words) > maxEntries {
			wrong.add(list.field, "has too many entries, at most %d are allowed", maxEntries)
		}
		for _, w := range list.words {
			lower := strings.ToLower(w)
			if !wordPattern.MatchString(w) {
				wrong.add(list.field, "%q must be 1 to 64 letters, digits and . _ -, with anything else written as one _", shorten(w))
			} else if first, twice := meaning[lower]; twice {
				wrong.add(list.field, "%s stands in %s already", w, first)
			}
			meaning[lower] = list.field
		}
	}
}
