package oauth

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

const (
	// maxToken is the longest token that is taken, in bytes.
	maxToken = 64 << 10
	// maxLifetime is the longest lifetime that is believed. It is more than any
	// provider gives, and less than the seconds since 1970, which some answers
	// give in its place.
	maxLifetime = 50 * 365 * 24 * time.Hour
	// maxScopes bounds what an answer can put into a record.
	maxScopes     = 1000
	maxScopeBytes = 32 << 10
)

// holdsToken reports whether there is an access token.
func holdsToken(m message, p *catalog.Provider) bool {
	holder, name := tokens(m, p).member(p.AccessTokenField, "access_token")
	s, ok := holder.text(name)
	return ok && s != ""
}

// tokens returns the object that holds the tokens: the one that the catalogue
// names, or the whole answer where that one is not there.
func tokens(m message, p *catalog.Provider) object {
	if p.TokenPath == "" {
		return m.fields
	}
	inner := m.fields.at(p.TokenPath)
	if holder, name := inner.member(p.AccessTokenField, "access_token"); holder[name] != nil {
		return inner
	}
	return m.fields
}

// member finds what the catalogue says to be at a path, else what has the
// standard's name.
func (o object) member(path, standard string) (object, string) {
	if path != "" {
		if holder, name := o.find(path); isThere(holder[name]) {
			return holder, name
		}
	}
	return o, standard
}

func isThere(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// readGrant takes the tokens out of a successful answer (RFC 6749 section
// 5.1). An answer without a usable token is ambiguous: the server said yes, so
// it may have rotated the refresh token, and the new one is lost.
//
// now is for an end of validity that is told as a time; where the answer has a
// date, that counts, as both come from the same clock.
func readGrant(a answer, m message, p *catalog.Provider, now time.Time) (credential.Grant, *credential.Failure) {
	unusable := func(code string) (credential.Grant, *credential.Failure) {
		return credential.Grant{}, &credential.Failure{Class: credential.Ambiguous, Code: code, Status: a.status, Sent: true, Detail: a.describe(m)}
	}
	switch {
	case a.cut != "":
		return unusable(a.cut)
	case m.fields == nil:
		return unusable(m.shape + "_answer")
	}
	o := tokens(m, p)
	access, code := o.token(p.AccessTokenField, "access_token")
	if code == "" && access == "" {
		code = "no_token"
	}
	if code != "" {
		return unusable(code)
	}
	refresh, code := o.token(p.RefreshTokenField, "refresh_token")
	if code != "" {
		return unusable(code)
	}
	if p.RefreshWithAccessToken && refresh == "" {
		refresh = access // is traded itself, so it is both
	}
	return credential.Grant{
		AccessToken:      credential.NewSecret(access),
		RefreshToken:     credential.NewSecret(refresh),
		TokenType:        o.tokenType(p),
		Scopes:           o.scopes(p),
		ExpiresIn:        o.expiresIn(p, a, now),
		RefreshExpiresIn: o.refreshExpiresIn(p, a, now),
		Facts:            m.facts(p),
		Subject:          m.subject(p),
	}, nil
}

// token returns a token, or a code that says why it cannot be used. One that
// is absent is empty.
func (o object) token(path, standard string) (value, wrong string) {
	o, name := o.member(path, standard)
	raw := o[name]
	if !isThere(raw) {
		return "", ""
	}
	value, ok := o.text(name)
	switch {
	case len(value) > maxToken:
		return "", "token_too_long"
	case !ok || raw[0] != '"' || strings.ContainsFunc(value, notVSCHAR):
		return "", "malformed_token"
	}
	return value, ""
}

// notVSCHAR finds what no token may hold (RFC 6749 appendix A.12). A line break
// in a token could add a header to requests that present it.
func notVSCHAR(r rune) bool { return r < 0x20 || r > 0x7e }

// tokenType is Bearer (RFC 6750) unless the answer says otherwise.
func (o object) tokenType(p *catalog.Provider) string {
	holder, name := o.member(p.TokenTypeField, "token_type")
	s, _ := holder.text(name)
	if s = sanitise(s, maxCode); s == "" || strings.EqualFold(s, "bearer") {
		return "Bearer"
	}
	return s
}

// scopes reads the scopes that were granted, in a string or a list; nil: not
// told, which means as before (RFC 6749 section 5.1).
func (o object) scopes(p *catalog.Provider) []string {
	holder, name := o.member(p.ScopeField, "scope")
	s, ok := holder.text(name)
	if !ok {
		s = strings.Join(holder.list(name), " ")
	}
	if len(s) > maxScopeBytes {
		return nil
	}
	sep := p.Separator() + p.AnswerScopeSeparator
	list := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || strings.ContainsRune(sep, r) })
	list = slices.DeleteFunc(list, func(scope string) bool { return strings.ContainsFunc(scope, notVSCHAR) })
	if len(list) == 0 || len(list) > maxScopes {
		return nil
	}
	return list
}
