package link

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// The protocols of a port, as ALPN has them.
const (
	ProtocolRaft = "grantd-raft/1"
	ProtocolRPC  = "h2"
)

// serverTLS is the configuration of all accepted connections. It asks the
// identity at every handshake.
func (id *Identity) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{ProtocolRaft, ProtocolRPC},
		// Any certificate, because VerifyConnection verifies it, with the
		// authorities of this moment.
		ClientAuth:             tls.RequireAnyClientCert,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &id.now.Load().cert, nil },
		SessionTicketsDisabled: true, // every connection proves itself
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := id.admit(s)
			return err
		},
	}
}

// admit decides whether the other end of an accepted connection may have what
// it asks for.
func (id *Identity) admit(s tls.ConnectionState) (Peer, error) {
	p, err := id.verify(s, x509.ExtKeyUsageClientAuth)
	switch {
	case err != nil:
		return Peer{}, err
	case s.NegotiatedProtocol == "": // it named none, or one that crypto/tls takes for an old client of h2
		return Peer{}, errors.New("peer asks by ALPN for no protocol that is spoken here")
	case s.NegotiatedProtocol == ProtocolRaft && p.Role != RoleNode:
		return Peer{}, fmt.Errorf("%w: %s asks for a raft stream", ErrNotAllowed, p)
	}
	return p, nil
}

// clientTLS is the configuration of one connection to a node.
func (id *Identity) clientTLS(node, protocol string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{protocol},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &id.now.Load().cert, nil
		},
		// Nodes are known by the URIs of their certificates, which crypto/tls
		// cannot verify: it is told to verify nothing, and VerifyConnection, which
		// it always calls, verifies chain, usage and name.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := id.recognise(s, node, protocol)
			return err
		},
	}
}

// recognise decides whether the other end of a dialled connection is the node
// that was meant.
func (id *Identity) recognise(s tls.ConnectionState, node, protocol string) (Peer, error) {
	p, err := id.verify(s, x509.ExtKeyUsageServerAuth)
	switch {
	case err != nil:
		return Peer{}, err
	case p != Peer{Role: RoleNode, Name: node}:
		return Peer{}, fmt.Errorf("%w: %s answers where node/%s is expected", ErrWrongName, p, node)
	case s.NegotiatedProtocol != protocol:
		return Peer{}, fmt.Errorf("node/%s does not speak %s", node, protocol)
	}
	return p, nil
}
