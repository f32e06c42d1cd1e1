package node

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
)

// forms answers every request with a token, and keeps what was sent.
type forms struct{ sent []url.Values }

// RoundTrip implements http.RoundTripper.
func (f *forms) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	f.sent = append(f.sent, form)
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"access_token": "a"}`)),
	}, err
}

func TestAccountsThatFetchEachTokenAnewAreAskedForInTheirWay(t *testing.T) {
	p, _ := newProvider(t, &hosts{})
	f := &forms{}
	p.client = oauth.New(f, oauth.Options{})
	_, _, err := p.registry.PutIntegration(t.Context(), "machines", registry.IntegrationSpec{
		Provider: catalog.Custom, ClientID: "c", ClientKey: credential.NewSecret("generate:ES256"),
		Overrides: map[string]json.RawMessage{"token_url": json.RawMessage(`"https://p.example/token"`), "revocation_url": json.RawMessage(`"https://p.example/revoke"`)},
	}, credential.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := credential.Bearer{Subject: "anna"}.Seal()
	if err != nil {
		t.Fatal(err)
	}
	subjected, err := credential.Subjected{Token: "t", TokenType: "urn:x"}.Seal()
	if err != nil {
		t.Fatal(err)
	}
	for kind, kept := range map[credential.Kind]credential.Secret{credential.KindJWTBearer: bearer, credential.KindTokenExchange: subjected} {
		f.sent = nil
		r := credential.TokenRequest{Integration: "machines", Kind: kind, RefreshToken: kept, AccessToken: credential.NewSecret("a")}
		if g, err := p.Refresh(t.Context(), r); err != nil || g.AccessToken.Reveal() != "a" {
			t.Fatalf("%s: %v", kind, err)
		}
		if form := f.sent[0]; form.Get("assertion") == "" && form.Get("subject_token") != "t" {
			t.Errorf("%s sent %v", kind, form)
		}
		// Only the token is revoked: what is kept is not the provider's.
		f.sent = nil
		if err := p.Revoke(t.Context(), r); err != nil || len(f.sent) != 1 || f.sent[0].Get("token") != "a" {
			t.Errorf("%s: revoked %v, %v", kind, f.sent, err)
		}
		r.RefreshToken = credential.NewSecret("not what is kept")
		f.sent = nil
		if _, err := p.Refresh(t.Context(), r); err == nil || len(f.sent) != 0 {
			t.Errorf("%s: sent %v, %v", kind, f.sent, err)
		}
	}
}
