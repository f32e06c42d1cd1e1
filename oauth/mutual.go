package oauth

import (
	"crypto/sha256"
	"crypto/tls"
	"net/http"
	"sync"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth/clientkey"
)

// maxMutual bounds how many clients with certificates have a transport of their
// own. Connections are kept for seconds only, so that little is lost when one is
// closed to make room.
const maxMutual = 64

// mutual are the transports of clients that are known by their certificates
// (RFC 8705). A connection belongs to the client that it was opened for, so that
// each has its own. It is safe for concurrent use.
type mutual struct {
	mu  sync.Mutex
	of  map[[sha256.Size]byte]*http.Transport
	old [][sha256.Size]byte // in the order in which they were made
}

// transport is the round tripper for requests of the client.
func (c *Client) transport(reg Registration) (http.RoundTripper, *credential.Failure) {
	if reg.Certificate == nil || !reg.authMethod().MutualTLS() {
		return c.rt, nil
	}
	base, ok := c.rt.(*http.Transport)
	if !ok {
		return nil, misconfigured("no_mutual_tls", "this node's transport has no client certificates")
	}
	return c.mutual.get(base, reg.Certificate), nil
}

func (m *mutual) get(base *http.Transport, c *clientkey.Certificate) *http.Transport {
	name := sha256.Sum256(c.TLS.Leaf.Raw)
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.of[name]; ok {
		return t
	}
	if m.of == nil {
		m.of = make(map[[sha256.Size]byte]*http.Transport)
	}
	if len(m.old) >= maxMutual {
		m.of[m.old[0]].CloseIdleConnections()
		delete(m.of, m.old[0])
		m.old = m.old[1:]
	}
	t := base.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.Certificates = append(t.TLSClientConfig.Certificates[:0:0], *c.TLS)
	m.of[name], m.old = t, append(m.old, name)
	return t
}

// CloseIdleConnections closes the connections that nobody uses: those of clients
// with certificates, and those of the client's own transport where it has such a
// method.
func (c *Client) CloseIdleConnections() {
	c.mutual.mu.Lock()
	for _, t := range c.mutual.of {
		t.CloseIdleConnections()
	}
	c.mutual.mu.Unlock()
	if closer, ok := c.rt.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
