package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

// Bounds of what a request may ask for, as in the HTTP API.
const (
	maxLimit  = 1000
	maxMinTTL = 24 * time.Hour
)

// ServerConfig is what a server is made of.
type ServerConfig struct {
	Node string // this node's name
	// Identify tells who opened a stream, from its context: the role and the name
	// in its certificate.
	Identify func(ctx context.Context) (role, name string, ok bool)
	Logger   *slog.Logger
	// Options are gRPC's, for the credentials that Identify knows.
	Options []grpc.ServerOption
	// MaxPerStream, MaxTotal and MaxTimeout: see exchange.ServerConfig.
	MaxPerStream, MaxTotal int
	MaxTimeout             time.Duration
}

// Server answers the actor RPC. Its methods may be called concurrently.
type Server struct {
	cfg      ServerConfig
	services atomic.Pointer[Services]
	exchange *exchange.Server
	broken   *rate.Limiter // of the lines about streams that clients broke
}

// NewServer returns a server that has no services yet.
func NewServer(cfg ServerConfig) *Server {
	s := &Server{cfg: cfg, broken: rate.NewLimiter(1, 10)}
	s.services.Store(&Services{})
	s.exchange = exchange.NewServer(exchange.ServerConfig{
		Handle: s.handle, Node: cfg.Node, Logger: cfg.Logger, Broken: s.tell,
		MaxPerStream: cfg.MaxPerStream, MaxTotal: cfg.MaxTotal, MaxTimeout: cfg.MaxTimeout,
	}, cfg.Options...)
	return s
}

// Provide replaces what requests are answered from.
func (s *Server) Provide(v Services) { s.services.Store(&v) }

// Serve answers connections until Close; see exchange.Server.
func (s *Server) Serve(lis net.Listener) error { return s.exchange.Serve(lis) }

// Close answers what was begun, until ctx ends, and closes the listener and all
// connections. It may be called once.
func (s *Server) Close(ctx context.Context) { s.exchange.Close(ctx) }

// tell logs a stream that had to be ended, of a storm of them only some.
func (s *Server) tell(ctx context.Context, err error) {
	if s.broken.Allow() {
		role, name, _ := s.cfg.Identify(ctx)
		s.cfg.Logger.Warn("stream of the actor RPC ended", "role", role, "peer", name, "err", err)
	}
}

// handle answers one request.
func (s *Server) handle(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
	v := s.services.Load()
	role, name, ok := s.cfg.Identify(ctx)
	var m *rpcpb.Response
	var err error
	switch {
	case ok && role == RoleNode:
		m, err = v.forNode(ctx, name, req)
	case ok && role == RoleClient:
		m, err = v.forService(ctx, req)
	default:
		err = &refusal{rpcpb.Code_CODE_UNAUTHENTICATED, "the certificate names neither a node nor a service"}
	}
	if err == nil {
		return m
	}
	e, known := encodeError(v.knowing(s.cfg.Node, req, err))
	if !known {
		s.cfg.Logger.Error("request of the actor RPC failed", "role", role, "peer", name, "err", err)
	}
	return &rpcpb.Response{Kind: &rpcpb.Response_Error{Error: e}}
}

// knowing adds to an error for not being the owner who this node thinks is.
func (v *Services) knowing(node string, req *rpcpb.Request, err error) error {
	if !errors.Is(err, credential.ErrNotOwner) {
		return err
	}
	if _, ok := errors.AsType[*NotOwner](err); ok {
		return err
	}
	n := &NotOwner{Node: node}
	switch k := req.GetKind().(type) {
	case *rpcpb.Request_KvPut, *rpcpb.Request_KvTell, *rpcpb.Request_KvDelete, *rpcpb.Request_Join:
		if v.MetaLeader != nil {
			n.Leader, n.Term = v.MetaLeader()
		}
	default:
		if ref, ok := refOf(k); ok && v.Leader != nil {
			n.Leader, n.Term = v.Leader(ref)
		}
	}
	return n
}

// refOf is the account that a request is about, where there is one.
func refOf(kind any) (credential.Ref, bool) {
	switch k := kind.(type) {
	case *rpcpb.Request_Token:
		return fromRef(k.Token.GetRef()), true
	case *rpcpb.Request_Refresh:
		return fromRef(k.Refresh.GetRef()), true
	case *rpcpb.Request_Import:
		return fromRef(k.Import.GetRef()), true
	case *rpcpb.Request_Disconnect:
		return fromRef(k.Disconnect), true
	case *rpcpb.Request_Account:
		return fromRef(k.Account), true
	case *rpcpb.Request_History:
		return fromRef(k.History.GetRef()), true
	case *rpcpb.Request_ReplicaToken:
		return fromRef(k.ReplicaToken.GetRef()), true
	case *rpcpb.Request_Fate:
		return fromRef(k.Fate.GetRef()), true
	case *rpcpb.Request_Offer:
		return fromRef(k.Offer.GetRef()), true
	case *rpcpb.Request_Handout:
		return fromRef(k.Handout.GetRef()), true
	}
	return credential.Ref{}, false
}

