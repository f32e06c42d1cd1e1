package clientkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/grantd/grantd/credential"
)

// MaxText is the longest text of a key or of a chain of certificates, in bytes.
const MaxText = 32 << 10

// minRSA is the shortest RSA key that is taken, in bits (RFC 7518 section 3.3).
const minRSA = 2048

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: client_key "+format, append([]any{credential.ErrInvalid}, args...)...)
}

// Parse reads a private key: PEM (PKCS #8, PKCS #1 or SEC 1), a JWK, or the JSON
// file of a Google service account. Keys are RSA with 2048 bits or more, EC on
// P-256, P-384 or P-521, or Ed25519. A JWK's alg chooses the algorithm, such as
// PS256; without one it is RS256, ES256, ES384, ES512 or EdDSA by the key. A key
// without a name (kid) is named by its thumbprint (RFC 7638).
//
// The error is a credential.ErrInvalid, and shows nothing of the text.
func Parse(text credential.Secret) (*Key, error) {
	s := strings.TrimSpace(text.Reveal())
	switch {
	case len(s) > MaxText:
		return nil, invalid("has more than %d bytes", MaxText)
	case strings.HasPrefix(s, "{"):
		return parseJSON(s)
	case strings.HasPrefix(s, "-----BEGIN"):
		return parsePEM(s, "")
	}
	return nil, invalid("is neither PEM, nor a JWK, nor the JSON file of a Google service account")
}

// parseJSON tells a JWK from the file of a service account.
func parseJSON(s string) (*Key, error) {
	var account struct {
		Type string `json:"type"`
		ID   string `json:"private_key_id"`
		PEM  string `json:"private_key"`
	}
	if json.Unmarshal([]byte(s), &account) == nil && account.Type == "service_account" {
		return parsePEM(strings.TrimSpace(account.PEM), account.ID)
	}
	var jwk jose.JSONWebKey
	if json.Unmarshal([]byte(s), &jwk) != nil || !jwk.Valid() {
		return nil, invalid("is JSON, but not a valid JWK")
	}
	if jwk.IsPublic() {
		return nil, invalid("is a public key; give the private one")
	}
	return newKey(jwk.Key, jwk.KeyID, jwk.Algorithm)
}

func parsePEM(s, kid string) (*Key, error) {
	for rest := []byte(s); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, invalid("holds no private key that can be read: it must be PKCS #8, PKCS #1 or SEC 1, and not encrypted")
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue // parameters of a curve, a certificate
		}
		for _, parse := range []func([]byte) (any, error){
			x509.ParsePKCS8PrivateKey,
			func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
			func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) },
		} {
			if private, err := parse(block.Bytes); err == nil {
				return newKey(private, kid, "")
			}
		}
	}
}

// newKey checks the key and completes it.
func newKey(private any, kid, algorithm string) (*Key, error) {
	algorithms, err := algorithmsOf(private)
	if err != nil {
		return nil, err
	}
	if algorithm == "" {
		algorithm = string(algorithms[0])
	}
	if !slices.Contains(algorithms, jose.SignatureAlgorithm(algorithm)) {
		return nil, invalid("names an alg that its kind of key cannot do; leave alg out, or use one of %v", algorithms)
	}
	jwk := jose.JSONWebKey{Key: private, KeyID: kid, Algorithm: algorithm, Use: "sig"}
	if jwk.KeyID == "" {
		thumbprint, err := jwk.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, invalid("has no thumbprint")
		}
		jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	}
	return &Key{jwk: jwk}, nil
}

// algorithmsOf are the algorithms that a key can be used with, the usual first.
func algorithmsOf(private any) ([]jose.SignatureAlgorithm, error) {
	switch key := private.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < minRSA {
			return nil, invalid("is an RSA key of %d bits; it must have %d or more", key.N.BitLen(), minRSA)
		}
		return []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.RS384, jose.RS512, jose.PS384, jose.PS512}, nil
	case *ecdsa.PrivateKey:
		switch key.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}, nil
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}, nil
		case elliptic.P521():
			return []jose.SignatureAlgorithm{jose.ES512}, nil
		}
		return nil, invalid("is on a curve that no JWT can be signed with; use P-256")
	case ed25519.PrivateKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}, nil
	}
	return nil, invalid("is of a kind that no JWT can be signed with; use RSA, EC or Ed25519")
}
