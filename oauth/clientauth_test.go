package oauth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth/clientkey"
)

func newKey(t testing.TB, algorithm string) *clientkey.Key {
	t.Helper()
	text, err := clientkey.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	k, err := clientkey.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// opened verifies a JWT by the key's public half and returns claims and header.
func opened(t testing.TB, verifier any, token string) (map[string]any, jose.Header) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA, jose.HS256})
	if err != nil {
		t.Fatalf("%v: %s", err, token)
	}
	payload, err := jws.Verify(verifier)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims, jws.Signatures[0].Protected
}

func publicKey(t testing.TB, k *clientkey.Key) jose.JSONWebKey {
	t.Helper()
	text, err := clientkey.PublicSet(k)
	var set jose.JSONWebKeySet
	if err != nil || json.Unmarshal(text, &set) != nil || len(set.Keys) != 1 {
		t.Fatalf("%s, %v", text, err)
	}
	return set.Keys[0]
}

// sentForm makes the request and returns the form that was sent, with the header.
func sentForm(t testing.TB, reg Registration, ask func(*Client) error) (url.Values, http.Header) {
	t.Helper()
	var form url.Values
	var header http.Header
	c := New(roundTrip(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		header = r.Header
		form, err = url.ParseQuery(string(body))
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"access_token":"a","active":true}`)), Request: r}, err
	}), Options{})
	if err := ask(c); err != nil {
		t.Fatal(err)
	}
	return form, header
}

func refreshing(t testing.TB, reg Registration) func(*Client) error {
	return func(c *Client) error {
		_, err := c.Refresh(t.Context(), reg, credential.NewSecret("r"), nil)
		return err
	}
}

func TestSignedClientProvesItselfAtEveryEndPoint(t *testing.T) {
	for _, algorithm := range clientkey.Algorithms() {
		k := newKey(t, algorithm)
		reg := registration("https://p.example")
		reg.Key, reg.Provider.TokenAuthMethod = k, catalog.PrivateKeyJWT
		seen := map[string]bool{}
		for name, ask := range map[string]func(*Client) error{
			"token":      refreshing(t, reg),
			"revoke":     func(c *Client) error { return c.Revoke(t.Context(), reg, credential.NewSecret("x"), "") },
			"introspect": func(c *Client) error { _, err := c.Introspect(t.Context(), reg, credential.NewSecret("x")); return err },
		} {
			form, header := sentForm(t, reg, ask)
			if header.Get("Authorization") != "" || form.Has("client_secret") || form.Get("client_id") != "the-client" || form.Get("client_assertion_type") != assertionType {
				t.Errorf("%s: %v %v", name, form, header)
			}
			claims, h := opened(t, publicKey(t, k), form.Get("client_assertion"))
			life := time.Until(time.Unix(int64(claims["exp"].(float64)), 0))
			if claims["iss"] != "the-client" || claims["sub"] != "the-client" || claims["aud"] != "https://p.example/token" || life <= 0 || life > assertionLifetime || h.Algorithm != algorithm || h.KeyID == "" {
				t.Errorf("%s: %v %+v", name, claims, h)
			}
			id, _ := claims["jti"].(string)
			if id == "" || seen[id] {
				t.Errorf("%s: the assertion's id %q is not new", name, id)
			}
			seen[id] = true
		}
	}
}

func TestAssertionsAudienceAndCertificate(t *testing.T) {
	text, chain := selfSigned(t, "the-client")
	k, err := clientkey.Parse(credential.NewSecret(text))
	if err != nil {
		t.Fatal(err)
	}
	reg := registration("https://{who}.example")
	reg.Provider.URLVariables = map[string]string{"who": "p"}
	reg.Key, reg.ClientSecret = k, credential.Secret{} // no method is known: a client with only a key signs
	if reg.Certificate, err = clientkey.ParseCertificate(chain, k); err != nil {
		t.Fatal(err)
	}
	form, _ := sentForm(t, reg, refreshing(t, reg))
	claims, h := opened(t, publicKey(t, k), form.Get("client_assertion"))
	if claims["aud"] != "https://p.example/token" || h.ExtraHeaders["x5t#S256"] == nil {
		t.Errorf("%v %+v", claims, h)
	}
	reg.Provider.AssertionAudience = "https://issuer.example"
	form, _ = sentForm(t, reg, refreshing(t, reg))
	if claims, _ = opened(t, publicKey(t, k), form.Get("client_assertion")); claims["aud"] != "https://issuer.example" {
		t.Errorf("%v", claims)
	}
}

func TestSecretSignsAndIsNotSent(t *testing.T) {
	secret := strings.Repeat("long", 20)
	reg := registration("https://p.example")
	reg.ClientSecret, reg.Provider.TokenAuthMethod = credential.NewSecret(secret), catalog.ClientSecretJWT
	form, header := sentForm(t, reg, refreshing(t, reg))
	claims, _ := opened(t, []byte(secret), form.Get("client_assertion"))
	if claims["sub"] != "the-client" || strings.Contains(fmt.Sprint(form, header), secret) {
		t.Errorf("%v %v %v", claims, form, header)
	}
	reg.ClientSecret = credential.NewSecret("short")
	_, err := New(answering(200, "{}", nil), Options{}).Refresh(t.Context(), reg, credential.NewSecret("r"), nil)
	wantFailure(t, err, credential.Misconfigured, "short_client_secret", false)
}

func TestClientWithoutWhatItProvesItselfWithSendsNothing(t *testing.T) {
	sent := roundTrip(func(*http.Request) (*http.Response, error) { t.Error("a request was sent"); return nil, io.EOF })
	for method, code := range map[catalog.AuthMethod]string{
		catalog.PrivateKeyJWT: "no_client_key", catalog.TLSClientAuth: "no_client_certificate", catalog.SelfSignedTLS: "no_client_certificate",
	} {
		reg := registration("https://p.example")
		reg.Provider.TokenAuthMethod = method
		_, err := New(sent, Options{}).Refresh(t.Context(), reg, credential.NewSecret("r"), nil)
		wantFailure(t, err, credential.Misconfigured, code, false)
	}
	reg := registration("https://p.example")
	reg.Provider.DPoP = catalog.DPoPRequired
	_, err := New(sent, Options{}).Refresh(t.Context(), reg, credential.NewSecret("r"), nil)
	wantFailure(t, err, credential.Misconfigured, "no_dpop_key", false)
}

// mutualServer tells who came: the names in their certificates.
func mutualServer(t testing.TB) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			who = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"for-%s-at-%s","token_type":"Bearer"}`, who, strings.TrimPrefix(r.URL.Path, "/"))
	}))
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return srv, roots
}

