package httpapi

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	maxMinTTL    = 24 * time.Hour
)

// query reads the request's query string, strictly: known names only, each once.
func (x *exchange) query(allowed ...string) (url.Values, error) {
	if x.r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return nil, invalid("The query string is not well-formed. Percent-encode its values.")
	}
	for name, v := range values {
		if !slices.Contains(allowed, name) {
			return nil, invalid("Unknown query parameter %s. Allowed here: %s.", quoted(name), strings.Join(allowed, ", "))
		}
		if len(v) > 1 {
			return nil, invalid("Query parameter %s is there %d times. Send it once.", quoted(name), len(v))
		}
	}
	return values, nil
}

// limitOf reads limit: 1 to 1000, 100 where it is not given.
func limitOf(q url.Values) (int, error) {
	s := q.Get("limit")
	if s == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		return 0, invalid("Query parameter limit must be a number from 1 to %d.", maxLimit)
	}
	return n, nil
}

// encodeCursor makes the opaque cursor that continues a list behind last.
func encodeCursor(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }

// decodeCursor reads a cursor that encodeCursor made; empty: from the start.
// What it returns still has to be checked: callers can make cursors up.
func decodeCursor(q url.Values) (string, error) {
	s := q.Get("cursor")
	if s == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || len(b) > 2*credential.MaxNameLen+1 {
		return "", badCursor()
	}
	return string(b), nil
}

func badCursor() *problem {
	return invalid("Query parameter cursor is not one that this list gave out. Take next_cursor of the page before, with the same filters, or leave it out.")
}

// tokenQuery reads the query of a token request: min_ttl, a duration such as 30s
// or 5m, or whole seconds, from 0 to 24 hours; and the request that a DPoP proof
// is wanted for.
func (x *exchange) tokenQuery() (time.Duration, Proof, error) {
	const prefix = "min_ttl="
	raw := x.r.URL.RawQuery
	if raw == "" {
		return 0, Proof{}, nil
	}
	value, found := strings.CutPrefix(raw, prefix)
	if !found || strings.ContainsAny(value, "&%+;") { // the plain form needs no map
		return x.tokenQueryInFull()
	}
	minTTL, err := parseMinTTL(value)
	return minTTL, Proof{}, err
}

func (x *exchange) tokenQueryInFull() (minTTL time.Duration, p Proof, err error) {
	q, err := x.query("min_ttl", "dpop_method", "dpop_url", "dpop_nonce")
	if err != nil {
		return 0, p, err
	}
	if q.Has("min_ttl") {
		if minTTL, err = parseMinTTL(q.Get("min_ttl")); err != nil {
			return 0, p, err
		}
	}
	p = Proof{Method: q.Get("dpop_method"), URL: q.Get("dpop_url"), Nonce: q.Get("dpop_nonce")}
	return minTTL, p, p.check()
}

func parseMinTTL(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		seconds, numberErr := strconv.ParseUint(s, 10, 32)
		if numberErr != nil {
			return 0, invalid("Query parameter min_ttl must be a duration such as 30s or 5m, or a whole number of seconds.")
		}
		d = time.Duration(seconds) * time.Second
	}
	if d < 0 || d > maxMinTTL {
		return 0, invalid("Query parameter min_ttl must lie between 0s and %s.", maxMinTTL)
	}
	return d, nil
}

// page cuts a list that is in order of its names into a page.
func page[T any](q url.Values, all []T, name func(T) string) (items []T, next string, err error) {
	limit, err := limitOf(q)
	if err != nil {
		return nil, "", err
	}
	after, err := decodeCursor(q)
	if err != nil {
		return nil, "", err
	}
	start := 0
	if after != "" {
		if credential.CheckName("cursor", after) != nil {
			return nil, "", badCursor()
		}
		at, found := slices.BinarySearchFunc(all, after, func(item T, after string) int {
			return strings.Compare(name(item), after)
		})
		if start = at; found {
			start++
		}
	}
	all = all[start:]
	if len(all) > limit {
		return all[:limit], encodeCursor(name(all[limit-1])), nil
	}
	return all, "", nil
}