var (
	errNotReady = &refusal{rpcpb.Code_CODE_UNAVAILABLE, "the node does not serve this yet"}
	errUnknown  = &refusal{rpcpb.Code_CODE_UNIMPLEMENTED, "this node's version knows no such request"}
)

// forNode answers another node, from what this node itself has: nothing is
// forwarded a second time.
func (v *Services) forNode(ctx context.Context, peer string, req *rpcpb.Request) (*rpcpb.Response, error) {
	if ref, ok := refOf(req.GetKind()); ok {
		if err := checkRef(ref); err != nil {
			return nil, err
		}
		if v.Owned == nil {
			return nil, errNotReady
		}
		return v.aboutAccount(ctx, ref, req)
	}
	switch k := req.GetKind().(type) {
	case *rpcpb.Request_ShardPage:
		if v.Owned == nil {
			return nil, errNotReady
		}
		q, err := queryOf(k.ShardPage.GetList())
		if err != nil {
			return nil, err
		}
		return pageAnswer(v.Owned.ShardAccounts(ctx, int(k.ShardPage.GetShard()), q))
	case *rpcpb.Request_KvPut:
		if v.KV == nil {
			return nil, errNotReady
		}
		return written(v.KV.Put(ctx, k.KvPut.GetKey(), k.KvPut.GetExpect(), k.KvPut.GetValue()))
	case *rpcpb.Request_KvTell:
		if v.KV == nil {
			return nil, errNotReady
		}
		return v.tell(ctx, k.KvTell)
	case *rpcpb.Request_KvDelete:
		if v.KV == nil {
			return nil, errNotReady
		}
		return written(0, v.KV.Delete(ctx, k.KvDelete.GetKey(), k.KvDelete.GetExpect()))
	case *rpcpb.Request_Join, *rpcpb.Request_Promise, *rpcpb.Request_Release:
		if v.Founding == nil {
			return nil, errNotReady
		}
		return v.found(ctx, peer, req)
	case *rpcpb.Request_Status:
		if v.Status == nil {
			return nil, errNotReady
		}
		groups, err := v.Status.Status(ctx, groupsOf(k.Status.GetGroups()))
		return &rpcpb.Response{Kind: &rpcpb.Response_Status{Status: toStatus(groups)}}, err
	case *rpcpb.Request_Outbox:
		if v.Outboxes == nil {
			return nil, errNotReady
		}
		return v.outbox(ctx, k.Outbox)
	case *rpcpb.Request_Deliveries, *rpcpb.Request_Replay:
		if v.Webhooks == nil {
			return nil, errNotReady
		}
		return v.webhooks(ctx, req)
	case *rpcpb.Request_List:
		return nil, &refusal{rpcpb.Code_CODE_FORBIDDEN, "a node merges its lists itself"}
	}
	return nil, errUnknown
}

// tell adds events to the meta group's outbox, with a write or without.
func (v *Services) tell(ctx context.Context, r *rpcpb.TellRequest) (*rpcpb.Response, error) {
	events := fromEvents(r.GetEvents())
	if p := r.GetPut(); p != nil {
		return written(v.KV.PutAndTell(ctx, p.GetKey(), p.GetExpect(), p.GetValue(), events))
	}
	return written(0, v.KV.Emit(ctx, events...))
}

// webhooks lists deliveries of webhooks, or has them made once more.
func (v *Services) webhooks(ctx context.Context, req *rpcpb.Request) (*rpcpb.Response, error) {
	do, r := v.Webhooks.Deliveries, req.GetDeliveries()
	if r == nil {
		do, r = v.Webhooks.Replay, req.GetReplay()
	}
	if r.GetGroup() > math.MaxUint16 {
		return nil, fmt.Errorf("%w: there is no group %d", credential.ErrInvalid, r.GetGroup())
	}
	answer, err := do(ctx, uint16(r.GetGroup()), r.GetWhat())
	if err != nil {
		return nil, err
	}
	return &rpcpb.Response{Kind: &rpcpb.Response_Deliveries{Deliveries: &rpcpb.Deliveries{Answer: answer}}}, nil
}

func (v *Services) outbox(ctx context.Context, r *rpcpb.OutboxRequest) (*rpcpb.Response, error) {
	if r.GetGroup() > math.MaxUint16 {
		return nil, fmt.Errorf("%w: there is no group %d", credential.ErrInvalid, r.GetGroup())
	}
	p, err := v.Outboxes.Outbox(ctx, uint16(r.GetGroup()), credential.EventPos(r.GetAfter()), int(min(r.GetLimit(), maxLimit)), duration(r.GetWaitMs()))
	if err != nil {
		return nil, err
	}
	return &rpcpb.Response{Kind: &rpcpb.Response_Outbox{Outbox: toOutbox(p)}}, nil
}

