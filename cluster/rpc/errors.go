package rpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire/rpcpb"
)

// NotOwner says that a node does not lead what it was asked for, and who it
// thinks does. It is a credential.ErrNotOwner.
type NotOwner struct {
	Node   string // that was asked
	Leader string // empty: it knows none
	Term   uint64
}

// Error describes the condition in one line.
func (e *NotOwner) Error() string {
	if e.Leader == "" {
		return fmt.Sprintf("%v: node %s knows no leader", credential.ErrNotOwner, e.Node)
	}
	return fmt.Sprintf("%v: node %s says that %s leads in term %d", credential.ErrNotOwner, e.Node, e.Leader, e.Term)
}

// Unwrap returns the sentinel.
func (e *NotOwner) Unwrap() error { return credential.ErrNotOwner }

// Errors of the RPC itself.
var (
	// ErrUnimplemented: the other node is of a version that knows no such request.
	ErrUnimplemented = errors.New("the node knows no such request")
	// ErrRefused: the caller may not ask that.
	ErrRefused = errors.New("refused")
	// ErrInternal: the other node failed; its log says more.
	ErrInternal = errors.New("the node failed")
)

// refusal is an error that is known by its code only.
type refusal struct {
	code rpcpb.Code
	text string
}

// Error describes the refusal in one line.
func (r *refusal) Error() string { return r.text }

// remote is an error that another node told of.
type remote struct {
	node string
	text string
	is   error
}

// Error is the other node's text.
func (r *remote) Error() string {
	if errors.Is(r.is, credential.ErrInvalid) || errors.Is(r.is, credential.ErrBadName) {
		return r.text // for the caller, who knows nothing of nodes
	}
	return "node " + r.node + ": " + r.text
}

// Unwrap returns the sentinel.
func (r *remote) Unwrap() error { return r.is }

// sentinels is the one table between errors and codes. Of an error that is
// several of them, the first is taken.
var sentinels = []struct {
	code rpcpb.Code
	err  error
}{
	{rpcpb.Code_CODE_NOT_FOUND, credential.ErrNotFound},
	{rpcpb.Code_CODE_BAD_NAME, credential.ErrBadName},
	{rpcpb.Code_CODE_INVALID, credential.ErrInvalid},
	{rpcpb.Code_CODE_NEEDS_REAUTH, credential.ErrNeedsReauth},
	{rpcpb.Code_CODE_DISCONNECTED, credential.ErrDisconnected},
	{rpcpb.Code_CODE_EXISTS, credential.ErrExists},
	{rpcpb.Code_CODE_OTHER_IDENTITY, credential.ErrOtherIdentity},
	{rpcpb.Code_CODE_PROVIDER_UNAVAILABLE, credential.ErrProviderUnavailable},
	{rpcpb.Code_CODE_MISCONFIGURED, credential.ErrMisconfigured},
	{rpcpb.Code_CODE_NO_QUORUM, credential.ErrNoQuorum},
	{rpcpb.Code_CODE_NOT_OWNER, credential.ErrNotOwner},
	{rpcpb.Code_CODE_OVERLOADED, credential.ErrOverloaded},
	{rpcpb.Code_CODE_UNKNOWN_OUTCOME, credential.ErrUnknownOutcome},
	{rpcpb.Code_CODE_CONFLICT, credential.ErrConflict},
	{rpcpb.Code_CODE_SEALED, credential.ErrSealed},
	{rpcpb.Code_CODE_DEADLINE, context.DeadlineExceeded},
	{rpcpb.Code_CODE_CANCELLED, context.Canceled},
	{rpcpb.Code_CODE_UNIMPLEMENTED, ErrUnimplemented},
	{rpcpb.Code_CODE_FORBIDDEN, ErrRefused},
	{rpcpb.Code_CODE_UNAUTHENTICATED, ErrRefused},
	{rpcpb.Code_CODE_INTERNAL, ErrInternal},
}

// encodeError puts an error into a message. known is false for one that is in
// no row of the table: the caller of the node is then told nothing of it.
func encodeError(err error) (e *rpcpb.Error, known bool) {
	if r, ok := errors.AsType[*refusal](err); ok {
		return &rpcpb.Error{Code: r.code, Text: r.text}, true
	}
	e = &rpcpb.Error{}
	for _, s := range sentinels {
		if !errors.Is(err, s.err) {
			continue
		}
		e.Code = s.code
		if err != s.err {
			e.Text = err.Error()
		}
		if u, ok := errors.AsType[*credential.Unavailable](err); ok {
			e.Unavailable = &rpcpb.Unavailable{Reason: u.Reason, RetryAfterMs: millis(u.RetryAfter)}
		}
		if n, ok := errors.AsType[*NotOwner](err); ok {
			e.Leader, e.Term = n.Leader, n.Term
		}
		return e, true
	}
	return &rpcpb.Error{Code: rpcpb.Code_CODE_INTERNAL, Text: "the request failed; the node's log tells more"}, false
}

// decodeError is the error that a node told of.
func decodeError(node string, e *rpcpb.Error) error {
	is := ErrInternal // also for codes of a newer version
	for _, s := range sentinels {
		if s.code == e.GetCode() {
			is = s.err
			break
		}
	}
	switch u := e.GetUnavailable(); {
	case is == credential.ErrNotOwner:
		return &NotOwner{Node: node, Leader: e.GetLeader(), Term: e.GetTerm()}
	case u != nil:
		return &credential.Unavailable{Err: is, Reason: u.GetReason(), RetryAfter: duration(u.GetRetryAfterMs())}
	case e.GetText() == "":
		return is
	default:
		return &remote{node, e.GetText(), is}
	}
}

// millis rounds up, so that a short time is not none.
func millis(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}

// duration takes any number that a message may hold.
func duration(ms uint64) time.Duration {
	return time.Duration(min(ms, math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
}
