package oauth

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// The pair of RFC 7636 appendix B.
const (
	rfcVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	rfcChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

func authorizationRequest() AuthorizationRequest {
	return AuthorizationRequest{
		RedirectURI: "https://grants.example/callback", State: "s t&ate", Scopes: []string{"a", "b"},
		Verifier: credential.NewSecret(rfcVerifier), Nonce: "n-1",
	}
}

func TestAuthorizationURLHoldsWhatTheProviderWants(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Registration, *AuthorizationRequest)
		want   url.Values // beside response_type and client_id
	}{
		{"plain", nil, url.Values{
			"redirect_uri": {"https://grants.example/callback"}, "state": {"s t&ate"}, "scope": {"a b"}, "nonce": {"n-1"},
			"code_challenge": {rfcChallenge}, "code_challenge_method": {"S256"},
		}},
		{"as little as there is", func(_ *Registration, r *AuthorizationRequest) { *r = AuthorizationRequest{} }, url.Values{}},
		{"a provider that breaks on PKCE", func(reg *Registration, r *AuthorizationRequest) {
			reg.Provider.PKCE = catalog.PKCEUnsupported
			*r = AuthorizationRequest{Verifier: r.Verifier}
		}, url.Values{}},
		{"a query of its own, commas, parameters and resources", func(reg *Registration, r *AuthorizationRequest) {
			reg.Provider.AuthorizationURL += "?tenant=x&state=evil"
			reg.Provider.ScopeSeparator = ","
			reg.Provider.AuthorizationParams = map[string]string{"prompt": "consent", "access_type": "offline"}
			reg.Provider.Resources = []string{"https://a.example/", "https://b.example/"}
			*r = AuthorizationRequest{State: "s", Scopes: r.Scopes, Params: map[string]string{"prompt": "login", "client_id": "evil", "response_type": "token"}}
		}, url.Values{
			"tenant": {"x"}, "state": {"s"}, "scope": {"a,b"}, "prompt": {"login"}, "access_type": {"offline"},
			"resource": {"https://a.example/", "https://b.example/"},
		}},
		{"resources of the request", func(reg *Registration, r *AuthorizationRequest) {
			reg.Provider.Resources = []string{"https://a.example/"}
			*r = AuthorizationRequest{Resources: []string{"https://c.example/"}}
		}, url.Values{"resource": {"https://c.example/"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg, r := registration("https://p.example"), authorizationRequest()
			reg.Provider.AuthorizationURL = "https://p.example/authorize"
			if tc.change != nil {
				tc.change(&reg, &r)
			}
			address, err := AuthorizationURL(reg, r)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(address)
			if err != nil || u.Host != "p.example" || u.Path != "/authorize" {
				t.Fatalf("%s, %v", address, err)
			}
			tc.want.Set("response_type", "code")
			tc.want.Set("client_id", "the-client")
			if got := u.Query().Encode(); got != tc.want.Encode() {
				t.Errorf("got  %s\nwant %s", got, tc.want.Encode())
			}
			if strings.Contains(address, rfcVerifier) || strings.Contains(address, clientSecret) {
				t.Errorf("%s shows a secret", address)
			}
		})
	}
}

func TestAuthorizationURLOfNoProvider(t *testing.T) {
	_, err := AuthorizationURL(registration("https://p.example"), authorizationRequest())
	wantFailure(t, err, credential.Misconfigured, "bad_authorization_url", false)
}

// answering answers every request alike and keeps the last one's body.
func answering(status int, text string, body *string) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		b, err := io.ReadAll(r.Body)
		if body != nil {
			*body = r.URL.String() + " " + string(b)
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, err
	})
}

func pushing() Registration {
	reg := registration("https://p.example")
	reg.Provider.AuthorizationURL = "https://p.example/authorize?tenant=x"
	reg.Provider.PushedAuthorizationRequestURL = "https://p.example/par"
	reg.Provider.TokenAuthMethod = catalog.ClientSecretPost
	return reg
}

