package oauth

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

// idToken is signed by nobody that we know: what counts is who handed it over.
func idToken(t testing.TB, change map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": "https://as.example", "sub": "anna", "aud": "the-client", "nonce": "n-1",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(claims, change)
	for name, value := range claims {
		if value == nil {
			delete(claims, name)
		}
	}
	token, err := newKey(t, "ES256").Sign(claims, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// exchanging gives an id_token with the answer and a userinfo end point.
func exchanging(idToken, userinfo string, scope string) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		body, status := fmt.Sprintf(`{"access_token":"the-access-token","refresh_token":"r","id_token":%q,"scope":%q}`, idToken, scope), 200
		if r.URL.Path == "/me" {
			body = userinfo
			if r.Header.Get("Authorization") != "Bearer the-access-token" || r.Method != http.MethodGet || userinfo == "" {
				status = 401
			}
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	})
}

func TestIDTokenNamesWhoAuthorised(t *testing.T) {
	for name, tc := range map[string]struct {
		change map[string]any
		issuer string
		wrong  bool
	}{
		"as it must be":            {nil, "https://as.example", false},
		"issuer not known":         {nil, "", false},
		"several audiences":        {map[string]any{"aud": []string{"x", "the-client"}, "azp": "the-client"}, "https://as.example", false},
		"another issuer":           {map[string]any{"iss": "https://evil.example"}, "https://as.example", true},
		"another client":           {map[string]any{"aud": "x"}, "https://as.example", true},
		"no audience":              {map[string]any{"aud": nil}, "https://as.example", true},
		"audiences, no party":      {map[string]any{"aud": []string{"x", "the-client"}}, "https://as.example", true},
		"another party":            {map[string]any{"azp": "x"}, "https://as.example", true},
		"expired":                  {map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}, "https://as.example", true},
		"no expiry":                {map[string]any{"exp": nil}, "https://as.example", true},
		"issued tomorrow":          {map[string]any{"iat": time.Now().Add(24 * time.Hour).Unix()}, "https://as.example", true},
		"another request's":        {map[string]any{"nonce": "n-2"}, "https://as.example", true},
		"no nonce":                 {map[string]any{"nonce": nil}, "https://as.example", true},
		"nobody":                   {map[string]any{"sub": nil}, "https://as.example", true},
		"no issuer and none known": {map[string]any{"iss": nil}, "", true},
		"a very long name":         {map[string]any{"sub": strings.Repeat("x", 2000)}, "https://as.example", true},
	} {
		t.Run(name, func(t *testing.T) {
			token := idToken(t, tc.change)
			reg := registration("https://as.example")
			reg.Provider.Issuer = tc.issuer
			g, err := New(exchanging(token, "", ""), Options{}).Exchange(t.Context(), reg, Exchange{Code: credential.NewSecret("c"), Nonce: "n-1"})
			if tc.wrong {
				f := wantFailure(t, err, credential.Unrecognised, "bad_id_token", true)
				if strings.Contains(f.Error(), "evil") || strings.Contains(f.Error(), token[:20]) || !g.AccessToken.IsZero() {
					t.Errorf("%v, %+v", f, g)
				}
				return
			}
			if err != nil || g.Subject != (credential.Subject{Issuer: "https://as.example", User: "anna"}) {
				t.Errorf("%+v, %v", g.Subject, err)
			}
		})
	}
}

func TestIDTokenThatIsNone(t *testing.T) {
	for _, token := range []string{"x", "a.b.c", strings.Repeat("a", maxToken+1), "eyJhbGciOiJub25lIn0.e30."} {
		_, err := New(exchanging(token, "", ""), Options{}).Exchange(t.Context(), registration("https://as.example"), Exchange{Code: credential.NewSecret("c")})
		wantFailure(t, err, credential.Unrecognised, "bad_id_token", true)
	}
}

// A refresh must not lose the new refresh token for what stands beside it.
func TestRefreshDoesNotFailForItsIDToken(t *testing.T) {
	g, err := New(exchanging("a.b.c", "", ""), Options{}).Refresh(t.Context(), registration("https://as.example"), credential.NewSecret("r0"), nil)
	if err != nil || g.RefreshToken.Reveal() != "r" {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestUserinfoNamesWhoAuthorisedWhereNoIDTokenDoes(t *testing.T) {
	for name, tc := range map[string]struct {
		userinfo, scope, field string
		want                   string
	}{
		"sub":                        {`{"sub":"anna"}`, "openid", "", "anna"},
		"a number elsewhere":         {`{"data":{"id":17}}`, "read", "data.id", "17"},
		"scopes not told":            {`{"sub":"anna"}`, "", "", "anna"},
		"not asked for OpenID":       {`{"sub":"anna"}`, "read", "", ""},
		"refused: the grant is good": {``, "openid", "", ""},
		"nonsense":                   {`[]`, "openid", "", ""},
		"nobody":                     {`{"name":"x"}`, "openid", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			reg := registration("https://as.example")
			reg.Provider.UserinfoURL, reg.Provider.UserinfoSubjectField = "https://as.example/me", tc.field
			g, err := New(exchanging("", tc.userinfo, tc.scope), Options{}).Exchange(t.Context(), reg, Exchange{Code: credential.NewSecret("c")})
			if err != nil || g.Subject.User != tc.want || tc.want != "" && g.Subject.Issuer != "p" {
				t.Errorf("%+v, %v", g.Subject, err)
			}
		})
	}
}
