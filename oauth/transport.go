package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// Defaults of [TransportOptions].
const (
	DefaultDialTimeout  = 10 * time.Second
	DefaultTLSTimeout   = 10 * time.Second
	DefaultIdleTimeout  = 3 * time.Second
	DefaultConnsPerHost = 64
)

// TransportOptions say how [NewTransport] connects. The zero value is the
// default: public addresses only.
type TransportOptions struct {
	// Allow lists exceptions from the rule that only public addresses are reached.
	Allow []Exception
	// RootCAs verify servers; nil: the system's.
	RootCAs *x509.CertPool
	// Resolver resolves host names; nil: the system's.
	Resolver *net.Resolver
	// DialTimeout bounds name resolution and connecting, TLSTimeout the handshake.
	DialTimeout, TLSTimeout time.Duration
	// IdleTimeout is how long an unused connection is kept. A server that closes
	// one in the moment in which a request is written leaves it unknown whether
	// the request was worked off; the default is below the five seconds after
	// which common servers close.
	IdleTimeout time.Duration
	// ConnsPerHost bounds the connections to one host, idle ones included.
	ConnsPerHost int
}

// NewTransport returns a transport for requests to addresses that users may
// configure. It checks the address that a name resolved to, when it dials, so
// that no name, however it changes its mind, leads to a private, loopback or
// link-local address. It uses no proxy, TLS 1.2 or newer, and HTTP/1.1 only:
// see flight for why. Close it with CloseIdleConnections.
func NewTransport(o TransportOptions) *http.Transport {
	d := dialer{allow: allowlist(o.Allow), resolver: o.Resolver, timeout: orDefault(o.DialTimeout, DefaultDialTimeout)}
	conns := o.ConnsPerHost
	if conns <= 0 {
		conns = DefaultConnsPerHost
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            d.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
		TLSHandshakeTimeout:    orDefault(o.TLSTimeout, DefaultTLSTimeout),
		IdleConnTimeout:        orDefault(o.IdleTimeout, DefaultIdleTimeout),
		MaxConnsPerHost:        conns,
		MaxIdleConnsPerHost:    conns,
		MaxIdleConns:           4 * conns,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // so that the bound of a body is the bound of what is read
		Protocols:              &protocols,
	}
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// dialer connects to addresses that are public or allowed.
type dialer struct {
	allow    allowlist
	resolver *net.Resolver
	timeout  time.Duration
}

func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("oauth: dial: %w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("oauth: dial: port of %s: %w", host, err)
	}
	check := d.allow.check
	if d.allow.host(host, uint16(port)) {
		check = d.allow.checkNamed
	}
	nd := net.Dialer{Timeout: d.timeout, Resolver: d.resolver}
	// Control is called with the resolved address, before the socket connects.
	nd.Control = func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrAddressRefused, err)
		}
		return check(at)
	}
	return nd.DialContext(ctx, network, address)
}
