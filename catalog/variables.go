package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/grantd/grantd/credential"
)

// WithVariables returns the provider with an account's values for its URL
// variables laid over those of the integration. Each must be a variable of the
// provider, have a value that fits (see [Provider.CheckVariables]), and leave the
// host's own domain alone. The error is a credential.ErrInvalid that names the
// variable and never shows a value.
func (p *Provider) WithVariables(variables map[string]string) (Provider, error) {
	if len(variables) == 0 {
		return *p, nil
	}
	if err := p.CheckVariables(variables); err != nil {
		return Provider{}, err
	}
	with := *p
	with.URLVariables = overlay(p.URLVariables, variables)
	return with, nil
}

// CheckVariables says whether an account may have these values. They come from
// whoever connects an account, who must not be able to send the token request,
// and with it the client's secret, to a host of their own: a variable that the
// domain of an end point ends with, or its port, is the integration's to set,
// unless the catalogue keeps its values to the provider's own hosts. What the
// patterns and tables of the catalogue say binds every variable.
func (p *Provider) CheckVariables(variables map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		switch _, known := p.URLVariables[name]; {
		case !known:
			return fmt.Errorf("%w: variables: the provider has no variable %q; it has %s", credential.ErrInvalid, shorten(name), p.variableNames())
		case p.decidesHost(name) && !p.bounded(name):
			return fmt.Errorf("%w: variables: %s decides to which host secrets are sent, so only the integration's url_variables can set it", credential.ErrInvalid, name)
		}
		if text := p.wrongValue(name, variables[name]); text != "" {
			return fmt.Errorf("%w: variables: %s", credential.ErrInvalid, text)
		}
	}
	return nil
}

func (p *Provider) variableNames() string {
	if len(p.URLVariables) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(p.URLVariables)), ", ")
}

// MissingVariables are the variables of the end points that people and tokens
// are sent to which have no value, in order.
func (p *Provider) MissingVariables() []string {
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(p.URLVariables)) {
		if p.URLVariables[name] == "" && slices.ContainsFunc(p.urls(), func(u namedURL) bool {
			return u.field != "api_base_url" && u.field != "docs_url" && strings.Contains(u.value, "{"+name+"}")
		}) {
			missing = append(missing, name)
		}
	}
	return missing
}

// decidesHost reports whether a variable stands in the authority of a URL where
// no fixed domain of at least two labels comes after it.
func (p *Provider) decidesHost(name string) bool {
	return slices.ContainsFunc(p.urls(), func(u namedURL) bool {
		_, rest, _ := strings.Cut(u.value, "://")
		authority, _, _ := strings.Cut(rest, "/")
		at := strings.LastIndex(authority, "{"+name+"}")
		if at < 0 {
			return false
		}
		after := authority[at+len(name)+2:]
		if cut := strings.LastIndexByte(after, '}'); cut >= 0 { // another variable comes after it
			after = after[cut+1:]
		}
		host, _, _ := strings.Cut(after, ":")
		return !strings.HasPrefix(host, ".") || strings.Count(strings.Trim(host, "."), ".") < 1
	})
}
