package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// nonceServer wants its nonces in proofs, and keeps what came.
type nonceServer struct {
	nonce    string // the one that is accepted now
	next     string // announced with a success; empty: none
	stubborn bool   // it accepts none
	proofs   []string
}

func (s *nonceServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := io.ReadAll(r.Body); err != nil {
		return nil, err
	}
	proof := r.Header.Get("DPoP")
	s.proofs = append(s.proofs, proof)
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"access_token":"a","token_type":"DPoP","refresh_token":"r2"}`)), Request: r}
	claims := claimsOf(proof)
	if s.stubborn || s.nonce != "" && claims["nonce"] != s.nonce {
		res.StatusCode, res.Body = 400, io.NopCloser(strings.NewReader(`{"error":"use_dpop_nonce"}`))
		res.Header.Set("DPoP-Nonce", s.nonce)
		return res, nil
	}
	if s.next != "" {
		res.Header.Set("DPoP-Nonce", s.next)
		s.nonce = s.next
	}
	return res, nil
}

func boundRegistration(t testing.TB) Registration {
	reg := registration("https://p.example")
	reg.Provider.TokenURL += "?tenant=x"
	reg.Provider.DPoP, reg.DPoPKey = catalog.DPoPRequired, newKey(t, "ES256")
	return reg
}

func TestNonceIsAskedForOnceAndRemembered(t *testing.T) {
	s, reg := &nonceServer{nonce: "n1"}, boundRegistration(t)
	c := New(s, Options{})
	for range 3 {
		g, err := c.Refresh(t.Context(), reg, credential.NewSecret("r"), nil)
		if err != nil || g.TokenType != "DPoP" {
			t.Fatalf("%+v, %v", g, err)
		}
	}
	if len(s.proofs) != 4 { // one refusal at first
		t.Fatalf("%d requests for three refreshes", len(s.proofs))
	}
	seen := map[any]bool{}
	for _, proof := range s.proofs {
		claims, header := opened(t, publicKey(t, reg.DPoPKey), proof)
		if claims["htm"] != "POST" || claims["htu"] != "https://p.example/token" || claims["ath"] != nil || seen[claims["jti"]] || time.Since(time.Unix(int64(claims["iat"].(float64)), 0)) > time.Minute {
			t.Errorf("%v", claims)
		}
		seen[claims["jti"]] = true
		if header.ExtraHeaders["typ"] != "dpop+jwt" || header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() {
			t.Errorf("%+v", header)
		}
	}
	s.next = "n2"
	for range 2 {
		if _, err := c.Refresh(t.Context(), reg, credential.NewSecret("r"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.proofs) != 6 {
		t.Errorf("%d requests: a nonce that was announced was not used", len(s.proofs))
	}
}

func TestRequestIsRepeatedOnceAndOnlyForANonce(t *testing.T) {
	reg := boundRegistration(t)
	stubborn := &nonceServer{nonce: "n1", stubborn: true}
	_, err := New(stubborn, Options{}).Refresh(t.Context(), reg, credential.NewSecret("r"), nil)
	wantFailure(t, err, credential.Transient, "use_dpop_nonce", true)
	if len(stubborn.proofs) != 2 {
		t.Errorf("%d requests", len(stubborn.proofs))
	}
	for name, tc := range map[string]struct {
		status int
		body   string
		nonce  string
		lost   error
		class  credential.Class
	}{
		"invalid_grant beside a nonce":   {400, `{"error":"invalid_grant"}`, "n", nil, credential.Terminal},
		"500 that asks for a nonce":      {500, `{"error":"use_dpop_nonce"}`, "n", nil, credential.Transient},
		"asked for without giving one":   {400, `{"error":"use_dpop_nonce"}`, "", nil, credential.Transient},
		"a nonce that no header carries": {400, `{"error":"use_dpop_nonce"}`, "a\x01b", nil, credential.Transient},
		"a nonce that is too long":       {400, `{"error":"use_dpop_nonce"}`, strings.Repeat("n", maxNonce+1), nil, credential.Transient},
		"no answer":                      {0, "", "", errors.New("broken"), credential.Ambiguous},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			c := New(roundTrip(func(r *http.Request) (*http.Response, error) {
				requests++
				if _, err := io.ReadAll(r.Body); err != nil || tc.lost != nil {
					return nil, errors.Join(err, tc.lost)
				}
				return &http.Response{StatusCode: tc.status, Header: http.Header{"Dpop-Nonce": {tc.nonce}}, Body: io.NopCloser(strings.NewReader(tc.body)), Request: r}, nil
			}), Options{})
			_, err := c.Refresh(t.Context(), reg, credential.NewSecret("r"), nil)
			if f := failure(t, err); f.Class != tc.class || requests != 1 {
				t.Errorf("%v after %d requests", f, requests)
			}
		})
	}
}

func TestNoncesAreBounded(t *testing.T) {
	var n nonces
	for i := range maxNonces + 10 {
		n.put(fmt.Sprint(i), "x")
	}
	n.put("5", "y")
	n.put("last", "z")
	if len(n.of) != maxNonces || n.get("last") != "z" {
		t.Errorf("%d are kept, the last is %q", len(n.of), n.get("last"))
	}
}

func TestProofForACallersRequest(t *testing.T) {
	k := newKey(t, "ES256")
	proof, err := Prove(k, Proof{Method: "DELETE", URL: "https://api.example/things/1?q=secret#top", Nonce: "rs-1", AccessToken: credential.NewSecret("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU")})
	if err != nil {
		t.Fatal(err)
	}
	claims, _ := opened(t, publicKey(t, k), proof)
	// The hash is that of RFC 9449 section 7.1.
	if claims["htm"] != "DELETE" || claims["htu"] != "https://api.example/things/1" || claims["nonce"] != "rs-1" || claims["ath"] != "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo" {
		t.Errorf("%v", claims)
	}
	for _, bad := range []Proof{
		{Method: "", URL: "https://a.example/"}, {Method: "GET", URL: "a.example"}, {Method: "GET", URL: "ftp://a.example/"},
		{Method: "GET", URL: "https://u:p@a.example/"}, {Method: "GET", URL: "https://a.example/%zz"}, {Method: "GET", URL: "https://a.example/", Nonce: strings.Repeat("n", maxNonce+1)},
	} {
		if _, err := Prove(k, bad); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestCodeIsBoundToTheKey(t *testing.T) {
	reg := boundRegistration(t)
	reg.Provider.AuthorizationURL = "https://p.example/authorize"
	address, err := AuthorizationURL(reg, authorizationRequest())
	if err != nil || !strings.Contains(address, "dpop_jkt="+reg.DPoPKey.Thumbprint()) {
		t.Errorf("%s, %v", address, err)
	}
}

// claimsOf reads the claims of a JWT without looking at its signature.
func claimsOf(token string) map[string]any {
	parts := strings.Split(token, ".")
	var claims map[string]any
	if len(parts) == 3 {
		if b, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(b, &claims)
		}
	}
	return claims
}
