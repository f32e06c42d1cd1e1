// Package exchange carries many requests over one gRPC stream, in both of its
// ends: [Client] and [Server]. It knows ids, time-outs, cancellation and the
// hello; what a request asks for is somebody else's matter.
//
// It promises that a request is answered once; that the caller learns whether
// one that was not answered was surely not begun ([ErrNotSent]) or may have been
// ([ErrLost]); that a request ends with its caller's context on both sides; that
// what is in flight is bounded, by blocking at the client and by refusing at the
// server; that a stream whose other end is silent is given up within a second or
// two; and that neither garbage nor messages of a newer version end anything but
// the stream that they came on. It formats no message, for messages hold secrets.
//
// It repeats no request: whether that is safe is known to the caller only.
package exchange

import (
	"errors"
	"fmt"

	"github.com/grantd/grantd/wire/rpcpb"
)

// Versions of the protocol that this package speaks.
const (
	OldestVersion = 1
	NewestVersion = 1
)

// MaxMessage is the largest message, in bytes, that either end sends or takes.
const MaxMessage = 4 << 20

// Windows of HTTP/2's flow control. They are fixed, which spares the pings that
// would estimate them, and small enough that a peer who does not read holds
// little of our memory.
const (
	streamWindow = 1 << 20
	connWindow   = 2 << 20
)

// Errors that [Client.Do] adds to what happened.
var (
	// ErrNotSent: the request was surely not begun by the other side.
	ErrNotSent = errors.New("request was not sent")
	// ErrLost: the request was sent and its answer did not come; it may have been
	// carried out, or be carried out yet.
	ErrLost = errors.New("no answer; the request may have been carried out")
	// ErrClosed: the client was closed. It comes with one of the other two.
	ErrClosed = errors.New("connection closed")
	// ErrSilent: the other end answered nothing at all for too long.
	ErrSilent = errors.New("peer does not answer")
	// ErrTooLarge: the request is larger than MaxMessage, and was not sent.
	ErrTooLarge = fmt.Errorf("message is larger than %d bytes", MaxMessage)
)

// ErrorOf makes an answer that is an error.
func ErrorOf(code rpcpb.Code, text string) *rpcpb.Response {
	return &rpcpb.Response{Kind: &rpcpb.Response_Error{Error: &rpcpb.Error{Code: code, Text: text}}}
}
