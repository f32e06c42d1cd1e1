package link

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// What is wrong with a certificate, one's own or a peer's.
var (
	ErrBadFiles  = errors.New("certificate and key cannot be used")
	ErrNoName    = errors.New("certificate names nobody")
	ErrWrongName = errors.New("certificate is another's")
	ErrExpired   = errors.New("certificate is not valid at this time")
	ErrUntrusted = errors.New("certificate is not signed by the cluster's authority")
)

// What else keeps a connection from being used.
var (
	ErrClosed      = errors.New("link is closed")
	ErrUnreachable = errors.New("node cannot be reached")
	ErrNotAllowed  = errors.New("peer may not do this")
	ErrNotOpen     = errors.New("group is not open there")
	ErrBadMessage  = errors.New("message cannot be accepted")
	ErrTooMany     = errors.New("too many connections")
)

// brief is an error's text at a length that fits a line of the log, whatever a
// stranger put into it.
func brief(err error) string {
	const most = 300
	s := err.Error()
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

// isEnd says whether an error is nothing but the end of a connection.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// isLate says whether an error is a time that has run out.
func isLate(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
