package clientkey

import (
	"crypto"
	"crypto/sha1" //nolint:gosec // x5t is SHA-1 by its definition (RFC 7515 section 4.1.7); servers look keys up by it
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"

	"github.com/grantd/grantd/credential"
)

func invalidCertificate(what string) error {
	return fmt.Errorf("%w: client_certificate %s", credential.ErrInvalid, what)
}

// Certificate is a client's certificate with the chain above it, and its key.
// It never changes.
type Certificate struct {
	TLS         *tls.Certificate
	thumbprints map[string]any
}

// ParseCertificate reads a chain in PEM, the client's own certificate first,
// that belongs to the key. The error is a credential.ErrInvalid.
func ParseCertificate(chain string, k *Key) (*Certificate, error) {
	if len(chain) > MaxText {
		return nil, invalidCertificate(fmt.Sprintf("has more than %d bytes", MaxText))
	}
	if k == nil {
		return nil, invalidCertificate("needs client_key, its private key")
	}
	c := &tls.Certificate{}
	for rest := []byte(chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, invalidCertificate("holds something else than certificates; the private key goes into client_key, where it is sealed")
		}
		c.Certificate = append(c.Certificate, block.Bytes)
	}
	if len(c.Certificate) == 0 {
		return nil, invalidCertificate("holds no certificate in PEM")
	}
	var err error
	if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
		return nil, invalidCertificate("cannot be read")
	}
	signer, ok := k.jwk.Key.(crypto.Signer)
	public, equals := c.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !equals || !public.Equal(signer.Public()) {
		return nil, invalidCertificate("does not belong to client_key; the client's own certificate must come first")
	}
	c.PrivateKey = signer
	short, long := sha1.Sum(c.Leaf.Raw), sha256.Sum256(c.Leaf.Raw) //nolint:gosec // see above
	return &Certificate{TLS: c, thumbprints: map[string]any{
		"x5t": base64.RawURLEncoding.EncodeToString(short[:]), "x5t#S256": base64.RawURLEncoding.EncodeToString(long[:]),
	}}, nil
}

// Header are the members of a JWT's header that name the certificate (RFC 7515
// sections 4.1.7 and 4.1.8): some servers look for the key by them. Nil for
// none.
func (c *Certificate) Header() map[string]any {
	if c == nil {
		return nil
	}
	return c.thumbprints
}
