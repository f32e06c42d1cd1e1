package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// seconds is a duration written as a whole number of seconds above zero, grace
// one that may also be said to be none, and count a number of things.
type (
	seconds time.Duration
	grace   time.Duration
	count   int
)

// maxSeconds bounds every time in the catalogue: a hundred years.
const maxSeconds = 100 * 366 * 24 * 3600

var (
	errSeconds = fmt.Errorf("must be a whole number of seconds, from 1 to %d", int64(maxSeconds))
	errCount   = fmt.Errorf("must be a whole number, from 1 to %d", maxRate)
	errGrace   = fmt.Errorf("must be a whole number of seconds, from 0 to %d", int64(maxSeconds))
)

// decode puts the JSON value into the field that at points to. Null empties
// the field. The error says what the value has to be.
func decode(raw json.RawMessage, at any) error {
	null := bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
	switch v := at.(type) {
	case *string:
		return decodeInto(raw, v, null, "must be text; put it in quotes")
	case *bool:
		return decodeInto(raw, v, null, "must be true or false")
	case *[]string:
		return decodeInto(raw, v, null, "must be a list of texts")
	case *map[string]string:
		return decodeInto(raw, v, null, "must hold names and texts; put the texts in quotes")
	case *seconds:
		n, err := wholeSeconds(raw, null, 1, errSeconds)
		*v = seconds(n)
		return err
	case *grace:
		n, err := wholeSeconds(raw, null, 0, errGrace)
		*v = grace(n)
		return err
	case *RateLimit:
		return decodeRateLimit(raw, v, null)
	case *count:
		n, err := wholeNumber(raw, null, 1, maxRate, errCount)
		*v = count(n)
		return err
	case **bool:
		return decodeInto(raw, v, null, "must be true or false")
	case *map[string]map[string]string:
		return decodeInto(raw, v, null, "must hold, by name, names and texts; put the texts in quotes")
	case **FactsRequest:
		return decodeFactsRequest(raw, v, null)
	}
	return fmt.Errorf("cannot be read: no rule for %T", at)
}

func decodeInto[T any](raw json.RawMessage, v *T, null bool, wrong string) error {
	var fresh T
	if !null && json.Unmarshal(raw, &fresh) != nil {
		return errors.New(wrong)
	}
	*v = fresh
	return nil
}

func wholeSeconds(raw json.RawMessage, null bool, least float64, wrong error) (time.Duration, error) {
	n, err := wholeNumber(raw, null, least, maxSeconds, wrong)
	return time.Duration(n) * time.Second, err
}

func wholeNumber(raw json.RawMessage, null bool, least, most float64, wrong error) (int64, error) {
	if null {
		return 0, nil
	}
	var n float64
	if json.Unmarshal(raw, &n) != nil || n != math.Trunc(n) || n < least || n > most {
		return 0, wrong
	}
	return int64(n), nil
}

// decodeFactsRequest refuses members that it does not know.
func decodeFactsRequest(raw json.RawMessage, v **FactsRequest, null bool) error {
	*v = nil
	if null {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var r *FactsRequest
	if d.Decode(&r) != nil || r == nil {
		return errors.New("must hold url, fields (names of facts and their paths) and, where it is needed, list_path")
	}
	*v = r
	return nil
}

func decodeRateLimit(raw json.RawMessage, v *RateLimit, null bool) error {
	*v = RateLimit{}
	if null {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return errors.New("must hold requests_per_second, burst or concurrency")
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		var ok bool
		switch name {
		case "requests_per_second":
			ok = json.Unmarshal(value, &v.RequestsPerSecond) == nil && v.RequestsPerSecond > 0 && v.RequestsPerSecond <= maxRate
		case "burst":
			ok = json.Unmarshal(value, &v.Burst) == nil && v.Burst > 0 && v.Burst <= maxRate
		case "concurrency":
			ok = json.Unmarshal(value, &v.Concurrency) == nil && v.Concurrency > 0 && v.Concurrency <= maxRate
		default:
			return fmt.Errorf("unknown field %q; known are requests_per_second, burst and concurrency", shorten(name))
		}
		if !ok {
			return fmt.Errorf("%s must be a number above 0, at most %d; burst and concurrency are whole", name, maxRate)
		}
	}
	return nil
}

// maxRate bounds the numbers of a rate limit.
const maxRate = 100_000

// shorten cuts a text of somebody else for an error.
func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
