package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

const (
	alpnRaft = "grantd-raft/1"
	alpnRPC  = "h2"
)

// papers is a certificate that callers show; the zero value is none.
type papers struct{ dir, name string }

// connection shakes hands with a node's port. What the node says to our
// certificate comes with the first read, as TLS 1.3 has it.
func (n *node) connection(ctx context.Context, p papers, alpn ...string) (*tls.Conn, error) {
	conf := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: alpn,
		InsecureSkipVerify: true, // the names of nodes are in URIs, and the test has made the certificates
	}
	if p.name != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(p.dir, p.name+".pem"), filepath.Join(p.dir, p.name+"-key.pem"))
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", n.rpc())
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, conf)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

// actors is a client of the node's actor RPC.
func (n *node) actors(t *testing.T, p papers) *exchange.Client {
	c := exchange.NewClient(exchange.ClientConfig{Dial: func(ctx context.Context) (net.Conn, error) {
		return n.connection(ctx, p, alpnRPC)
	}})
	t.Cleanup(c.Close)
	return c
}

// ask sends one request; an answer that is an error becomes one.
func ask(client *exchange.Client, req *rpcpb.Request) (*rpcpb.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, err := client.Do(ctx, req)
	if err != nil {
		return nil, err
	}
	if e := m.GetError(); e != nil {
		return nil, &refused{e.GetCode(), e.GetText()}
	}
	return m, nil
}

// refused is an error that came as the answer.
type refused struct {
	code rpcpb.Code
	text string
}

// Error says what was refused and why.
func (r *refused) Error() string { return fmt.Sprintf("%s: %s", r.code, r.text) }

// codeOf is the code of an answer that is an error; else unspecified.
func codeOf(err error) rpcpb.Code {
	if r, ok := errors.AsType[*refused](err); ok {
		return r.code
	}
	return rpcpb.Code_CODE_UNSPECIFIED
}

func (c *cluster) node(name string) *node {
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	c.t.Fatalf("there is no node %s", name)
	return nil
}
