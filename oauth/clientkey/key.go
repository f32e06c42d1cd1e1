package clientkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/grantd/grantd/credential"
)

// Key is a private key of a client. It never changes and may be used by many
// goroutines. Its formatters show nothing.
type Key struct{ jwk jose.JSONWebKey }

// String shows that it is a key, and nothing of it.
func (*Key) String() string { return credential.Redacted }

// GoString is String, for %#v.
func (*Key) GoString() string { return credential.Redacted }

// errSign hides what a signer says: it may describe the key.
var errSign = errors.New("the client's key does not sign")

// Sign makes a JWT of the claims, with further header members such as typ.
func (k *Key) Sign(claims any, header map[string]any) (string, error) {
	o := (&jose.SignerOptions{}).WithHeader("kid", k.jwk.KeyID)
	return k.sign(k.jwk.Key, claims, header, o)
}

// SignEmbedded makes a JWT whose header carries the public key itself, as a
// proof of possession does (RFC 9449 section 4.2).
func (k *Key) SignEmbedded(claims any, header map[string]any) (string, error) {
	bare := jose.JSONWebKey{Key: k.jwk.Key} // only what is needed to verify
	return k.sign(bare, claims, header, &jose.SignerOptions{EmbedJWK: true})
}

func (k *Key) sign(key, claims any, header map[string]any, o *jose.SignerOptions) (string, error) {
	for name, value := range header {
		o = o.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.jwk.Algorithm), Key: key}, o)
	if err != nil {
		return "", errSign
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", errSign
	}
	return signed.CompactSerialize()
}

// Thumbprint names the public key (RFC 7638), as base64url of SHA-256.
func (k *Key) Thumbprint() string {
	sum, err := k.jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "" // newKey has taken one already
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// PublicSet is the public keys as a JWK Set (RFC 7517 section 5); nil keys are
// left out.
func PublicSet(keys ...*Key) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		if k != nil {
			set.Keys = append(set.Keys, k.jwk.Public())
		}
	}
	return json.Marshal(set)
}

// Algorithms are those that [Generate] makes keys for.
func Algorithms() []string { return []string{"RS256", "PS256", "ES256", "EdDSA"} }

// Generate makes a key for the algorithm, as the text of a JWK.
func Generate(algorithm string) (credential.Secret, error) {
	var private any
	var err error
	switch algorithm {
	case "RS256", "PS256":
		private, err = rsa.GenerateKey(rand.Reader, minRSA)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return credential.Secret{}, invalid("can be generated for one of %v only", Algorithms())
	}
	if err != nil {
		return credential.Secret{}, err
	}
	key, err := newKey(private, "", algorithm)
	if err != nil {
		return credential.Secret{}, err
	}
	text, err := key.jwk.MarshalJSON()
	return credential.NewSecret(string(text)), err
}
