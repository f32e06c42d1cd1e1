package clientkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/grantd/grantd/credential"
)

func pemOf(t testing.TB, private any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func made[K any](t testing.TB) func(K, error) K {
	return func(k K, err error) K {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
}

// verify checks a JWT with the public set and returns its claims and header.
func verify(t testing.TB, k *Key, token string) (map[string]any, jose.Header) {
	t.Helper()
	text, err := PublicSet(nil, k)
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].IsPublic() {
		t.Fatalf("%s, %v", text, err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := jws.Verify(set.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims, jws.Signatures[0].Protected
}

func TestEveryKindOfKeySignsWhatItsPublicKeyVerifies(t *testing.T) {
	rsaKey := made[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	p256 := made[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	sec1 := made[[]byte](t)(x509.MarshalECPrivateKey(p256))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pss := made[[]byte](t)(json.Marshal(jose.JSONWebKey{Key: rsaKey, KeyID: "mine", Algorithm: "PS256"}))
	google := made[[]byte](t)(json.Marshal(map[string]string{"type": "service_account", "private_key_id": "g1", "private_key": pemOf(t, rsaKey), "client_email": "a@b.iam"}))
	cases := []struct{ name, text, algorithm, kid string }{
		{"PKCS 8, RSA", "\n" + pemOf(t, rsaKey), "RS256", ""},
		{"PKCS 1", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})), "RS256", ""},
		{"SEC 1", string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{1}})) + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})), "ES256", ""},
		{"P-384", pemOf(t, made[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))), "ES384", ""},
		{"P-521", pemOf(t, made[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))), "ES512", ""},
		{"Ed25519", pemOf(t, ed), "EdDSA", ""},
		{"JWK", string(pss), "PS256", "mine"},
		{"Google service account", string(google), "RS256", "g1"},
	}
	for _, algorithm := range Algorithms() {
		cases = append(cases, struct{ name, text, algorithm, kid string }{"generated " + algorithm, made[credential.Secret](t)(Generate(algorithm)).Reveal(), algorithm, ""})
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			k, err := Parse(credential.NewSecret(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			again, err := Parse(credential.NewSecret(tc.text))
			if err != nil || again.jwk.KeyID != k.jwk.KeyID || again.Thumbprint() != k.Thumbprint() || k.Thumbprint() == "" {
				t.Errorf("read twice it is %q and %q, %v", k.jwk.KeyID, again.jwk.KeyID, err)
			}
			token := made[string](t)(k.Sign(map[string]any{"a": "b"}, map[string]any{"typ": "x+jwt"}))
			claims, header := verify(t, k, token)
			if claims["a"] != "b" || header.Algorithm != tc.algorithm || header.KeyID == "" || tc.kid != "" && header.KeyID != tc.kid || header.ExtraHeaders["typ"] != "x+jwt" {
				t.Errorf("%v, %+v", claims, header)
			}
			proof := made[string](t)(k.SignEmbedded(map[string]any{"a": "c"}, nil))
			claims, header = verify(t, k, proof)
			if claims["a"] != "c" || header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() || header.KeyID != "" {
				t.Errorf("%v, %+v", claims, header)
			}
			for _, shown := range []string{fmt.Sprint(k), fmt.Sprintf("%#v", k), fmt.Sprintf("%+v", struct{ K *Key }{k})} {
				if strings.Contains(shown, "jwk") || len(shown) > 60 {
					t.Errorf("shown as %s", shown)
				}
			}
		})
	}
}

func TestBadKeysAreRefusedAndNotShown(t *testing.T) {
	short := made[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	p224 := made[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	p256 := made[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	public := made[[]byte](t)(json.Marshal(jose.JSONWebKey{Key: p256.Public()}))
	wrongAlg := made[[]byte](t)(json.Marshal(jose.JSONWebKey{Key: p256, Algorithm: "RS256"}))
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":           {"", "neither PEM"},
		"words":             {"hunter2", "neither PEM"},
		"too long":          {strings.Repeat("hunter2 ", MaxText), "more than"},
		"JSON":              {`{"a":"hunter2"}`, "not a valid JWK"},
		"broken JSON":       {`{"hunter2`, "not a valid JWK"},
		"a symmetric key":   {`{"kty":"oct","k":"aHVudGVyMmh1bnRlcjJodW50ZXIy"}`, "not a valid JWK"},
		"a public key":      {string(public), "is a public key"},
		"another algorithm": {string(wrongAlg), "alg"},
		"short RSA":         {pemOf(t, short), "1024 bits"},
		"odd curve":         {pemOf(t, p224), "curve"},
		"broken PEM":        {"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n", "no private key"},
		"encrypted":         {"-----BEGIN ENCRYPTED PRIVATE KEY-----\naHVudGVyMg==\n-----END ENCRYPTED PRIVATE KEY-----\n", "not encrypted"},
		"a certificate":     {"-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n", "no private key"},
		"account, no key":   {`{"type":"service_account","private_key":"hunter2"}`, "no private key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(credential.NewSecret(tc.text))
			if !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v should be ErrInvalid and say %q", err, tc.want)
			}
		})
	}
	if _, err := Generate("HS256"); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("HS256: %v", err)
	}
}

// selfSigned is a certificate of the key, in PEM.
func selfSigned(t testing.TB, private crypto.Signer) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the-client"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCertificateBelongsToItsKey(t *testing.T) {
	private := made[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	other := made[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	k := made[*Key](t)(Parse(credential.NewSecret(pemOf(t, private))))
	chain := selfSigned(t, private) + selfSigned(t, other)
	c, err := ParseCertificate(chain, k)
	if err != nil || len(c.TLS.Certificate) != 2 || c.TLS.Leaf == nil {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := tls.X509KeyPair([]byte(chain), []byte(pemOf(t, private))); err != nil {
		t.Errorf("crypto/tls does not take it: %v", err)
	}
	if h := c.Header(); len(h) != 2 || h["x5t#S256"] == "" || (*Certificate)(nil).Header() != nil {
		t.Errorf("%v", h)
	}
	for name, tc := range map[string]struct {
		chain string
		key   *Key
		want  string
	}{
		"no key":           {chain, nil, "needs client_key"},
		"another's":        {selfSigned(t, other), k, "does not belong"},
		"nothing":          {"", k, "no certificate"},
		"with its key":     {selfSigned(t, private) + pemOf(t, private), k, "private key goes into"},
		"broken":           {"-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n", k, "cannot be read"},
		"longer than that": {strings.Repeat(chain, 100), k, "more than"},
	} {
		if _, err := ParseCertificate(tc.chain, tc.key); !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v should say %q", name, err, tc.want)
		}
	}
}

func FuzzNoTextMakesParsePanic(f *testing.F) {
	f.Add(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}`)
	f.Add("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
	f.Add(`{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}`)
	f.Fuzz(func(t *testing.T, text string) {
		k, err := Parse(credential.NewSecret(text))
		if err != nil {
			return
		}
		if _, err := k.Sign(map[string]any{}, nil); err != nil {
			t.Errorf("a key was taken that does not sign: %v", err)
		}
	})
}
