package oauth

import (
	"math"
	"slices"
	"strconv"
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
func holdsToken(m message, path string) bool {
	s, ok := tokens(m, path).text("access_token")
	return ok && s != ""
}

// tokens returns the object that holds the tokens: the one that the catalogue
// names, or the whole answer where that one is not there.
func tokens(m message, path string) object {
	if path != "" {
		if inner := m.fields.at(path); inner["access_token"] != nil {
			return inner
		}
	}
	return m.fields
}

// readGrant takes the tokens out of a successful answer (RFC 6749 section
// 5.1). An answer without a usable token is ambiguous: the server said yes, so
// it may have rotated the refresh token, and the new one is lost.
func readGrant(a answer, m message, p *catalog.Provider) (credential.Grant, *credential.Failure) {
	unusable := func(code string) (credential.Grant, *credential.Failure) {
		return credential.Grant{}, &credential.Failure{Class: credential.Ambiguous, Code: code, Status: a.status, Sent: true, Detail: a.describe(m)}
	}
	switch {
	case a.cut != "":
		return unusable(a.cut)
	case m.fields == nil:
		return unusable(m.shape + "_answer")
	}
	o := tokens(m, p.TokenPath)
	access, code := o.token("access_token")
	if code == "" && access == "" {
		code = "no_token"
	}
	if code != "" {
		return unusable(code)
	}
	refresh, code := o.token("refresh_token")
	if code != "" {
		return unusable(code)
	}
	return credential.Grant{
		AccessToken:      credential.NewSecret(access),
		RefreshToken:     credential.NewSecret(refresh),
		TokenType:        o.tokenType(),
		Scopes:           o.scopes(p),
		ExpiresIn:        o.lifetime("expires_in"),
		RefreshExpiresIn: o.lifetime("refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in"),
	}, nil
}

// token returns a token, or a code that says why it cannot be used. One that
// is absent is empty.
func (o object) token(name string) (value, wrong string) {
	raw := o[name]
	if len(raw) == 0 || string(raw) == "null" {
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
func (o object) tokenType() string {
	s, _ := o.text("token_type")
	if s = sanitise(s, maxCode); s == "" || strings.EqualFold(s, "bearer") {
		return "Bearer"
	}
	return s
}

// lifetime reads seconds, as a number or a string; 0: not told, or nonsense.
// The first name that makes sense wins.
func (o object) lifetime(names ...string) time.Duration {
	for _, name := range names {
		s, ok := o.text(name)
		if !ok || len(s) > maxCode {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil || math.IsNaN(f) || f < 1 || f > maxLifetime.Seconds() {
			continue
		}
		return time.Duration(f) * time.Second
	}
	return 0
}

// scopes reads the scopes that were granted, in a string or a list; nil: not
// told, which means as before (RFC 6749 section 5.1).
func (o object) scopes(p *catalog.Provider) []string {
	s, ok := o.text("scope")
	if !ok {
		s = strings.Join(o.list("scope"), " ")
	}
	if len(s) > maxScopeBytes {
		return nil
	}
	sep := p.Separator()
	list := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || strings.ContainsRune(sep, r) })
	list = slices.DeleteFunc(list, func(scope string) bool { return strings.ContainsFunc(scope, notVSCHAR) })
	if len(list) == 0 || len(list) > maxScopes {
		return nil
	}
	return list
}
