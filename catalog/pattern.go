package catalog

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/grantd/grantd/credential"
)

// A variable is put into the address to which tokens and secrets are sent.
// Where its value comes from somebody other than the operator - a link, an
// account, the callback of an authorization - it must not lead elsewhere. So
// every value is plain, and a variable that
// decides under which domain the host lies can be set from outside only where
// the catalogue limits its values.

// wrongValue says why a value cannot stand for a variable.
func (p *Provider) wrongValue(name, value string) string {
	if !isVariableValue(value) {
		return fmt.Sprintf("the value of %q must be a host name or a part of one: letters, digits and inner . and -", shorten(name))
	}
	return p.unlisted(name, value)
}

// unlisted says why the catalogue's own limits do not allow a value.
func (p *Provider) unlisted(name, value string) string {
	if pattern := p.URLVariablePatterns[name]; pattern != "" {
		re, err := wholePattern(pattern)
		if err != nil || !re.MatchString(value) {
			return fmt.Sprintf("the value of %q does not match its pattern, %s", shorten(name), shorten(pattern))
		}
	}
	if table, ok := p.VariableValues[name]; ok && !slices.Contains(slices.Collect(maps.Values(table)), value) {
		return fmt.Sprintf("the value of %q must be one of %s", shorten(name), shorten(strings.Join(slices.Compact(slices.Sorted(maps.Values(table))), ", ")))
	}
	return ""
}

// wholePattern compiles a pattern so that it has to match all of a value.
func wholePattern(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// hostPart is what stands between the scheme and the path, without the port.
func hostPart(u string) (string, bool) {
	_, rest, ok := strings.Cut(u, "://")
	if !ok {
		return "", false
	}
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, "?")
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return host, true
}

// bounded reports whether a variable has a table, or a pattern that does not
// take the hosts of anybody.
func (p *Provider) bounded(name string) bool {
	if len(p.VariableValues[name]) > 0 {
		return true
	}
	pattern := p.URLVariablePatterns[name]
	if pattern == "" {
		return false
	}
	re, err := wholePattern(pattern)
	return err == nil && !slices.ContainsFunc(foreignHosts(), re.MatchString)
}

// foreignHosts are hosts of nobody's provider, in the shapes that a careless
// pattern lets through.
func foreignHosts() []string {
	return []string{
		"evil.example", "a.evil.example", "a.b.evil.example", "evil-0.example", "evil.com", "www.evil.com", "evil.co.uk",
		"evil", "localhost", "169.254.169.254", "10.0.0.1", "2130706433", "0",
	}
}

// factURL checks a fact that is the beginning of an end point of the API: a
// whole https URL of a plain host and path, as the fact's pattern allows.
func (p *Provider) factURL(name, value string) string {
	u, err := url.Parse(value)
	if err != nil || len(value) > maxText || u.Scheme != "https" || u.RawQuery != "" || u.ForceQuery || !factURLPattern.MatchString(value) || strings.Contains(value, "..") {
		return fmt.Sprintf("the value of %q must be an https URL of a host, without port, user, query and fragment", shorten(name))
	}
	if text := p.unlisted(name, value); text != "" {
		return text
	}
	// A pattern that begins loosely may have found the domain in the path.
	u.Host = "evil.example"
	if re, err := wholePattern(p.URLVariablePatterns[name]); err != nil || re.MatchString(u.String()) {
		return fmt.Sprintf("the value of %q matches its pattern with any host; the pattern has to bind the host", shorten(name))
	}
	return ""
}

var factURLPattern = regexp.MustCompile(`^https://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(/[A-Za-z0-9._~/-]*)?$`)

// APIBase is the address of the provider's API for an account with the given
// facts. Errors are credential.ErrInvalid: a fact is missing, or is not what it
// may be; they do not show it.
func (p *Provider) APIBase(facts map[string]string) (string, error) {
	base := p.APIBaseURL
	if !strings.Contains(base, "{") {
		return base, nil
	}
	vars := maps.Clone(p.URLVariables)
	if vars == nil {
		vars = map[string]string{}
	}
	whole := leading(base)
	for _, name := range p.factNames() {
		value := facts[name]
		if value == "" || !strings.Contains(base, "{"+name+"}") {
			continue
		}
		wrong := p.wrongValue
		if name == whole {
			wrong = p.factURL
		}
		if text := wrong(name, value); text != "" {
			return "", &FieldError{Field: "api_base_url", Text: text}
		}
		vars[name] = strings.TrimSuffix(value, "/")
	}
	s, missing := fill(base, vars, "")
	if missing != "" {
		return "", fmt.Errorf("%w: api_base_url needs %s, which is not known of this account", credential.ErrInvalid, shorten(missing))
	}
	return s, nil
}

// leading is the name of the variable with which an address begins.
func leading(s string) string {
	if !strings.HasPrefix(s, "{") {
		return ""
	}
	name, _, _ := strings.Cut(s[1:], "}")
	return name
}

// factNames are the facts that an account of this provider can have.
func (p *Provider) factNames() []string {
	names := slices.Concat(slices.Collect(maps.Keys(p.Facts)), slices.Collect(maps.Keys(p.CallbackFacts)))
	if p.FactsRequest != nil {
		names = slices.AppendSeq(names, maps.Keys(p.FactsRequest.Fields))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// withoutFacts puts harmless values for what only an account or a call can
// fill in: facts in api_base_url, and in revocation_url the client id and the
// token, which must not be in its host.
func (p *Provider) withoutFacts(u namedURL) (filled, wrong string) {
	s := u.value
	switch u.field {
	case "api_base_url":
		whole := leading(s)
		if whole != "" && slices.Contains(p.factNames(), whole) {
			if text := p.loosePattern(whole); text != "" {
				return "", text
			}
			s = "https://x.example" + strings.TrimPrefix(s, "{"+whole+"}")
		}
		for _, name := range p.factNames() {
			if host, _ := hostPart(s); strings.Contains(host, "{"+name+"}") && p.decidesHost(name) && !p.bounded(name) {
				return "", fmt.Sprintf("the fact %q chooses the host; give it a pattern in url_variable_patterns that keeps to the provider's own hosts", name)
			}
			s = strings.ReplaceAll(s, "{"+name+"}", "x")
		}
	case "revocation_url":
		for _, name := range []string{"client_id", "token"} {
			if host, _ := hostPart(s); strings.Contains(host, "{"+name+"}") {
				return "", "must not have the " + name + " in its host"
			}
			s = strings.ReplaceAll(s, "{"+name+"}", "x")
		}
	}
	return s, ""
}

// loosePattern says what is wrong with the pattern of a fact that is a whole
// URL.
func (p *Provider) loosePattern(name string) string {
	re, err := wholePattern(p.URLVariablePatterns[name])
	if p.URLVariablePatterns[name] == "" || err != nil {
		return fmt.Sprintf("begins with the fact %q, which needs a pattern in url_variable_patterns", name)
	}
	for _, host := range foreignHosts() {
		for _, u := range []string{"https://" + host, "https://" + host + "/", "https://" + host + "/a", "http://" + host, host} {
			if re.MatchString(u) {
				return fmt.Sprintf("begins with the fact %q, whose pattern lets other hosts through; end it in the provider's own domain", name)
			}
		}
	}
	return ""
}
