package strict

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"strings"
)

func joinScopes(scopes []string) string { return strings.Join(scopes, " ") }

// parseScopes splits a scope parameter and says whether it is well-formed
// (RFC 6749 section 3.3).
func parseScopes(param string) ([]string, bool) {
	scopes := strings.Fields(param)
	return scopes, scopesValid(scopes)
}

// scopesValid says whether each scope has only the characters that it may have.
func scopesValid(scopes []string) bool {
	for _, s := range scopes {
		for i := range len(s) {
			if c := s[i]; c < '!' || c > '~' || c == '"' || c == '\\' {
				return false
			}
		}
		if s == "" {
			return false
		}
	}
	return true
}

// scopesWithin says whether all scopes are among those granted.
func scopesWithin(scopes []string, granted string) bool {
	if len(scopes) == 0 {
		return true
	}
	have := strings.Fields(granted)
	for _, s := range scopes {
		if !slices.Contains(have, s) {
			return false
		}
	}
	return true
}

// challengeMatches checks a PKCE verifier, S256 (RFC 7636 section 4.6).
func challengeMatches(challenge, verifier string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	got := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(got), []byte(challenge)) == 1
}
