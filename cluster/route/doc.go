// Package route brings a request to the node that owns the account's shard, so
// that any node can be asked for any account.
//
// It promises that a request which changes something is carried out at most
// once: it is sent again only where it was surely not begun, or where doing it
// twice comes to the same (see [repeat]); that the answer is the owner's, or is
// marked as a replica's; that every wait is bounded by the caller's context; and
// that a request is forwarded once: the node that it is forwarded to answers it
// itself or says who else owns the shard, and only the node that was asked first
// goes there.
//
// Who leads a shard and who holds its replicas is told by others; being wrong
// about it costs a detour and nothing else, for only the owner can answer.
package route

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/credential"
)

// Local is what this node itself can do: see actors.System. Where it does not
// own the shard it answers credential.ErrNotOwner, but for the reads of its
// copy.
type Local interface {
	Token(ctx context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error)
	Refresh(ctx context.Context, ref credential.Ref, stale *uint64) (credential.Account, error)
	Import(ctx context.Context, in credential.Import) (a credential.Account, created bool, err error)
	Disconnect(ctx context.Context, ref credential.Ref) (credential.Account, error)
	Account(ctx context.Context, ref credential.Ref) (credential.Account, error)
	History(ctx context.Context, ref credential.Ref, below uint64, limit int) (credential.History, error)
	NoteHandout(ctx context.Context, ref credential.Ref, to credential.Handout) error
	Offer(ctx context.Context, entry []byte) (taken bool, err error)

	ReplicaToken(ctx context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error)
	ReplicaAccount(ctx context.Context, ref credential.Ref) (credential.Account, error)
	ReplicaHistory(ctx context.Context, ref credential.Ref, below uint64, limit int) (credential.History, error)
	ShardAccounts(ctx context.Context, shard int, q credential.Query) (credential.Page, error)
}

// Peers asks other nodes: see rpc.Peers.
type Peers interface {
	Token(ctx context.Context, node string, ref credential.Ref, minTTL time.Duration) (credential.Token, error)
	Refresh(ctx context.Context, node string, ref credential.Ref, stale *uint64) (credential.Account, error)
	Import(ctx context.Context, node string, in credential.Import) (a credential.Account, created bool, err error)
	Disconnect(ctx context.Context, node string, ref credential.Ref) (credential.Account, error)
	Account(ctx context.Context, node string, ref credential.Ref) (credential.Account, error)
	History(ctx context.Context, node string, ref credential.Ref, below uint64, limit int) (credential.History, error)
	NoteHandout(ctx context.Context, node string, ref credential.Ref, to credential.Handout) error
	Offer(ctx context.Context, node string, ref credential.Ref, entry []byte) (taken bool, err error)

	ReplicaToken(ctx context.Context, node string, ref credential.Ref, minTTL time.Duration) (credential.Token, error)
	ShardAccounts(ctx context.Context, node string, shard int, q credential.Query) (credential.Page, error)
}

// Config is what a Router is made of. Its functions are called for each
// request: they must not block.
type Config struct {
	Self    string // this node's name
	Shards  int
	ShardOf func(credential.Ref) int
	Local   Local
	Peers   Peers
	// Leader is who leads a shard as far as this node knows, and in which term;
	// empty: it knows none, and has a replica that will hear of one. Where it has
	// none, it is the node that should lead, of term 0.
	Leader func(shard int) (node string, term uint64)
	// Replicas are the nodes that hold a replica of a shard, in any order.
	Replicas func(shard int) []string
	// LocalReplica reports whether this node holds one.
	LocalReplica func(shard int) bool

	// Reach is how long the owner may take before a replica is asked in its
	// place. Default 1 s.
	Reach time.Duration
	// Wait bounds requests whose context has no deadline. Default 30 s.
	Wait time.Duration
}

// Router finds the owner. It has the methods of httpapi.Accounts, which may be
// called concurrently.
type Router struct {
	cfg      Config
	counters Counters
	learned  []atomic.Pointer[target] // by shard: who leads, as other nodes have said
}

// Counters count what the router did since the start of the process. They may
// be read at any time.
type Counters struct {
	Forwarded atomic.Int64 // requests sent to another node
	Retried   atomic.Int64 // tries after the first
	Replica   atomic.Int64 // tokens answered by a replica
	Unreached atomic.Int64 // requests that ended without the owner's answer
	Unknown   atomic.Int64 // of them, those that may have been carried out
}

// New returns a router.
func New(c Config) *Router {
	if c.Reach == 0 {
		c.Reach = time.Second
	}
	if c.Wait == 0 {
		c.Wait = 30 * time.Second
	}
	return &Router{cfg: c, learned: make([]atomic.Pointer[target], c.Shards)}
}

// Counters returns the live counters.
func (r *Router) Counters() *Counters { return &r.counters }
