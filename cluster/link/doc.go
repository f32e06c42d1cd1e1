// Package link is the node's one port for other nodes and co-located services
// (cluster.rpc), and the way from here to theirs.
//
// It promises that nobody gets beyond the handshake without a certificate of
// the cluster's authority that names him: TLS 1.3 in both directions, the chain
// and its key usages verified, the name taken from the certificate's one grantd
// URI (grantd://node/NAME or grantd://client/NAME), and whoever dials node X
// talks to node X or to nobody. Only nodes may open raft streams, and each may
// speak in raft in its own name only. What a stranger or a broken peer sends
// costs bounded memory, one line in the log and its own connection, never more.
// Certificates and authorities are exchanged while everything runs
// ([Identity]).
//
// Which protocol a connection carries is settled by ALPN: [ProtocolRaft] is one
// stream of one raft group ([Port.Transport]), [ProtocolRPC] is HTTP/2 for gRPC
// ([Port.RPC], [Port.DialRPC], package grpclink). Network and addresses are
// handed in, so that a simulated network serves as well.
//
// A connection that is open stays open when certificates are exchanged, or
// expire: to throw out whoever holds a certificate that is no longer trusted,
// restart the nodes one after the other.
//
// DESIGN.md in this folder says why it is built as it is.
package link
