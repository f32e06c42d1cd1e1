package catalog

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/grantd/grantd/internal/nearest"
)

// Override returns a copy of the provider with the given fields replaced, as
// an integration asks for: by the names and in the form that they have in the
// catalogue's files. Null takes a value away. The result is checked like a
// file of the catalogue; url_variables are laid over the provider's, and have
// to fit its patterns.
//
// Errors are *[FieldError], joined where there are several, in a stable order.
// They never show a value.
func Override(p Provider, settings map[string]json.RawMessage) (Provider, error) {
	p = p.Clone()
	var wrong problems
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		f, known := fieldNamed(name)
		switch {
		case !known:
			wrong.add(shorten(name), "unknown field; %s", suggest(name, Fields()))
			continue
		case f.fact:
			wrong.add(name, "describes the catalogue's entry and cannot be replaced")
			continue
		}
		if err := put(&p, f, settings[name]); err != nil {
			wrong.add(name, "%s", err)
		}
	}
	if wrong == nil {
		wrong = append(wrong, check(p)...)
	}
	if err := wrong.err(); err != nil {
		return Provider{}, err
	}
	return p, nil
}

// put sets a field. url_variables are laid over those that are there.
func put(p *Provider, f field, raw json.RawMessage) error {
	before := p.URLVariables
	if err := decode(raw, f.at(p)); err != nil {
		return err
	}
	if f.name == "url_variables" && len(before) > 0 {
		p.URLVariables = overlay(before, p.URLVariables)
	}
	return nil
}

func overlay(under, over map[string]string) map[string]string {
	merged := maps.Clone(under)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, over)
	return merged
}

// suggest names the known name that the unknown one was probably meant to be,
// else all of them.
func suggest(name string, known []string) string {
	if best := nearest.Name(name, known); best != "" {
		return "did you mean " + best + "?"
	}
	return "known are " + strings.Join(known, ", ")
}