func TestPushedRequestLeavesOnlyAReferenceInTheBrowser(t *testing.T) {
	var seen string
	c := New(answering(201, `{"request_uri":"urn:ietf:params:oauth:request_uri:abc","expires_in":60}`, &seen), Options{})
	address, err := c.Authorize(t.Context(), pushing(), authorizationRequest())
	if err != nil {
		t.Fatal(err)
	}
	if want := "https://p.example/authorize?client_id=the-client&request_uri=urn%3Aietf%3Aparams%3Aoauth%3Arequest_uri%3Aabc&tenant=x"; address != want {
		t.Errorf("got  %s\nwant %s", address, want)
	}
	for _, part := range []string{"https://p.example/par ", "client_secret=" + clientSecret, "code_challenge=" + rfcChallenge, "response_type=code", "state=s+t%26ate", "scope=a+b"} {
		if !strings.Contains(seen, part) {
			t.Errorf("%q does not hold %q", seen, part)
		}
	}
}

func TestPushedRequestThatIsRefusedOrAnsweredOddly(t *testing.T) {
	for _, tc := range []struct {
		status int
		text   string
		class  credential.Class
		code   string
	}{
		{400, `{"error":"invalid_request"}`, credential.Unrecognised, "invalid_request"},
		{401, `{"error":"invalid_client"}`, credential.Misconfigured, "invalid_client"},
		{503, ``, credential.Transient, "http_503"},
		{302, ``, credential.Misconfigured, "redirect"},
		{201, `{}`, credential.Unrecognised, "no_request_uri"},
		{201, `{"request_uri":"a b\r\nc"}`, credential.Unrecognised, "no_request_uri"},
		{201, `<html>`, credential.Unrecognised, "no_request_uri"},
		{204, `{"request_uri":"urn:x"}`, credential.Unrecognised, "no_request_uri"},
		{400, `{"error":"` + clientSecret + `"}`, credential.Unrecognised, "unprintable"},
	} {
		_, err := New(answering(tc.status, tc.text, nil), Options{}).Authorize(t.Context(), pushing(), authorizationRequest())
		wantFailure(t, err, tc.class, tc.code, true)
	}
}

func TestExchangePresentsCodeAndVerifier(t *testing.T) {
	e := Exchange{Code: credential.NewSecret("the-code-of-it/+"), RedirectURI: "https://grants.example/callback", Verifier: credential.NewSecret(rfcVerifier)}
	var seen string
	c := New(answering(200, `{"access_token":"a","refresh_token":"r","expires_in":60,"scope":"x y"}`, &seen), Options{})
	reg := registration("https://p.example")
	reg.Provider.TokenAuthMethod, reg.Provider.Resources = catalog.NoSecret, []string{"https://a.example/"}
	g, err := c.Exchange(t.Context(), reg, e)
	if err != nil || g.AccessToken.Reveal() != "a" || g.RefreshToken.Reveal() != "r" || len(g.Scopes) != 2 {
		t.Fatalf("%+v, %v", g, err)
	}
	want := url.Values{
		"grant_type": {"authorization_code"}, "code": {"the-code-of-it/+"}, "redirect_uri": {e.RedirectURI},
		"code_verifier": {rfcVerifier}, "client_id": {"the-client"}, "resource": {"https://a.example/"},
	}
	if seen != "https://p.example/token "+want.Encode() {
		t.Errorf("sent %s\nwant %s", seen, want.Encode())
	}
	reg.Provider.TokenBodyFormat, e.Resources = catalog.JSONBody, []string{"urn:x", "urn:y"}
	if _, err := c.Exchange(t.Context(), reg, e); err != nil || !strings.Contains(seen, `"resource":["urn:x","urn:y"]`) {
		t.Errorf("sent %s, %v", seen, err)
	}
}

func TestNoFailureShowsTheCodeOrTheVerifier(t *testing.T) {
	e := Exchange{Code: credential.NewSecret("the-code-of-it"), Verifier: credential.NewSecret(rfcVerifier)}
	for _, echo := range []string{"the-code-of-it", "bad_code_the-code-of-it", rfcVerifier} {
		_, err := New(answering(400, `{"error":"`+echo+`"}`, nil), Options{}).Exchange(t.Context(), registration("https://p.example"), e)
		wantFailure(t, err, credential.Unrecognised, "unprintable", true)
	}
	_, err := New(answering(400, `{"error":"invalid_grant","error_description":"the-code-of-it"}`, nil), Options{}).Exchange(t.Context(), registration("https://p.example"), e)
	if f := wantFailure(t, err, credential.Terminal, "invalid_grant", true); strings.Contains(f.Error(), "the-code") {
		t.Errorf("%v", f)
	}
}
