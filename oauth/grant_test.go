package oauth

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// grants are successful answers in all the shapes that are met.
var grants = []struct {
	name, body string
	provider   *catalog.Provider
	want       credential.Grant
}{
	{"RFC 6749", `{"access_token":"a","token_type":"bearer","expires_in":3600,"refresh_token":"r","scope":"x y"}`, &catalog.Provider{}, grantOf("a", "r", 3600, 0, "x", "y")},
	{"least", `{"access_token":"a"}`, &catalog.Provider{}, grantOf("a", "", 0, 0)},
	{"nulls", `{"access_token":"a","refresh_token":null,"expires_in":null,"scope":null,"token_type":null}`, &catalog.Provider{}, grantOf("a", "", 0, 0)},
	{"empty strings", `{"access_token":"a","refresh_token":"","expires_in":"","scope":"","token_type":""}`, &catalog.Provider{}, grantOf("a", "", 0, 0)},
	{"string", `{"access_token":"a","expires_in":"3600"}`, &catalog.Provider{}, grantOf("a", "", 3600, 0)},
	{"string with blanks", `{"access_token":"a","expires_in":" 3600 "}`, &catalog.Provider{}, grantOf("a", "", 3600, 0)},
	{"fraction", `{"access_token":"a","expires_in":3599.9}`, &catalog.Provider{}, grantOf("a", "", 3599, 0)},
	{"exponent", `{"access_token":"a","expires_in":3.6e3}`, &catalog.Provider{}, grantOf("a", "", 3600, 0)},
	{"zero", `{"access_token":"a","expires_in":0}`, &catalog.Provider{}, grantOf("a", "", 0, 0)},
	{"negative", `{"access_token":"a","expires_in":-5}`, &catalog.Provider{}, grantOf("a", "", 0, 0)},
	{"an instant in its place", `{"access_token":"a","expires_in":1795521600}`, &catalog.Provider{}, grantOf("a", "", 0, 0)},
	{"absurd", `{"access_token":"a","expires_in":1e300}`, &catalog.Provider{}, grantOf("a", "", 0, 0)},
	{"not a number", `{"access_token":"a","expires_in":"NaN"}`, &catalog.Provider{}, grantOf("a", "", 0, 0)},
	{"infinite", `{"access_token":"a","expires_in":"Inf"}`, &catalog.Provider{}, grantOf("a", "", 0, 0)},
	{"an object", `{"access_token":"a","expires_in":{"s":1}}`, &catalog.Provider{}, grantOf("a", "", 0, 0)},
	{"refresh lifetime", `{"access_token":"a","refresh_token":"r","refresh_token_expires_in":"15811200"}`, &catalog.Provider{}, grantOf("a", "r", 0, 15811200)},
	{"refresh lifetime at Intuit", `{"access_token":"a","refresh_token":"r","x_refresh_token_expires_in":8726400}`, &catalog.Provider{}, grantOf("a", "r", 0, 8726400)},
	{"refresh lifetime at Keycloak", `{"access_token":"a","refresh_token":"r","refresh_expires_in":1800}`, &catalog.Provider{}, grantOf("a", "r", 0, 1800)},
	{"scopes by comma", `{"access_token":"a","scope":"x,y"}`, &catalog.Provider{ScopeSeparator: ","}, grantOf("a", "", 0, 0, "x", "y")},
	{"comma inside of a scope", `{"access_token":"a","scope":"x,y"}`, &catalog.Provider{}, grantOf("a", "", 0, 0, "x,y")},
	{"scopes as a list", `{"access_token":"a","scope":["x","y"]}`, &catalog.Provider{}, grantOf("a", "", 0, 0, "x", "y")},
	{"nested", `{"access_token":"user","data":{"token":{"access_token":"a","expires_in":60}}}`, &catalog.Provider{TokenPath: "data.token"}, grantOf("a", "", 60, 0)},
	{"nested, and not there", `{"access_token":"a"}`, &catalog.Provider{TokenPath: "data.token"}, grantOf("a", "", 0, 0)},
	{"nested in something else", `{"access_token":"a","data":"token"}`, &catalog.Provider{TokenPath: "data.token"}, grantOf("a", "", 0, 0)},
	{"longest token", `{"access_token":"` + strings.Repeat("a", maxToken) + `"}`, &catalog.Provider{}, grantOf(strings.Repeat("a", maxToken), "", 0, 0)},
}

