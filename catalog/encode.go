package catalog

import (
	"encoding/json"
	"fmt"
	"time"
)

// MarshalJSON writes the fields that are known, by the names and in the form
// that they have in the catalogue's files.
func (p Provider) MarshalJSON() ([]byte, error) {
	known := make(map[string]any)
	for _, f := range fields() {
		v, err := encode(f.at(&p))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if v != nil {
			known[f.name] = v
		}
	}
	return json.Marshal(known)
}

// encode is the way back from decode; nil: the field is empty.
func encode(at any) (any, error) {
	switch v := at.(type) {
	case *string:
		return unless(*v == "", *v)
	case *bool:
		return unless(!*v, *v)
	case *[]string:
		return unless(len(*v) == 0, *v)
	case *map[string]string:
		return unless(len(*v) == 0, *v)
	case *seconds:
		return unless(*v == 0, int64(time.Duration(*v)/time.Second))
	case *grace:
		return unless(*v == 0, int64(time.Duration(*v)/time.Second))
	case *count:
		return unless(*v == 0, *v)
	case **bool:
		return unless(*v == nil, *v)
	case *map[string]map[string]string:
		return unless(len(*v) == 0, *v)
	case **FactsRequest:
		return unless(*v == nil, *v)
	case *RateLimit:
		return unless(*v == RateLimit{}, *v)
	}
	return nil, fmt.Errorf("cannot be written: no rule for %T", at)
}

func unless(empty bool, v any) (any, error) {
	if empty {
		return nil, nil
	}
	return v, nil
}
