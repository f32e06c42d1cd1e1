package link

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/grantd/grantd/credential"
)

// Role is what a certificate's holder is.
type Role string

// The roles, as they stand in the certificate's URI.
const (
	RoleNode   Role = "node"   // a node of the cluster
	RoleClient Role = "client" // a co-located service: it may call, and is called by nobody
)

// Peer is the proven holder of a certificate.
type Peer struct {
	Role Role
	Name string
}

// String returns the peer as its certificate has it, without the scheme.
func (p Peer) String() string { return string(p.Role) + "/" + p.Name }

// PeerOf tells who is at the other end of a connection of a [Port]. It is false
// for any other connection.
func PeerOf(c net.Conn) (Peer, bool) {
	k, ok := c.(interface{ Peer() Peer })
	if !ok {
		return Peer{}, false
	}
	return k.Peer(), true
}

// scheme begins the URI that names the holder of a certificate.
const scheme = "grantd"

// peerIn returns the holder that a certificate names. It does not ask who signed it.
func peerIn(cert *x509.Certificate) (Peer, error) {
	var found []*url.URL
	for _, u := range cert.URIs {
		if u.Scheme == scheme {
			found = append(found, u)
		}
	}
	switch len(found) {
	case 0:
		return Peer{}, fmt.Errorf("%w: its certificate has no URI %s://node/NAME or %s://client/NAME", ErrNoName, scheme, scheme)
	case 1:
		return parsePeer(found[0])
	default:
		return Peer{}, fmt.Errorf("%w: its certificate has %d %s URIs instead of one", ErrNoName, len(found), scheme)
	}
}

func parsePeer(u *url.URL) (Peer, error) {
	p := Peer{Role: Role(u.Host), Name: strings.TrimPrefix(u.Path, "/")}
	plain := url.URL{Scheme: scheme, Host: u.Host, Path: "/" + p.Name}
	if p.Role != RoleNode && p.Role != RoleClient || *u != plain {
		return Peer{}, fmt.Errorf("%w: %.100q is not %s://node/NAME or %s://client/NAME", ErrNoName, u, scheme, scheme)
	}
	if err := credential.CheckName("the name in its certificate", p.Name); err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrNoName, err)
	}
	return p, nil
}
