package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/grantd/grantd/wire"
	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

// RPCOptions say how a service beside the cluster reaches its nodes.
type RPCOptions struct {
	// Nodes are the cluster.rpc addresses of one node or, better, of several:
	// when one is not reached, the next is asked.
	Nodes []string
	// CA, Cert and Key name PEM files: the cluster's authority, and the
	// certificate that it made for this service. They are read for each
	// connection, so that they can be exchanged while the service runs.
	CA, Cert, Key string
}

// RPC asks for tokens past HTTP: one connection to a node carries all requests.
// The API key bounds what it sees, as it does there. It is safe for concurrent
// use; close it.
type RPC struct {
	nodes []*exchange.Client
	first atomic.Uint32 // the node that answered last
	// sign adds the API key, which lives in the closure only.
	sign func(*rpcpb.Request)
}

// NewRPC returns a client that connects when it is first asked.
func NewRPC(key wire.Secret, o RPCOptions) (*RPC, error) {
	if len(o.Nodes) == 0 {
		return nil, errors.New("grantd: no node is named; give the cluster.rpc address of one or more")
	}
	if _, err := o.config(); err != nil {
		return nil, err
	}
	secret := []byte(key.Reveal())
	r := &RPC{sign: func(q *rpcpb.Request) { q.ApiKey = secret }}
	for _, addr := range o.Nodes {
		r.nodes = append(r.nodes, exchange.NewClient(exchange.ClientConfig{Dial: func(ctx context.Context) (net.Conn, error) { return o.dial(ctx, addr) }}))
	}
	return r, nil
}

// Close ends all requests and connections.
func (r *RPC) Close() {
	for _, n := range r.nodes {
		n.Close()
	}
}

// dial connects to a node and proves both ends.
func (o RPCOptions) dial(ctx context.Context, addr string) (net.Conn, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	d := tls.Dialer{Config: config}
	return d.DialContext(ctx, "tcp", addr)
}

// nodeURI begins the name in a node's certificate.
const nodeURI = "grantd://node/"

func (o RPCOptions) config() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return nil, fmt.Errorf("grantd: certificate of this service: %w", err)
	}
	ca, err := os.ReadFile(o.CA)
	if err != nil {
		return nil, fmt.Errorf("grantd: authority of the cluster: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("grantd: authority of the cluster: %s holds no certificate", o.CA)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"},
		// Nodes are known by the name in their certificates and not by the host
		// that was dialled, so that nodeOf checks in place of the library.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return nodeOf(s, roots) },
	}, nil
}

// nodeOf checks that the other end is a node of the cluster.
func nodeOf(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("grantd: the other end shows no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	leaf := s.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		return fmt.Errorf("grantd: the other end is not of this cluster: %w", err)
	}
	if len(leaf.URIs) != 1 || !strings.HasPrefix(leaf.URIs[0].String(), nodeURI) {
		return errors.New("grantd: the other end is not a node")
	}
	return nil
}

// do asks the nodes, one after the other while a request was surely not begun,
// the one first that answered last.
func (r *RPC) do(ctx context.Context, build func() *rpcpb.Request) (*rpcpb.Response, error) {
	var err error
	for i := range r.nodes {
		at := (int(r.first.Load()) + i) % len(r.nodes)
		q := build()
		r.sign(q)
		var resp *rpcpb.Response
		if resp, err = r.nodes[at].Do(ctx, q); err == nil {
			if told := resp.GetError(); told != nil {
				return nil, rpcError(told)
			}
			r.first.Store(uint32(at))
			return resp, nil
		}
		if !errors.Is(err, exchange.ErrNotSent) || ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("grantd: %w", err)
}

func refOf(account string) (*rpcpb.Ref, error) {
	tenant, id, ok := strings.Cut(account, "/")
	if !ok || tenant == "" || id == "" {
		return nil, fmt.Errorf("grantd: account %q is not of the form tenant/id", account)
	}
	return &rpcpb.Ref{Tenant: tenant, Id: id}, nil
}

// Token is [Client.Token].
func (r *RPC) Token(ctx context.Context, account string, minTTL time.Duration) (wire.Token, error) {
	ref, err := refOf(account)
	if err != nil {
		return wire.Token{}, err
	}
	resp, err := r.do(ctx, func() *rpcpb.Request {
		return &rpcpb.Request{Kind: &rpcpb.Request_Token{Token: &rpcpb.TokenRequest{Ref: ref, MinTtlMs: uint64(max(minTTL.Milliseconds(), 0))}}}
	})
	if err != nil {
		return wire.Token{}, err
	}
	return tokenOf(resp.GetToken()), nil
}

// Refresh is [Client.Refresh].
func (r *RPC) Refresh(ctx context.Context, account string, stale *uint64) (wire.Account, error) {
	return r.account(ctx, account, func(ref *rpcpb.Ref) *rpcpb.Request {
		return &rpcpb.Request{Kind: &rpcpb.Request_Refresh{Refresh: &rpcpb.RefreshRequest{Ref: ref, Stale: stale}}}
	})
}

// Account is [Client.Account].
func (r *RPC) Account(ctx context.Context, account string) (wire.Account, error) {
	return r.account(ctx, account, func(ref *rpcpb.Ref) *rpcpb.Request {
		return &rpcpb.Request{Kind: &rpcpb.Request_Account{Account: ref}}
	})
}

func (r *RPC) account(ctx context.Context, account string, build func(*rpcpb.Ref) *rpcpb.Request) (wire.Account, error) {
	ref, err := refOf(account)
	if err != nil {
		return wire.Account{}, err
	}
	resp, err := r.do(ctx, func() *rpcpb.Request { return build(ref) })
	if err != nil {
		return wire.Account{}, err
	}
	return accountOf(resp.GetAccount()), nil
}

func at(t *timestamppb.Timestamp) wire.Time {
	if t == nil {
		return wire.Time{}
	}
	return wire.At(t.AsTime())
}

func tokenOf(t *rpcpb.Token) wire.Token {
	out := wire.Token{
		Type: t.GetKind(), TokenType: t.GetTokenType(), ExpiresAt: at(t.GetExpiresAt()), Scopes: t.GetScopes(),
		Username: t.GetUsername(), Generation: t.GetGeneration(), Replica: t.GetReplica(),
	}
	switch secret := wire.Secret(t.GetSecret()); t.GetKind() {
	case wire.TypeAPIKey:
		out.APIKey = secret
	case wire.TypeBasic:
		out.Password = secret
	default:
		out.Type, out.AccessToken = wire.TypeOAuth2, secret
	}
	return out
}

func accountOf(a *rpcpb.Account) wire.Account {
	return wire.Account{
		ID: a.GetRef().GetId(), Tenant: a.GetRef().GetTenant(), Type: a.GetKind(), Integration: a.GetIntegration(), Provider: a.GetProvider(),
		State: a.GetState(), Reason: a.GetReason(), Scopes: a.GetScopes(), Generation: a.GetGeneration(), ExpiresAt: at(a.GetExpiresAt()),
		RequestedScopes: a.GetRequestedScopes(), MissingScopes: missing(a.GetRequestedScopes(), a.GetScopes()), Variables: a.GetVariables(), Facts: a.GetFacts(),
		NextRefreshAt: at(a.GetNextRefreshAt()), LastRefreshAt: at(a.GetLastRefreshAt()), Failures: int(a.GetFailures()),
		CreatedAt: at(a.GetCreatedAt()), UpdatedAt: at(a.GetUpdatedAt()),
	}
}

// missing are the scopes that were asked for and not granted; none where it is
// not known what was granted.
func missing(requested, granted []string) []string {
	if len(granted) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(requested), func(s string) bool { return slices.Contains(granted, s) })
}