// aboutAccount answers another node's request about one account.
func (v *Services) aboutAccount(ctx context.Context, ref credential.Ref, req *rpcpb.Request) (*rpcpb.Response, error) {
	switch k := req.GetKind().(type) {
	case *rpcpb.Request_Token:
		return tokenAnswer(v.Owned.Token(ctx, ref, duration(k.Token.GetMinTtlMs())))
	case *rpcpb.Request_ReplicaToken:
		return tokenAnswer(v.Owned.ReplicaToken(ctx, ref, duration(k.ReplicaToken.GetMinTtlMs())))
	case *rpcpb.Request_Refresh:
		return accountAnswer(v.Owned.Refresh(ctx, ref, k.Refresh.Stale))
	case *rpcpb.Request_Import:
		return importAnswer(v.Owned.Import(ctx, fromImport(k.Import)))
	case *rpcpb.Request_Disconnect:
		return accountAnswer(v.Owned.Disconnect(ctx, ref))
	case *rpcpb.Request_Account:
		return accountAnswer(v.Owned.Account(ctx, ref))
	case *rpcpb.Request_History:
		return historyAnswer(v.Owned.History(ctx, ref, k.History.GetBelow(), int(min(k.History.GetLimit(), maxLimit))))
	case *rpcpb.Request_Offer:
		taken, err := v.Owned.Offer(ctx, k.Offer.GetEntry())
		return &rpcpb.Response{Kind: &rpcpb.Response_Taken{Taken: &rpcpb.Taken{Taken: taken}}}, err
	case *rpcpb.Request_Handout:
		to := credential.Handout{Agent: k.Handout.GetAgent(), Key: k.Handout.GetKey(), Generation: k.Handout.GetGeneration()}
		return &rpcpb.Response{Kind: &rpcpb.Response_Noted{Noted: &rpcpb.Noted{}}}, v.Owned.NoteHandout(ctx, ref, to)
	case *rpcpb.Request_Fate:
		if v.Fates == nil {
			return nil, errNotReady
		}
		f := v.Fates.Fate(credential.FateQuery{Ref: ref, Attempt: k.Fate.GetAttempt(), Boot: k.Fate.GetBoot(), Generation: k.Fate.GetGeneration()})
		return &rpcpb.Response{Kind: &rpcpb.Response_Fate{Fate: toFate(f)}}, nil
	}
	return nil, errUnknown
}

func (v *Services) found(ctx context.Context, peer string, req *rpcpb.Request) (*rpcpb.Response, error) {
	switch k := req.GetKind().(type) {
	case *rpcpb.Request_Join:
		b, err := v.Founding.Join(ctx, peer, k.Join.GetRecord())
		return &rpcpb.Response{Kind: &rpcpb.Response_Joined{Joined: &rpcpb.Joined{Answer: b}}}, err
	case *rpcpb.Request_Promise:
		return promised(v.Founding.Promise(ctx, peer, k.Promise.GetPromise()))
	case *rpcpb.Request_Release:
		return promised(v.Founding.Release(ctx, peer, k.Release.GetPromise()))
	}
	return nil, errUnknown
}

// groupsOf leaves numbers out that no group has; of those that are asked for
// and not there nothing is told anyway.
func groupsOf(numbers []uint32) []uint16 {
	var out []uint16
	for _, n := range numbers {
		if n <= math.MaxUint16 {
			out = append(out, uint16(n))
		}
	}
	if len(numbers) > 0 && out == nil {
		out = []uint16{}
	}
	return out
}

func tokenAnswer(t credential.Token, err error) (*rpcpb.Response, error) {
	if err != nil {
		return nil, err
	}
	return &rpcpb.Response{Kind: &rpcpb.Response_Token{Token: toToken(t)}}, nil
}

func accountAnswer(a credential.Account, err error) (*rpcpb.Response, error) {
	if err != nil {
		return nil, err
	}
	return &rpcpb.Response{Kind: &rpcpb.Response_Account{Account: toAccount(a)}}, nil
}

func importAnswer(a credential.Account, created bool, err error) (*rpcpb.Response, error) {
	if err != nil {
		return nil, err
	}
	return &rpcpb.Response{Kind: &rpcpb.Response_Imported{Imported: &rpcpb.Imported{Account: toAccount(a), Created: created}}}, nil
}

func historyAnswer(h credential.History, err error) (*rpcpb.Response, error) {
	if err != nil {
		return nil, err
	}
	return &rpcpb.Response{Kind: &rpcpb.Response_History{History: toHistory(h)}}, nil
}

func pageAnswer(p credential.Page, err error) (*rpcpb.Response, error) {
	if err != nil {
		return nil, err
	}
	return &rpcpb.Response{Kind: &rpcpb.Response_Page{Page: toPage(p)}}, nil
}

func written(rev uint64, err error) (*rpcpb.Response, error) {
	return &rpcpb.Response{Kind: &rpcpb.Response_Written{Written: &rpcpb.Written{Revision: rev}}}, err
}

func promised(b []byte, err error) (*rpcpb.Response, error) {
	return &rpcpb.Response{Kind: &rpcpb.Response_Promised{Promised: &rpcpb.Promised{Answer: b}}}, err
}