func grantOf(access, refresh string, expires, refreshExpires int, scopes ...string) credential.Grant {
	return credential.Grant{
		AccessToken: credential.NewSecret(access), RefreshToken: credential.NewSecret(refresh), TokenType: "Bearer", Scopes: scopes,
		ExpiresIn: time.Duration(expires) * time.Second, RefreshExpiresIn: time.Duration(refreshExpires) * time.Second,
	}
}

func TestGrantsAreReadInAllTheirShapes(t *testing.T) {
	for _, tc := range grants {
		t.Run(tc.name, func(t *testing.T) {
			a := answerOf(200, jsonType, tc.body)
			g, f := readGrant(a, parse(a.header, a.body), tc.provider, now)
			if f != nil {
				t.Fatal(f)
			}
			if !g.AccessToken.Equal(tc.want.AccessToken) || !g.RefreshToken.Equal(tc.want.RefreshToken) || g.TokenType != tc.want.TokenType ||
				g.ExpiresIn != tc.want.ExpiresIn || g.RefreshExpiresIn != tc.want.RefreshExpiresIn || !slices.Equal(g.Scopes, tc.want.Scopes) {
				t.Errorf("got %+v, want %+v", g, tc.want)
			}
			if len(tc.want.Scopes) == 0 && g.Scopes != nil {
				t.Error("scopes that were not told must be nil")
			}
		})
	}
}

func TestFormEncodedGrantsAreRead(t *testing.T) {
	for _, media := range []string{formType, "text/plain; charset=utf-8"} {
		a := answerOf(200, media, "access_token=a%2Bb&token_type=mac&expires_in=60&scope=x%2Cy&refresh_token=r")
		g, f := readGrant(a, parse(a.header, a.body), &catalog.Provider{ScopeSeparator: ","}, now)
		if f != nil || g.AccessToken.Reveal() != "a+b" || g.RefreshToken.Reveal() != "r" || g.TokenType != "mac" || g.ExpiresIn != time.Minute || !slices.Equal(g.Scopes, []string{"x", "y"}) {
			t.Errorf("%s: %+v, %v", media, g, f)
		}
	}
}

// A server that says 200 may have rotated the refresh token: without its answer
// the outcome is unknown, and neither success nor refusal.
func TestSuccessWithoutAUsableTokenIsAmbiguous(t *testing.T) {
	for _, tc := range []struct{ name, media, body, code string }{
		{"empty", jsonType, "", "empty_answer"},
		{"HTML", htmlType, "<!doctype html>", "html_answer"},
		{"cut off", jsonType, `{"access_token":"a`, "unreadable_answer"},
		{"list", jsonType, `[1]`, "unreadable_answer"},
		{"null", jsonType, `null`, "unreadable_answer"},
		{"no token", jsonType, `{"ok":true}`, "no_token"},
		{"ok false without an error", jsonType, `{"ok":false}`, "no_token"},
		{"empty token", jsonType, `{"access_token":""}`, "no_token"},
		{"token null", jsonType, `{"access_token":null}`, "no_token"},
		{"token is a number", jsonType, `{"access_token":7}`, "malformed_token"},
		{"token is an object", jsonType, `{"access_token":{}}`, "malformed_token"},
		{"token with a line break", jsonType, `{"access_token":"a\r\nx: y"}`, "malformed_token"},
		{"token that is not ASCII", jsonType, `{"access_token":"ä"}`, "malformed_token"},
		{"long token", jsonType, `{"access_token":"` + strings.Repeat("a", maxToken+1) + `"}`, "token_too_long"},
		{"long refresh token", jsonType, `{"access_token":"a","refresh_token":"` + strings.Repeat("a", maxToken+1) + `"}`, "token_too_long"},
		{"refresh token is a list", jsonType, `{"access_token":"a","refresh_token":["r"]}`, "malformed_token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := answerOf(200, tc.media, tc.body)
			m := parse(a.header, a.body)
			if f := classify(a, m, &catalog.Provider{}, now); f != nil {
				t.Fatalf("classified as %v", f)
			}
			_, f := readGrant(a, m, &catalog.Provider{}, now)
			if f == nil || f.Class != credential.Ambiguous || f.Code != tc.code || !f.Sent {
				t.Errorf("got %v, want ambiguous: %s", f, tc.code)
			}
		})
	}
}