func withCertificate(t testing.TB, reg Registration, name string) Registration {
	t.Helper()
	text, chain := selfSigned(t, name)
	var err error
	if reg.Key, err = clientkey.Parse(credential.NewSecret(text)); err != nil {
		t.Fatal(err)
	}
	if reg.Certificate, err = clientkey.ParseCertificate(chain, reg.Key); err != nil {
		t.Fatal(err)
	}
	return reg
}

func TestEachClientComesWithItsOwnCertificate(t *testing.T) {
	srv, roots := mutualServer(t)
	tr := NewTransport(TransportOptions{Allow: loopback, RootCAs: roots})
	c := New(tr, Options{})
	t.Cleanup(c.CloseIdleConnections)
	plain := registration(srv.URL)
	plain.Provider.TokenAuthMethod = catalog.SelfSignedTLS
	plain.Provider.MTLSTokenURL = srv.URL + "/mtls"
	anna, otto := withCertificate(t, plain, "anna"), withCertificate(t, plain, "otto")
	for range 2 {
		for name, reg := range map[string]Registration{"anna": anna, "otto": otto} {
			g, err := c.ClientCredentials(t.Context(), reg, nil)
			if err != nil || g.AccessToken.Reveal() != "for-"+name+"-at-mtls" {
				t.Fatalf("%s: %q, %v", name, g.AccessToken.Reveal(), err)
			}
		}
	}
	// A client that is known otherwise does not show its certificate.
	signed := anna
	facts := *plain.Provider
	facts.TokenAuthMethod = catalog.PrivateKeyJWT
	signed.Provider = &facts
	if g, err := c.ClientCredentials(t.Context(), signed, nil); err != nil || g.AccessToken.Reveal() != "for-nobody-at-token" {
		t.Errorf("%q, %v", g.AccessToken.Reveal(), err)
	}
	if len(c.mutual.of) != 2 {
		t.Errorf("%d transports for two clients", len(c.mutual.of))
	}
}

func TestTransportsOfClientsAreBounded(t *testing.T) {
	c := New(NewTransport(TransportOptions{}), Options{})
	reg := registration("https://p.example")
	reg.Provider.TokenAuthMethod = catalog.TLSClientAuth
	var first http.RoundTripper
	for i := range maxMutual + 3 {
		rt, failure := c.transport(withCertificate(t, reg, fmt.Sprint(i)))
		if failure != nil {
			t.Fatal(failure)
		}
		if i == 0 {
			first = rt
		}
		if rt == c.rt || i > 0 && rt == first {
			t.Fatal("two clients share a transport")
		}
	}
	if len(c.mutual.of) != maxMutual || len(c.mutual.old) != maxMutual {
		t.Errorf("%d and %d are kept, want %d", len(c.mutual.of), len(c.mutual.old), maxMutual)
	}
	if _, failure := New(answering(200, "", nil), Options{}).transport(withCertificate(t, reg, "x")); failure == nil || failure.Code != "no_mutual_tls" {
		t.Errorf("%v", failure)
	}
}

// selfSigned makes a key and its certificate, in PEM.
func selfSigned(t testing.TB, name string) (key, chain string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: inner})), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
