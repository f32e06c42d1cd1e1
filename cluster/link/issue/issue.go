// Package issue makes a cluster's certificate authority and the certificates of
// its nodes and clients.
//
// It promises certificates as cluster/link asks for them: the holder's role and
// name as the one grantd URI (grantd://node/NAME, grantd://client/NAME), ECDSA
// keys on P-256, and only the key usages that the role needs. It reads no clock
// and writes no file; scripts/certs does. An authority of another make serves
// as well, as long as it writes the same URIs.
package issue

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/grantd/grantd/credential"
)

// Pair is a certificate and its key, both in PEM.
type Pair struct{ Cert, Key []byte }

// Authority signs certificates. It is safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pair Pair
}

// New makes an authority that is valid from start to end.
func New(start, end time.Time) (*Authority, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "grantd cluster CA, " + start.UTC().Format(time.DateOnly)},
		NotBefore: start, NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	pair, err := sign(template, nil)
	if err != nil {
		return nil, fmt.Errorf("issue: authority: %w", err)
	}
	return Load(pair)
}

// Load returns the authority of a pair that [Authority.Pair] gave. Where Cert
// holds several certificates, as a bundle does during a rotation, the first one
// signs.
func Load(pair Pair) (*Authority, error) {
	cert, err := decode(pair.Cert, "CERTIFICATE", x509.ParseCertificate)
	if err != nil {
		return nil, fmt.Errorf("issue: the authority's certificate: %w", err)
	}
	key, err := decode(pair.Key, "EC PRIVATE KEY", x509.ParseECPrivateKey)
	if err != nil {
		return nil, fmt.Errorf("issue: the authority's key: %w", err)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("issue: the certificate of %q is no authority's", cert.Subject.CommonName)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("issue: the authority's key does not belong to its certificate")
	}
	return &Authority{cert: cert, key: key, pair: pair}, nil
}

// decode parses the first block of PEM data.
func decode[T any](data []byte, kind string, parse func([]byte) (T, error)) (T, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		var none T
		return none, fmt.Errorf("no PEM block %s", kind)
	}
	return parse(block.Bytes)
}

// Pair returns the authority's certificate and key.
func (a *Authority) Pair() Pair { return a.pair }

// Ends returns the end of the authority's validity. Nothing that it signs
// outlives it.
func (a *Authority) Ends() time.Time { return a.cert.NotAfter }

// Node makes the certificate of a node: it proves the node's name to those that
// call it, and to those that it calls.
func (a *Authority) Node(name string, start, end time.Time) (Pair, error) {
	if err := credential.CheckName("node name", name); err != nil {
		return Pair{}, fmt.Errorf("issue: %w", err)
	}
	return a.Sign(holder("node", name, start, end, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth))
}

// Client makes the certificate of a co-located service, which calls nodes and
// is called by nobody.
func (a *Authority) Client(name string, start, end time.Time) (Pair, error) {
	if err := credential.CheckName("client name", name); err != nil {
		return Pair{}, fmt.Errorf("issue: %w", err)
	}
	return a.Sign(holder("client", name, start, end, x509.ExtKeyUsageClientAuth))
}

func holder(role, name string, start, end time.Time, usages ...x509.ExtKeyUsage) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: role + " " + name},
		URIs:      []*url.URL{{Scheme: "grantd", Host: role, Path: "/" + name}},
		NotBefore: start, NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usages, BasicConstraintsValid: true,
	}
}

// Sign makes a key and a certificate for it from a template, whose end it cuts
// to the authority's own. Node and Client are what a cluster needs; this is for
// what they do not foresee.
func (a *Authority) Sign(template *x509.Certificate) (Pair, error) {
	t := *template
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	pair, err := sign(&t, a)
	if err != nil {
		return Pair{}, fmt.Errorf("issue: %s: %w", t.Subject.CommonName, err)
	}
	return pair, nil
}

// sign makes a pair, signed by an authority or, where that is nil, by itself.
func sign(t *x509.Certificate, by *Authority) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return Pair{}, err
	}
	parent, signer := t, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return Pair{}, err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}),
	}, nil
}
