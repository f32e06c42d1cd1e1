package httpapi

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

const (
	// maxLifetime is the longest lifetime of an access token that is believed.
	maxLifetime = 100 * 365 * 24 * time.Hour
	maxScopes   = 256
	maxScopeLen = 1024
	maxUsername = 1024
)

// importOf checks a request for an account and puts it into the words of the
// domain. An access token that has expired already is taken only with a refresh
// token beside it: the account is then refreshed at once; without one there is
// nothing that could ever be handed out.
func importOf(in wire.NewAccount) (credential.Import, error) {
	now := time.Now()
	if in.ID == "" {
		in.ID = newAccountID(now)
	}
	out := credential.Import{
		Ref:         credential.Ref{Tenant: in.Tenant, ID: in.ID},
		Integration: in.Integration,
		Kind:        credential.Kind(in.Credentials.Type),
		Scopes:      in.Credentials.Scopes,
		Variables:   in.Variables,
		Facts:       in.Facts,
	}
	if err := checkRef(out.Ref); err != nil {
		return out, err
	}
	if err := credential.CheckName("integration", out.Integration); err != nil {
		return out, err
	}
	if err := credential.CheckFacts(out.Facts); err != nil {
		return out, invalid("Field \"facts\" can have at most %d entries: names of 1 to %d letters, digits and . _ - with texts of at most %d bytes without control characters.", credential.MaxFacts, credential.MaxFactName, credential.MaxFactValue)
	}
	if len(in.Variables) > credential.MaxFacts {
		return out, invalid("Field \"variables\" can have at most %d entries.", credential.MaxFacts)
	}
	if err := checkCredentials(in.Credentials); err != nil {
		return out, err
	}
	c := in.Credentials
	switch out.Kind {
	case credential.KindOAuth2:
		out.Secret = credential.NewSecret(c.AccessToken.Reveal())
		out.RefreshToken = credential.NewSecret(c.RefreshToken.Reveal())
		var err error
		if out.ExpiresAt, err = expiry(c, now); err != nil {
			return out, err
		}
	case credential.KindAPIKey:
		out.Secret = credential.NewSecret(c.APIKey.Reveal())
	case credential.KindBasic:
		out.Username, out.Secret = c.Username, credential.NewSecret(c.Password.Reveal())
	case credential.KindJWTBearer, credential.KindTokenExchange:
		var err error
		if out.RefreshToken, err = standing(c); err != nil {
			return out, err
		}
	case credential.KindClientCredentials: // the integration's own client is the credential
	}
	return out, nil
}

// given is one field of the credentials.
type given struct {
	name  string
	there bool
}

// checkCredentials looks at which fields are there and whether their values can be.
func checkCredentials(c wire.Credentials) error {
	allowed, ok := fieldsByType[c.Type]
	if !ok {
		return invalid("Field \"credentials.type\" must be one of oauth2, client_credentials, jwt_bearer, token_exchange, api_key, basic.")
	}
	for _, g := range []given{
		{"access_token", c.AccessToken != ""}, {"refresh_token", c.RefreshToken != ""},
		{"expires_in", c.ExpiresIn != nil}, {"expires_at", c.ExpiresAt != nil},
		{"scopes", c.Scopes != nil}, {"api_key", c.APIKey != ""},
		{"subject", c.Subject != ""}, {"claims", c.Claims != nil},
		{"subject_token", c.SubjectToken != ""}, {"subject_token_type", c.SubjectTokenType != ""},
		{"audience", c.Audience != ""}, {"resource", c.Resource != ""},
		{"username", c.Username != ""}, {"password", c.Password != ""},
	} {
		if g.there && !strings.Contains(allowed, " "+g.name+" ") {
			return invalid("Field \"credentials.%s\" does not belong to the type %s, which takes: %s.",
				g.name, c.Type, strings.ReplaceAll(strings.TrimSpace(allowed), " ", ", "))
		}
	}
	if err := complete(c); err != nil {
		return err
	}
	if err := checkScopes("credentials.scopes", c.Scopes); err != nil {
		return err
	}
	return checkSecrets(c)
}

// fieldsByType says which fields belong to which type, each between blanks.
var fieldsByType = map[string]string{
	wire.TypeOAuth2:            " type access_token refresh_token expires_in expires_at scopes ",
	wire.TypeClientCredentials: " type scopes ",
	wire.TypeJWTBearer:         " type subject claims scopes ",
	wire.TypeTokenExchange:     " type subject_token subject_token_type audience resource scopes ",
	wire.TypeAPIKey:            " type api_key ",
	wire.TypeBasic:             " type username password ",
}

