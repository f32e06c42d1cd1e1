package herd

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// workers bounds what the herd does at once outside of the herd itself.
const workers = 64

// dialer opens connections before they are needed, so that the herd measures
// the node and not the system's queue of new connections.
type dialer struct {
	net.Dialer
	ready chan net.Conn
}

func newDialer(connections int) *dialer {
	return &dialer{Dialer: net.Dialer{Timeout: 10 * time.Second}, ready: make(chan net.Conn, connections)}
}

// fill opens connections to the host of base until all are ready.
func (d *dialer) fill(ctx context.Context, base string, done func()) error {
	u, err := url.Parse(base)
	if err != nil {
		return fmt.Errorf("herd: %w", err)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	return each(ctx, cap(d.ready), done, func(ctx context.Context, _ int) error {
		conn, err := d.Dialer.DialContext(ctx, "tcp", host)
		if err != nil {
			return fmt.Errorf("herd: connect to the node: %w; if too many files are open, raise ulimit -n or use fewer connections", err)
		}
		d.ready <- conn // there is room for each
		return nil
	})
}

// DialContext hands out a connection that is ready, or opens one.
func (d *dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	select {
	case conn := <-d.ready:
		return conn, nil
	default:
		return d.Dialer.DialContext(ctx, network, addr)
	}
}

// close closes the connections that nobody took.
func (d *dialer) close() {
	for {
		select {
		case conn := <-d.ready:
			_ = conn.Close()
		default:
			return
		}
	}
}

// transport is made for many callers of one host.
func (d *dialer) transport(connections int) *http.Transport {
	return &http.Transport{
		DialContext:         d.DialContext,
		MaxConnsPerHost:     connections,
		MaxIdleConns:        connections,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     30 * time.Second,
		TLSHandshakeTimeout: 30 * time.Second,
		DisableCompression:  true,
	}
}