// rpcCodes are the API's words for the RPC's; what is not here is internal.
var rpcCodes = map[rpcpb.Code]struct {
	code   wire.Code
	status int
}{
	rpcpb.Code_CODE_UNAVAILABLE:          {wire.CodeNotReady, http.StatusServiceUnavailable},
	rpcpb.Code_CODE_UNAUTHENTICATED:      {wire.CodeUnauthorized, http.StatusUnauthorized},
	rpcpb.Code_CODE_FORBIDDEN:            {wire.CodeForbidden, http.StatusForbidden},
	rpcpb.Code_CODE_DEADLINE:             {wire.CodeTimeout, http.StatusServiceUnavailable},
	rpcpb.Code_CODE_CANCELLED:            {wire.CodeTimeout, http.StatusServiceUnavailable},
	rpcpb.Code_CODE_NOT_FOUND:            {wire.CodeNotFound, http.StatusNotFound},
	rpcpb.Code_CODE_NEEDS_REAUTH:         {wire.CodeNeedsReauth, http.StatusConflict},
	rpcpb.Code_CODE_DISCONNECTED:         {wire.CodeDisconnected, http.StatusConflict},
	rpcpb.Code_CODE_EXISTS:               {wire.CodeAccountExists, http.StatusConflict},
	rpcpb.Code_CODE_OTHER_IDENTITY:       {wire.CodeOtherIdentity, http.StatusConflict},
	rpcpb.Code_CODE_PROVIDER_UNAVAILABLE: {wire.CodeProviderUnavailable, http.StatusServiceUnavailable},
	rpcpb.Code_CODE_MISCONFIGURED:        {wire.CodeMisconfigured, http.StatusServiceUnavailable},
	rpcpb.Code_CODE_NO_QUORUM:            {wire.CodeNoQuorum, http.StatusServiceUnavailable},
	rpcpb.Code_CODE_NOT_OWNER:            {wire.CodeNoQuorum, http.StatusServiceUnavailable},
	rpcpb.Code_CODE_OVERLOADED:           {wire.CodeOverloaded, http.StatusServiceUnavailable},
	rpcpb.Code_CODE_CONFLICT:             {wire.CodeConflict, http.StatusConflict},
	rpcpb.Code_CODE_UNKNOWN_OUTCOME:      {wire.CodeUnknownOutcome, http.StatusServiceUnavailable},
	rpcpb.Code_CODE_SEALED:               {wire.CodeUnreadableSecret, http.StatusInternalServerError},
	rpcpb.Code_CODE_INVALID:              {wire.CodeInvalidRequest, http.StatusBadRequest},
	rpcpb.Code_CODE_BAD_NAME:             {wire.CodeInvalidRequest, http.StatusBadRequest},
}

// rpcError is a node's answer as the error that HTTP would have brought.
func rpcError(e *rpcpb.Error) error {
	known, ok := rpcCodes[e.GetCode()]
	if !ok {
		known.code, known.status = wire.CodeInternal, http.StatusInternalServerError
	}
	u := e.GetUnavailable()
	return &Error{
		Problem:    wire.Problem{Status: known.status, Code: known.code, Detail: e.GetText(), Reason: u.GetReason()},
		RetryAfter: time.Duration(min(u.GetRetryAfterMs(), uint64(24*time.Hour/time.Millisecond))) * time.Millisecond,
	}
}
