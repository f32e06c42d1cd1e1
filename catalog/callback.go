package catalog

import (
	"fmt"
	"maps"
	"slices"

	"github.com/grantd/grantd/credential"
)

// FromCallback reads what the provider tells with the callback of an
// authorization besides the code: variables of the end points that are asked
// next, such as the data centre, and facts to be kept. param returns a parameter
// of the callback, or nothing; what is absent is left out. Whoever has a browser
// can write a callback, so a variable is taken only as the catalogue's table or
// pattern allows. The error is a credential.ErrInvalid and shows no value: the
// code must not be sent there.
func (p *Provider) FromCallback(param func(name string) string) (variables, facts map[string]string, err error) {
	for _, name := range slices.Sorted(maps.Keys(p.CallbackVariables)) {
		said := param(p.CallbackVariables[name])
		if said == "" {
			continue
		}
		if table, ok := p.VariableValues[name]; ok {
			value, listed := table[said]
			if !listed {
				return nil, nil, fmt.Errorf("%w: callback: the catalogue does not know the value of %s", credential.ErrInvalid, p.CallbackVariables[name])
			}
			said = value
		}
		variables = with(variables, name, said)
	}
	if err := p.CheckVariables(variables); err != nil {
		return nil, nil, fmt.Errorf("callback: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(p.CallbackFacts)) {
		if said := param(p.CallbackFacts[name]); said != "" {
			facts = with(facts, name, said)
		}
	}
	if err := credential.CheckFacts(facts); err != nil {
		return nil, nil, fmt.Errorf("callback: %w", err)
	}
	return variables, facts, nil
}

func with(m map[string]string, name, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[name] = value
	return m
}
