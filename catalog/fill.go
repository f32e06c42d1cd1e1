package catalog

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/grantd/grantd/credential"
)

var (
	variablePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	// A value can be a host or a label of it, or a segment of a path. It has no
	// character that could end the host or begin a query.
	valuePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
)

func isVariable(s string) bool { return variablePattern.MatchString(s) }

func isVariableValue(s string) bool {
	return valuePattern.MatchString(s) && !strings.Contains(s, "..")
}

// Fill puts the provider's URLVariables into one of its end points. A variable
// without a value is an error (credential.ErrInvalid) that names it.
func (p *Provider) Fill(endpoint string) (string, error) {
	if !strings.Contains(endpoint, "{") {
		return endpoint, nil
	}
	s, missing := fill(endpoint, p.URLVariables, "")
	if missing != "" {
		return "", fmt.Errorf("%w: the URL variable %s has no value; set url_variables", credential.ErrInvalid, shorten(missing))
	}
	return s, nil
}

// fill replaces each {name}. Empty values are replaced by instead; where that
// is empty too, and for unknown names, the name, in braces, is returned as
// missing.
func fill(s string, vars map[string]string, instead string) (filled, missing string) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "{")
		b.WriteString(before)
		if !found {
			return b.String(), ""
		}
		name, after, closed := strings.Cut(rest, "}")
		value, known := vars[name]
		if value == "" {
			value = instead
		}
		if !closed || !known || value == "" {
			return "", "{" + name + "}"
		}
		b.WriteString(value)
		s = after
	}
}
