package authserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/process"
)

// Kind is one of the servers.
type Kind string

// The servers.
const (
	OIDCProvider Kind = "oidc-provider"
	Fosite       Kind = "fosite"
	Zitadel      Kind = "zitadel"
)

// Kinds returns all servers.
func Kinds() []Kind { return []Kind{OIDCProvider, Fosite, Zitadel} }

// Method is how a client authenticates at the token end point, in the words of
// RFC 7591.
type Method string

// The methods. Each server has one client registered for each.
const (
	Basic Method = "client_secret_basic"
	Post  Method = "client_secret_post"
	None  Method = "none"
)

// Methods returns all methods.
func Methods() []Method { return []Method{Basic, Post, None} }

// clientID names the client that is registered for the method.
func (m Method) clientID() string {
	switch m {
	case Basic:
		return "test-basic"
	case Post:
		return "test-post"
	default:
		return "test-public"
	}
}

// Options say what a server is like. The zero value is a server with the
// defaults of its fields.
type Options struct {
	AccessTTL   time.Duration // whole seconds; 0: 5 s
	RedirectURI string        // of all clients; empty: an address that nobody listens at
	// ClientJWKS are the public keys of the clients [Signed] and [Bound], which
	// sign with ES256; empty: there are none. [OIDCProvider] only.
	ClientJWKS []byte
	// Resource is the MCP server that tokens are for, on request (RFC 8707); with it
	// clients can register themselves (RFC 7591). ClientDocuments is where documents
	// about other clients are fetched, whatever host their ids name. Empty: neither.
	// [OIDCProvider] only.
	Resource        string
	ClientDocuments string
}

// Server is a running authorization server behind a counting proxy. Its methods
// are safe for concurrent use.
type Server struct {
	*Proxy
	Kind     Kind
	Metadata Metadata

	redirectURI string
	secret      credential.Secret
	options     Options
	running     *process.Process
}

// startTimeout bounds the start of a server. It is long because the Go servers
// are compiled where they were not yet.
const startTimeout = 5 * time.Minute

// Start runs a server until t ends. The test fails at once where it cannot be
// started; what the server printed last is shown where the test failed.
func Start(t testing.TB, kind Kind, o Options) *Server {
	t.Helper()
	if o.AccessTTL == 0 {
		o.AccessTTL = 5 * time.Second
	}
	if o.RedirectURI == "" {
		o.RedirectURI = "http://127.0.0.1:1/callback"
	}
	s := &Server{Proxy: newProxy(), Kind: kind, redirectURI: o.RedirectURI, secret: credential.NewSecret(rand.Text() + rand.Text()), options: o}
	t.Cleanup(s.Proxy.close)
	t.Cleanup(func() {
		if s.running == nil {
			return
		}
		if err := s.running.Stop(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if t.Failed() {
			t.Logf("the last output of %s:\n%s", kind, s.running.Output())
		}
	})
	s.run(t)
	return s
}

// Restart ends the server, which forgets all clients, sessions and grants that it
// was not started with, and starts it again at the same address. It is not safe
// for use beside itself.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.running.Stop(); err != nil {
		t.Fatalf("%s: %v", s.Kind, err)
	}
	s.running = nil
	s.run(t)
}

func (s *Server) run(t testing.TB) {
	t.Helper()
	cmd, err := command(s.Kind)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Environ(),
		"LISTEN=127.0.0.1:0",
		"ISSUER="+s.URL(),
		"REDIRECT_URI="+s.options.RedirectURI,
		"CLIENT_SECRET="+s.secret.Reveal(),
		"ACCESS_TOKEN_SECONDS="+strconv.Itoa(int(s.options.AccessTTL/time.Second)),
		"CLIENT_JWKS="+string(s.options.ClientJWKS),
		"RESOURCE="+s.options.Resource,
		"CLIENT_DOCUMENTS="+s.options.ClientDocuments,
	)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if s.running, err = process.Start(ctx, cmd, listeningAddr); err != nil {
		t.Fatalf("start %s: %v", s.Kind, err)
	}
	s.forwardTo(&url.URL{Scheme: "http", Host: s.running.Ready})
	if s.Metadata, err = Discover(ctx, s.URL()); err != nil {
		t.Fatalf("%s: %v", s.Kind, err)
	}
}

// Ids of the clients that sign. Bound has its tokens bound to a key (RFC 9449)
// and pushes its authorization requests (RFC 9126).
const (
	Signed = "test-signed"
	Bound  = "test-bound"
)

// Consent has a person go through the server's pages from an address, until the
// browser is sent to goal, which is returned and not asked.
func (s *Server) Consent(ctx context.Context, from, goal string) (*url.URL, error) {
	b, err := newBrowser(s.App(None).SignIn)
	if err != nil {
		return nil, err
	}
	defer b.close()
	return b.visit(ctx, from, goal)
}

// RedirectURI is that of all clients.
func (s *Server) RedirectURI() string { return s.redirectURI }

// listeningAddr finds the line by which the servers say that they are ready.
func listeningAddr(line string) (string, bool) { return strings.CutPrefix(line, "listening ") }

// App returns the client application that is registered for method.
func (s *Server) App(method Method) *App {
	app := &App{
		Metadata:    s.Metadata,
		ClientID:    method.clientID(),
		Method:      method,
		RedirectURI: s.redirectURI,
		Scopes:      []string{"openid", "offline_access", "profile"},
		SignIn:      map[string]string{"login": "user-1", "username": "test-user@127.0.0.1", "password": "verysecure"},
	}
	if method != None {
		app.Secret = s.secret
	}
	if s.Kind == OIDCProvider {
		app.AuthParams = url.Values{"prompt": {"consent"}} // offline_access needs it there
	}
	return app
}

// issuerMatches compares two issuers but for a slash at the end.
func issuerMatches(a, b string) error {
	if strings.TrimSuffix(a, "/") != strings.TrimSuffix(b, "/") {
		return fmt.Errorf("the issuer is %q, want %q", a, b)
	}
	return nil
}
