package link

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// PEM is what a member of the cluster proves itself and verifies others with.
type PEM struct {
	// CA holds the authorities that are trusted: one, or the old and the new
	// one while they are exchanged.
	CA []byte
	// Cert is the own certificate, followed by those between it and the
	// authority, if any.
	Cert []byte
	// Key is the certificate's private key.
	Key []byte
}

// Files returns a function that reads a PEM from three files.
func Files(ca, cert, key string) func() (PEM, error) {
	return func() (p PEM, err error) {
		for _, f := range []struct {
			name string
			into *[]byte
		}{{ca, &p.CA}, {cert, &p.Cert}, {key, &p.Key}} {
			if *f.into, err = os.ReadFile(f.name); err != nil {
				return PEM{}, err
			}
		}
		return p, nil
	}
}

// digest tells PEMs apart without keeping their keys.
func (p PEM) digest() [sha256.Size]byte {
	return sha256.Sum256(bytes.Join([][]byte{p.CA, p.Cert, p.Key}, []byte{0}))
}

// Identity is who this process is, and whom it trusts. The [Port] that uses it
// looks at its source every few seconds: to exchange certificates, replace the
// files; to exchange the authority, first let every member trust both, then
// give each a certificate of the new one, then drop the old one. All methods
// are safe for concurrent use.
type Identity struct {
	read func() (PEM, error)
	want Peer // what the own certificate must say; an empty name: any
	log  *slog.Logger
	now  atomic.Pointer[papers]

	// Of the goroutine that calls refresh: what it has logged.
	fault string // what was wrong with the files at the last look
	warn  time.Duration
}

// papers are one state of an identity. They never change.
type papers struct {
	digest [sha256.Size]byte // of the PEM
	cert   tls.Certificate
	peer   Peer
	roots  *x509.CertPool
}

// OpenIdentity reads an identity from a source such as [Files]. The certificate
// must be a node's of the given name; "": of any. The errors are ErrBadFiles,
// ErrNoName, ErrWrongName, ErrExpired and ErrUntrusted, or the source's.
func OpenIdentity(read func() (PEM, error), node string, log *slog.Logger) (*Identity, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	id := &Identity{read: read, want: Peer{Role: RoleNode, Name: node}, log: log}
	p, err := id.load()
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	id.now.Store(p)
	id.warn = expiryWarning
	return id, nil
}

// Name returns the node's name.
func (id *Identity) Name() string { return id.now.Load().peer.Name }

// Expires returns the end of the validity of the certificate in use.
func (id *Identity) Expires() time.Time { return id.now.Load().cert.Leaf.NotAfter }

// load reads the source and checks what it gives.
func (id *Identity) load() (*papers, error) {
	pem, err := id.read()
	if err != nil {
		return nil, err
	}
	return id.check(pem)
}

// check says whether this may be the identity from now on.
func (id *Identity) check(pem PEM) (*papers, error) {
	p, err := parsePapers(pem)
	if err != nil {
		return nil, err
	}
	if p.peer.Role != id.want.Role || id.want.Name != "" && p.peer.Name != id.want.Name {
		return nil, fmt.Errorf("%w: it is the one of %s, and %s is needed", ErrWrongName, p.peer, id.want)
	}
	return p, nil
}

// parsePapers checks that certificate, key and authorities belong together and
// serve now.
func parsePapers(in PEM) (*papers, error) {
	p := &papers{digest: in.digest()}
	var err error
	if p.cert, err = tls.X509KeyPair(in.Cert, in.Key); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadFiles, err)
	}
	if p.roots, err = parseRoots(in.CA); err != nil {
		return nil, err
	}
	if p.peer, err = peerIn(p.cert.Leaf); err != nil {
		return nil, err
	}
	chain := []*x509.Certificate{p.cert.Leaf}
	for _, der := range p.cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadFiles, err)
		}
		chain = append(chain, c)
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if p.peer.Role == RoleNode {
		usages = append(usages, x509.ExtKeyUsageServerAuth)
	}
	for _, u := range usages {
		if err := verifyChain(chain, p.roots, u); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// parseRoots reads the authorities. One that cannot be read spoils all: to
// trust only some of those that were meant would split the cluster.
func parseRoots(data []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for rest := data; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%w: the file of authorities holds a %s", ErrBadFiles, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: authority %d: %w", ErrBadFiles, n+1, err)
		}
		pool.AddCert(c)
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: the file of authorities holds none", ErrBadFiles)
	}
	return pool, nil
}

// expiryWarning is how long before its end the own certificate is warned of.
const expiryWarning = 72 * time.Hour

// refresh takes over what the source has now, if it is new and sound. What is
// broken is logged once, and what was in use stays in use. One goroutine calls
// it.
func (id *Identity) refresh() {
	pem, err := id.read()
	switch {
	case err != nil:
		id.blame(err.Error(), err)
	case pem.digest() == id.now.Load().digest:
		id.fault = ""
		id.warnOfExpiry()
	default:
		p, err := id.check(pem)
		if err != nil {
			id.blame(fmt.Sprintf("%x", pem.digest()), err)
			return
		}
		id.fault, id.warn = "", expiryWarning
		id.now.Store(p)
		id.log.Info("certificate files are exchanged", "peer", p.peer.String(), "expires", p.cert.Leaf.NotAfter)
	}
}

// blame logs what is wrong with the files, unless it is what was wrong before.
func (id *Identity) blame(fault string, err error) {
	if id.fault != fault {
		id.fault = fault
		id.log.Warn("certificate files cannot be used, what was read before stays in use", "error", brief(err))
	}
}

// warnOfExpiry logs the coming end of the certificate, and the end.
func (id *Identity) warnOfExpiry() {
	if left := time.Until(id.Expires()); left < id.warn {
		id.log.Warn("the node's certificate expires, and other nodes will refuse it", "expires", id.Expires())
		id.warn = 0
		if left < 0 {
			id.warn = -1 << 63
		}
	}
}

// verify checks the other end of a connection against what is trusted now and
// returns who it is.
func (id *Identity) verify(s tls.ConnectionState, usage x509.ExtKeyUsage) (Peer, error) {
	if len(s.PeerCertificates) == 0 {
		return Peer{}, errors.New("peer shows no certificate")
	}
	if err := verifyChain(s.PeerCertificates, id.now.Load().roots, usage); err != nil {
		return Peer{}, err
	}
	return peerIn(s.PeerCertificates[0])
}

// verifyChain checks a chain, its holder's certificate first. The certificates
// between may come from the peer, the roots never do.
func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: %w", ErrExpired, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	case chain[0].IsCA:
		return fmt.Errorf("%w: it is an authority's own", ErrUntrusted)
	}
	return nil
}
