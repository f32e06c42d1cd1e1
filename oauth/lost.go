package oauth

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
)

// Codes of failures without an answer.
const (
	codeTimeout  = "timeout"
	codeCanceled = "canceled"
	codeTooLate  = "deadline_passed"
	codeDNS      = "dns"
	codeTLS      = "tls"
	codeRefused  = "connection_refused"
	codeLost     = "connection_lost"
)

// lostCode names what broke a request off.
func lostCode(f *flight, err error) string {
	var dns *net.DNSError
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errTooLate), errors.Is(context.Cause(f.ctx), errTooLate):
		return codeTooLate
	case errors.Is(context.Cause(f.ctx), context.DeadlineExceeded):
		return codeTimeout
	case f.ctx.Err() != nil:
		return codeCanceled
	case errors.As(err, &dns):
		return codeDNS
	case errors.Is(err, syscall.ECONNREFUSED):
		return codeRefused
	case errors.As(err, &timeout) && timeout.Timeout():
		return codeTimeout
	case f.noTLS.Load() || errors.As(err, &certificate):
		return codeTLS
	}
	return codeLost
}

// lostText is a code in words.
func lostText(code string) string {
	switch code {
	case codeTimeout:
		return "the time ran out"
	case codeCanceled:
		return "it was given up"
	case codeTooLate:
		return "its deadline had passed"
	case codeDNS:
		return "the host's name could not be resolved"
	case codeTLS:
		return "TLS failed, or the certificate could not be verified"
	case codeRefused:
		return "the connection was refused"
	}
	return "the connection was lost"
}
