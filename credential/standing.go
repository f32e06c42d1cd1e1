package credential

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// What accounts that fetch a new token each time present: it stands where other
// accounts have a refresh token, and is sealed like one.

// Bearer is what an account of [KindJWTBearer] says of itself in each assertion
// (RFC 7523 section 2.1), which the integration's key signs.
type Bearer struct {
	// Subject is whom the token shall act for; empty: the client itself.
	Subject string `json:"subject,omitempty"`
	// Claims are added. They cannot replace what the protocol sets, but for sub,
	// which null takes out.
	Claims map[string]json.RawMessage `json:"claims,omitempty"`
}

// Subjected is what an account of [KindTokenExchange] trades for each access
// token (RFC 8693 section 2.1).
type Subjected struct {
	Token     string `json:"subject_token"`
	TokenType string `json:"subject_token_type"`
	Audience  string `json:"audience,omitempty"`
	Resource  string `json:"resource,omitempty"`
}

// Bounds of them, in bytes.
const (
	maxStanding        = 64 << 10
	maxStandingName    = 1 << 10
	maxStandingClaims  = 32
	maxStandingSubject = 32 << 10
)

// reservedClaims are set for each assertion anew.
func reservedClaims() []string { return []string{"iss", "aud", "exp", "iat", "nbf", "jti"} }

// Seal checks it and turns it into the text that is kept in place of a refresh
// token. Errors are [ErrInvalid] and show no value.
func (b Bearer) Seal() (Secret, error) {
	switch {
	case len(b.Subject) > maxStandingName || hasControl(b.Subject):
		return Secret{}, fmt.Errorf("%w: subject must have at most %d bytes and no control characters", ErrInvalid, maxStandingName)
	case len(b.Claims) > maxStandingClaims:
		return Secret{}, fmt.Errorf("%w: claims has %d entries, at most %d are taken", ErrInvalid, len(b.Claims), maxStandingClaims)
	}
	for _, name := range reservedClaims() {
		if _, there := b.Claims[name]; there {
			return Secret{}, fmt.Errorf("%w: claims.%s is set by the protocol", ErrInvalid, name)
		}
	}
	return sealStanding(b)
}

// Seal checks it and turns it into the text that is kept in place of a refresh
// token. Errors are [ErrInvalid] and show no value.
func (s Subjected) Seal() (Secret, error) {
	if s.Token == "" || s.TokenType == "" {
		return Secret{}, fmt.Errorf("%w: subject_token and subject_token_type (RFC 8693 section 3) are needed", ErrInvalid)
	}
	if len(s.Token) > maxStandingSubject {
		return Secret{}, fmt.Errorf("%w: subject_token has more than %d bytes", ErrInvalid, maxStandingSubject)
	}
	for _, text := range []string{s.TokenType, s.Audience, s.Resource} {
		if len(text) > maxStandingName {
			return Secret{}, fmt.Errorf("%w: subject_token_type, audience and resource can have at most %d bytes", ErrInvalid, maxStandingName)
		}
	}
	if slices.ContainsFunc([]string{s.Token, s.TokenType, s.Audience, s.Resource}, hasControl) {
		return Secret{}, fmt.Errorf("%w: the credentials hold a control character", ErrInvalid)
	}
	return sealStanding(s)
}

func sealStanding(v any) (Secret, error) {
	b, err := json.Marshal(v)
	if err != nil || len(b) > maxStanding {
		return Secret{}, fmt.Errorf("%w: the credentials have more than %d bytes, or are not JSON", ErrInvalid, maxStanding)
	}
	return NewSecret(string(b)), nil
}

// ParseBearer reads what [Bearer.Seal] wrote, and checks it again.
func ParseBearer(text Secret) (Bearer, error) { return parseStanding[Bearer](text) }

// ParseSubjected reads what [Subjected.Seal] wrote, and checks it again.
func ParseSubjected(text Secret) (Subjected, error) { return parseStanding[Subjected](text) }

func parseStanding[T interface{ Seal() (Secret, error) }](text Secret) (T, error) {
	var v, none T
	if len(text.Reveal()) > maxStanding || json.Unmarshal([]byte(text.Reveal()), &v) != nil {
		return none, fmt.Errorf("%w: what is kept for the account cannot be read", ErrInvalid)
	}
	if _, err := v.Seal(); err != nil {
		return none, err
	}
	return v, nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}
