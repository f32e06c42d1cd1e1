// Package grpclink lets gRPC run over the connections of a link.Port.
//
// It promises that gRPC uses a connection whose other end was proven in the
// handshake of the link, makes no second one, and tells every handler who
// calls ([PeerFrom]).
package grpclink

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/grantd/grantd/cluster/link"
)

// AuthInfo is what gRPC knows of the other end of a connection.
type AuthInfo struct {
	credentials.CommonAuthInfo
	Peer link.Peer
}

// AuthType returns the name of this way to prove oneself.
func (AuthInfo) AuthType() string { return "grantd" }

// PeerFrom tells who calls, from the context of a handler.
func PeerFrom(ctx context.Context) (link.Peer, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return link.Peer{}, false
	}
	info, ok := p.AuthInfo.(AuthInfo)
	return info.Peer, ok
}

// Server returns the option of a server that serves [link.Port.RPC].
func Server() grpc.ServerOption { return grpc.Creds(creds{}) }

// Client returns the options of a client whose target is a node: [Target].
func Client(p *link.Port) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(creds{}),
		grpc.WithContextDialer(p.DialRPC),
	}
}

// Target is the target of a client that calls a node.
func Target(node string) string { return "passthrough:///" + node }

// creds take over what the link's handshake has proven.
type creds struct{}

// errForeign is the answer to a connection that did not come from a link.
var errForeign = errors.New("grpclink: not a connection of a link.Port")

func take(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	p, ok := link.PeerOf(c)
	if !ok {
		return nil, nil, errForeign
	}
	level := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return c, AuthInfo{CommonAuthInfo: level, Peer: p}, nil
}

// ClientHandshake tells who was dialled. The dialler has compared the name.
func (creds) ClientHandshake(_ context.Context, _ string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return take(c)
}

// ServerHandshake tells who calls.
func (creds) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) { return take(c) }

// Info describes the protocol under gRPC's.
func (creds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone returns the same: there is nothing to change.
func (c creds) Clone() credentials.TransportCredentials { return c }

// OverrideServerName does nothing: nodes are known by their certificates.
func (creds) OverrideServerName(string) error { return nil }
