package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// appendMembers adds the members of extra, in order of name, to the JSON
// object fixed, which has at least one member of its own. Names that fixed has
// already are left out.
func appendMembers(fixed []byte, extra map[string]json.RawMessage) ([]byte, error) {
	if len(extra) == 0 {
		return fixed, nil
	}
	var own map[string]json.RawMessage
	if err := json.Unmarshal(fixed, &own); err != nil {
		return nil, err
	}
	out := bytes.TrimSuffix(fixed, []byte("}"))
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if _, taken := own[name]; taken {
			continue
		}
		if !json.Valid(extra[name]) {
			return nil, fmt.Errorf("setting %q is not JSON", name)
		}
		out = append(out, ',')
		out = AppendString(out, name)
		out = append(out, ':')
		out = append(out, extra[name]...)
	}
	return append(out, '}'), nil
}

// otherMembers returns the members of the JSON object b that are not in names.
func otherMembers(b []byte, names []string) (map[string]json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	for _, name := range names {
		delete(all, name)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}
