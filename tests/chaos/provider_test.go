package chaos

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/cluster/link/issue"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/witness"
)

// The clients at the provider; integrations and clients have the same names.
// The refresh tokens of all are used once.
const (
	lasting   = "lasting"   // tokens live as long compared to a fault as they do in earnest
	brief     = "brief"     // tokens are over before a fault is
	forgiving = "forgiving" // brief, and the second use of a refresh token is forgiven for a while
)

const (
	lastingTTL = 20 * time.Second
	briefTTL   = 4 * time.Second
	reuseGrace = 2 * time.Minute

	// refreshRequests is more than the provider gets in a run.
	refreshRequests = 1 << 20
)

func clients() []strict.Client {
	secret := func(id string) credential.Secret { return credential.NewSecret("secret-of-the-" + id + "-client") }
	return []strict.Client{
		{ID: lasting, Secret: secret(lasting), AccessTTL: lastingTTL},
		{ID: brief, Secret: secret(brief), AccessTTL: briefTTL},
		{ID: forgiving, Secret: secret(forgiving), AccessTTL: briefTTL, Rotation: strict.RotationGrace, Grace: reuseGrace},
	}
}

// provider is the strict provider, which the nodes reach over the bridge. It
// knows which node sent a request.
type provider struct {
	*strict.Provider
	net    *network
	tokens *witness.Tokens
	url    string
	ca     string // file of the authority that its certificate is from

	mu      sync.Mutex
	senders map[string][]string // hash of a refresh token -> the nodes that presented it, in order
}

// newProvider starts the provider. The authority that its certificate is from is
// written to a file in dir.
func newProvider(t *testing.T, w *network, dir string, seed uint64) *provider {
	t.Helper()
	p := &provider{net: w, senders: map[string][]string{}}
	var err error
	p.Provider, err = strict.New(strict.Options{Clients: clients(), RecordCapacity: refreshRequests})
	must(t, err)
	p.tokens = witness.NewTokens(p.Provider)
	must(t, p.slow(seed))
	ln, err := net.Listen("tcp", net.JoinHostPort(w.host(), "0"))
	must(t, err)
	server := httptest.NewUnstartedServer(p.noted(p.tokens.Watch()))
	must(t, server.Listener.Close())
	server.Listener, server.TLS = ln, &tls.Config{Certificates: []tls.Certificate{p.certify(t, dir)}}
	server.StartTLS()
	p.url = server.URL
	t.Cleanup(func() {
		p.Close()
		server.CloseClientConnections() // of nodes that were killed, too
		server.Close()
	})
	return p
}

// certify makes a certificate for the provider's address: grantd speaks to none
// in the clear that is not on its own machine.
func (p *provider) certify(t *testing.T, dir string) tls.Certificate {
	t.Helper()
	from, to := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	ca, err := issue.New(from, to)
	must(t, err)
	pair, err := ca.Sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "provider"}, NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.ParseIP(p.net.host())}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	must(t, err)
	p.ca = filepath.Join(dir, "provider-ca.pem")
	must(t, os.WriteFile(p.ca, ca.Pair().Cert, 0o600))
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	must(t, err)
	return certificate
}

// slow lets answers take their time, so that faults find refreshes under way.
func (p *provider) slow(seed uint64) error {
	return p.SetFaults(
		strict.Fault{Kind: strict.FaultLatency, Probability: 0.5, Delay: time.Millisecond, Jitter: 30 * time.Millisecond, Seed: seed},
		strict.Fault{Kind: strict.FaultSlowAnswer, Probability: 0.5, Delay: time.Millisecond, Jitter: 30 * time.Millisecond, Seed: seed + 1},
	)
}

// noted notes who presents a refresh token.
func (p *provider) noted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if form, err := url.ParseQuery(string(body)); err == nil && form.Get("refresh_token") != "" {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			hash := strict.TokenHash(form.Get("refresh_token"))
			p.mu.Lock()
			p.senders[hash] = append(p.senders[hash], p.net.nodeAt(host))
			p.mu.Unlock()
		}
		h.ServeHTTP(w, r)
	})
}

// request is a refresh request, and the node that sent it.
type request struct {
	strict.Request
	node string
}

// record is what the provider was asked to refresh, by grant, in order.
type record map[string][]request

func (p *provider) refreshes() record {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, times := record{}, map[string]int{}
	for _, req := range p.Record() {
		if req.Endpoint != strict.EndpointToken || req.GrantType != "refresh_token" {
			continue
		}
		node := "" // of a request whose body never came whole
		if sent := p.senders[req.TokenHash]; times[req.TokenHash] < len(sent) {
			node = sent[times[req.TokenHash]]
		}
		times[req.TokenHash]++
		r[req.Grant] = append(r[req.Grant], request{req, node})
	}
	return r
}