// standing is what is presented for each token anew, in place of a refresh token.
func standing(c wire.Credentials) (credential.Secret, error) {
	if c.Type == wire.TypeJWTBearer {
		return credential.Bearer{Subject: c.Subject, Claims: c.Claims}.Seal()
	}
	return credential.Subjected{Token: c.SubjectToken.Reveal(), TokenType: c.SubjectTokenType, Audience: c.Audience, Resource: c.Resource}.Seal()
}

// complete refuses credentials that lack what they cannot do without.
func complete(c wire.Credentials) error {
	switch c.Type {
	case wire.TypeOAuth2:
		if c.AccessToken == "" && c.RefreshToken == "" {
			return invalid("Credentials of the type oauth2 need access_token or refresh_token; a refresh_token alone is enough.")
		}
		if c.AccessToken == "" && (c.ExpiresIn != nil || c.ExpiresAt != nil) {
			return invalid("expires_in and expires_at are of the access token, and there is none. Leave them out.")
		}
	case wire.TypeAPIKey:
		if c.APIKey == "" {
			return invalid("Field \"credentials.api_key\" is missing.")
		}
	case wire.TypeBasic:
		if c.Username == "" || c.Password == "" {
			return invalid("Credentials of the type basic need username and password.")
		}
		if len(c.Username) > maxUsername || strings.Contains(c.Username, ":") || hasControl(c.Username) {
			return invalid("Field \"credentials.username\" must have at most %d bytes, no colon (RFC 7617) and no control characters.", maxUsername)
		}
	}
	return nil
}

// checkSecrets refuses what could not stand in a request to the provider.
func checkSecrets(c wire.Credentials) error {
	for _, s := range []struct {
		name  string
		value wire.Secret
	}{
		{"access_token", c.AccessToken}, {"refresh_token", c.RefreshToken},
		{"api_key", c.APIKey}, {"password", c.Password},
	} {
		if hasControl(s.value.Reveal()) {
			return invalid("Field \"credentials.%s\" holds a control character, such as a line break at its end. Send the bare value.", s.name)
		}
	}
	return nil
}

func checkScopes(field string, scopes []string) error {
	if len(scopes) > maxScopes {
		return invalid("Field %q has %d entries, at most %d are taken.", field, len(scopes), maxScopes)
	}
	for i, s := range scopes {
		if s == "" || len(s) > maxScopeLen || hasControl(s) {
			return invalid("Field \"%s[%d]\" must have 1 to %d bytes and no control characters.", field, i, maxScopeLen)
		}
	}
	return nil
}

// hasControl finds C0 control characters and DEL, which no header can carry.
func hasControl(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) >= 0
}

// expiry is when the access token ends; zero: not told.
func expiry(c wire.Credentials, now time.Time) (time.Time, error) {
	switch {
	case c.ExpiresIn != nil && c.ExpiresAt != nil:
		return time.Time{}, invalid("Both expires_in and expires_at are given. Send one of them.")
	case c.ExpiresIn != nil:
		if *c.ExpiresIn <= 0 || *c.ExpiresIn > int64(maxLifetime/time.Second) {
			return time.Time{}, invalid("Field \"credentials.expires_in\" must be a number of seconds from 1 to %d. For a token that has expired already send expires_at with a refresh_token.", int64(maxLifetime/time.Second))
		}
		return now.Add(time.Duration(*c.ExpiresIn) * time.Second), nil
	case c.ExpiresAt == nil:
		return time.Time{}, nil
	case c.ExpiresAt.After(now.Add(maxLifetime)) || c.ExpiresAt.Year() < 1970:
		return time.Time{}, invalid("Field \"credentials.expires_at\" must lie after 1970 and within 100 years. Leave it out for a token that never expires.")
	case !c.ExpiresAt.After(now) && c.RefreshToken == "":
		return time.Time{}, invalid("The access token has expired already (credentials.expires_at lies in the past) and there is no refresh_token to replace it with.")
	}
	return c.ExpiresAt.Time, nil
}

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newAccountID makes an id that sorts by the time it was made (48 bits of
// milliseconds) and cannot be guessed (80 random bits), like a ULID.
func newAccountID(now time.Time) string {
	var b [16]byte
	_, _ = rand.Read(b[6:]) // never fails: crypto/rand ends the process instead
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(b[:6], ms[2:])
	return "acc_" + idEncoding.EncodeToString(b[:])
}
