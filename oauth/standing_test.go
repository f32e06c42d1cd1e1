package oauth

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

func TestJWTBearerSignsWhoItIsFor(t *testing.T) {
	k := newKey(t, "RS256")
	for name, tc := range map[string]struct {
		bearer credential.Bearer
		change func(*Registration)
		form   url.Values // beside assertion
		claims map[string]any
	}{
		"for a user": {credential.Bearer{Subject: "anna@example.com"}, nil, url.Values{"scope": {"a b"}}, map[string]any{"sub": "anna@example.com", "scope": "a b"}},
		"for itself": {credential.Bearer{}, nil, url.Values{"scope": {"a b"}}, map[string]any{"sub": "the-client"}},
		"claims of its own": {
			credential.Bearer{Claims: map[string]json.RawMessage{"sub": json.RawMessage("null"), "box_sub_type": json.RawMessage(`"enterprise"`)}}, nil,
			url.Values{"scope": {"a b"}}, map[string]any{"sub": nil, "box_sub_type": "enterprise"},
		},
		"with its secret beside": {credential.Bearer{}, func(r *Registration) {
			r.Provider.TokenAuthMethod, r.ClientSecret = catalog.ClientSecretPost, credential.NewSecret(clientSecret)
		}, url.Values{"scope": {"a b"}, "client_id": {"the-client"}, "client_secret": {clientSecret}}, map[string]any{"sub": "the-client"}},
		"a public client": {credential.Bearer{}, func(r *Registration) { r.Provider.TokenAuthMethod = catalog.NoSecret }, url.Values{"scope": {"a b"}, "client_id": {"the-client"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			reg := registration("https://p.example")
			reg.ClientSecret, reg.Key = credential.Secret{}, k
			if tc.change != nil {
				tc.change(&reg)
			}
			form, header := sentForm(t, reg, func(c *Client) error {
				g, err := c.JWTBearer(t.Context(), reg, tc.bearer, []string{"a", "b"})
				if !g.RefreshToken.IsZero() {
					t.Error("a refresh token is kept")
				}
				return err
			})
			claims, _ := opened(t, publicKey(t, k), form.Get("assertion"))
			if claims["iss"] != "the-client" || claims["aud"] != "https://p.example/token" || claims["exp"] == nil || claims["jti"] == nil {
				t.Errorf("%v", claims)
			}
			for name, want := range tc.claims {
				if claims[name] != want {
					t.Errorf("%s is %v, want %v", name, claims[name], want)
				}
			}
			form.Del("assertion")
			tc.form.Set("grant_type", grantJWTBearer)
			if form.Encode() != tc.form.Encode() || header.Get("Authorization") != "" {
				t.Errorf("sent %v, want %v; %v", form, tc.form, header)
			}
		})
	}
	_, err := New(answering(200, "{}", nil), Options{}).JWTBearer(t.Context(), registration("https://p.example"), credential.Bearer{}, nil)
	wantFailure(t, err, credential.Misconfigured, "no_client_key", false)
}

func TestTokenExchangePresentsTheSubject(t *testing.T) {
	reg := registration("https://p.example")
	reg.Provider.TokenAuthMethod, reg.Provider.Resources = catalog.ClientSecretPost, []string{"https://other.example/"}
	s := credential.Subjected{Token: "the-token-of-somebody", TokenType: "urn:ietf:params:oauth:token-type:jwt", Audience: "api", Resource: "https://a.example/"}
	form, _ := sentForm(t, reg, func(c *Client) error {
		_, err := c.TokenExchange(t.Context(), reg, s, []string{"a"})
		return err
	})
	want := url.Values{
		"grant_type": {grantTokenExchange}, "subject_token": {s.Token}, "subject_token_type": {s.TokenType}, "audience": {"api"},
		"resource": {"https://a.example/"}, "scope": {"a"}, "client_id": {"the-client"}, "client_secret": {clientSecret},
	}
	if form.Encode() != want.Encode() {
		t.Errorf("sent %v, want %v", form, want)
	}
	g, err := New(answering(200, `{"access_token":"a","refresh_token":"r","issued_token_type":"x"}`, nil), Options{}).TokenExchange(t.Context(), reg, s, nil)
	if err != nil || !g.RefreshToken.IsZero() {
		t.Errorf("%+v, %v", g, err)
	}
	_, err = New(answering(400, `{"error":"the-token-of-somebody"}`, nil), Options{}).TokenExchange(t.Context(), reg, s, nil)
	wantFailure(t, err, credential.Unrecognised, "unprintable", true)
}
