package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/cluster/link/issue"
	"github.com/grantd/grantd/wire"
	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

// rpcCluster is an authority, and the files of a service that it knows.
type rpcCluster struct {
	t   *testing.T
	ca  *issue.Authority
	dir string
}

func newRPCCluster(t *testing.T) *rpcCluster {
	t.Helper()
	now := time.Now()
	ca, err := issue.New(now.Add(-time.Hour), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	c := &rpcCluster{t, ca, t.TempDir()}
	pair, err := ca.Client("billing", now.Add(-time.Hour), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"ca.pem": ca.Pair().Cert, "client.pem": pair.Cert, "client-key.pem": pair.Key} {
		if err := os.WriteFile(filepath.Join(c.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *rpcCluster) options(nodes ...string) RPCOptions {
	return RPCOptions{Nodes: nodes, CA: filepath.Join(c.dir, "ca.pem"), Cert: filepath.Join(c.dir, "client.pem"), Key: filepath.Join(c.dir, "client-key.pem")}
}

// node answers as handle says, with a certificate that pair makes.
func (c *rpcCluster) node(pair issue.Pair, handle func(context.Context, *rpcpb.Request) *rpcpb.Response) string {
	c.t.Helper()
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		c.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.ca.Pair().Cert)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"},
		ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	server := exchange.NewServer(exchange.ServerConfig{Node: "n1", Handle: handle})
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(ln) }()
	c.t.Cleanup(func() { server.Close(context.Background()); <-served })
	return ln.Addr().String()
}

func (c *rpcCluster) nodePair(ca *issue.Authority) issue.Pair {
	c.t.Helper()
	p, err := ca.Node("n1", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func answers(_ context.Context, q *rpcpb.Request) *rpcpb.Response {
	ref := q.GetToken().GetRef()
	switch {
	case string(q.GetApiKey()) != "the-key":
		return &rpcpb.Response{Kind: &rpcpb.Response_Error{Error: &rpcpb.Error{Code: rpcpb.Code_CODE_UNAUTHENTICATED, Text: "no valid key"}}}
	case q.GetRefresh() != nil:
		return &rpcpb.Response{Kind: &rpcpb.Response_Account{Account: &rpcpb.Account{Ref: q.GetRefresh().GetRef(), Generation: q.GetRefresh().GetStale() + 1, State: "active"}}}
	case q.GetAccount() != nil:
		return &rpcpb.Response{Kind: &rpcpb.Response_Account{Account: &rpcpb.Account{Ref: q.GetAccount(), Generation: 7}}}
	case ref.GetId() == "dead":
		return &rpcpb.Response{Kind: &rpcpb.Response_Error{Error: &rpcpb.Error{Code: rpcpb.Code_CODE_NEEDS_REAUTH, Unavailable: &rpcpb.Unavailable{Reason: "invalid_grant", RetryAfterMs: 1500}}}}
	case ref.GetId() == "odd":
		return &rpcpb.Response{Kind: &rpcpb.Response_Error{Error: &rpcpb.Error{Code: 999}}}
	case ref.GetId() == "basic":
		return &rpcpb.Response{Kind: &rpcpb.Response_Token{Token: &rpcpb.Token{Kind: "basic", Username: "u", Secret: []byte("p")}}}
	}
	return &rpcpb.Response{Kind: &rpcpb.Response_Token{Token: &rpcpb.Token{Kind: "client_credentials", Secret: []byte("at"), Generation: 3}}}
}

func TestRPCBringsWhatHTTPWould(t *testing.T) {
	c := newRPCCluster(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // an address that nobody answers at
	if err != nil {
		t.Fatal(err)
	}
	gone := silent.Addr().String()
	if err := silent.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewRPC("the-key", c.options(gone, c.node(c.nodePair(c.ca), answers)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tok, err := r.Token(t.Context(), "acme/crm", time.Minute)
	if err != nil || tok.AccessToken != "at" || tok.Type != wire.TypeOAuth2 || tok.Generation != 3 || !tok.ExpiresAt.IsZero() {
		t.Errorf("token %v %v", tok, err)
	}
	if tok, err := r.Token(t.Context(), "acme/basic", 0); err != nil || tok.Password != "p" || tok.Username != "u" || tok.AccessToken != "" {
		t.Errorf("basic %v %v", tok, err)
	}
	stale := uint64(3)
	if a, err := r.Refresh(t.Context(), "acme/crm", &stale); err != nil || a.Generation != 4 || a.Name() != "acme/crm" {
		t.Errorf("refresh %+v %v", a, err)
	}
	if a, err := r.Account(t.Context(), "acme/crm"); err != nil || a.Generation != 7 {
		t.Errorf("account %+v %v", a, err)
	}
	var e *Error
	if _, err := r.Token(t.Context(), "acme/dead", 0); !errors.As(err, &e) || e.Code != wire.CodeNeedsReauth || e.Status != 409 || e.Reason != "invalid_grant" || e.RetryAfter != 1500*time.Millisecond {
		t.Errorf("a dead grant: %+v", err)
	}
	if _, err := r.Token(t.Context(), "acme/odd", 0); CodeOf(err) != wire.CodeInternal {
		t.Errorf("a code of a newer version: %v", err)
	}
	if _, err := r.Token(t.Context(), "acme", 0); err == nil {
		t.Error("a name that is none was sent")
	}
	if got, err := r.TokenSource("acme/crm", SourceOptions{}).Token(); err != nil || got.AccessToken != "at" {
		t.Errorf("token source %v", err)
	}
}

func TestRPCTellsTheKeyToNodesOfItsClusterOnly(t *testing.T) {
	c := newRPCCluster(t)
	foreign := newRPCCluster(t)
	asked := func(context.Context, *rpcpb.Request) *rpcpb.Response {
		t.Error("the request was sent")
		return &rpcpb.Response{}
	}
	service, err := c.ca.Client("other", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string]issue.Pair{"a node of another cluster": c.nodePair(foreign.ca), "a service": service} {
		t.Run(name, func(t *testing.T) {
			r, err := NewRPC("the-key", c.options(c.node(pair, asked)))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := r.Token(ctx, "acme/crm", 0); err == nil || strings.Contains(err.Error(), "the-key") {
				t.Errorf("answered, or the key is shown: %v", err)
			}
		})
	}
}

func TestRPCSaysAtOnceWhatIsMissing(t *testing.T) {
	c := newRPCCluster(t)
	if _, err := NewRPC("k", c.options()); err == nil {
		t.Error("no node")
	}
	for _, name := range []string{"ca.pem", "client.pem", "client-key.pem"} {
		c := newRPCCluster(t)
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewRPC("k", c.options("127.0.0.1:1")); err == nil {
			t.Errorf("damaged %s was taken", name)
		}
	}
}
