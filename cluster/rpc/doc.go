// Package rpc is the actor RPC in the words of the domain: [Server] answers
// other nodes and co-located services, [Peers] asks other nodes.
//
// It promises that what is asked and answered means the same on both sides,
// errors included: the sentinels of package credential, with reason and time to
// ask again, come out as they went in, and who does not own a shard says who
// does ([NotOwner]). A node is answered by this node alone, never through
// another: so no request goes round in circles. A service is answered like a
// caller of the HTTP API with the same key: names that cannot be are refused
// first; what is out of the key's scope looks as if it did not exist; then comes
// the permission.
//
// It leaves to others who a peer is (its certificate), how a connection is made,
// and everything that is behind the small interfaces below. Its messages hold
// secrets and are never formatted.
package rpc

import (
	"context"
	"time"

	"github.com/grantd/grantd/credential"
)

// Roles of those who call, from their certificates.
const (
	RoleNode   = "node"
	RoleClient = "client"
)

// Accounts is what is asked of accounts: see httpapi.Accounts, whose methods
// these are.
type Accounts interface {
	Token(ctx context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error)
	Refresh(ctx context.Context, ref credential.Ref, stale *uint64) (credential.Account, error)
	Import(ctx context.Context, in credential.Import) (a credential.Account, created bool, err error)
	Disconnect(ctx context.Context, ref credential.Ref) (credential.Account, error)
	Account(ctx context.Context, ref credential.Ref) (credential.Account, error)
	Accounts(ctx context.Context, q credential.Query) (credential.Page, error)
	History(ctx context.Context, ref credential.Ref, below uint64, limit int) (credential.History, error)
	NoteHandout(ctx context.Context, ref credential.Ref, to credential.Handout) error
}

// Owned is what a node does for accounts whose shard it owns, and says of the
// copies that it has of others; errors are credential.ErrNotOwner where it
// cannot.
type Owned interface {
	Token(ctx context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error)
	Refresh(ctx context.Context, ref credential.Ref, stale *uint64) (credential.Account, error)
	Import(ctx context.Context, in credential.Import) (a credential.Account, created bool, err error)
	Disconnect(ctx context.Context, ref credential.Ref) (credential.Account, error)
	Account(ctx context.Context, ref credential.Ref) (credential.Account, error)
	History(ctx context.Context, ref credential.Ref, below uint64, limit int) (credential.History, error)
	// NoteHandout writes into the history that an agent is about to get a token.
	NoteHandout(ctx context.Context, ref credential.Ref, to credential.Handout) error
	// Offer takes an answer from the journal of another node.
	Offer(ctx context.Context, entry []byte) (taken bool, err error)

	// ReplicaToken and ShardAccounts read this node's copy, whoever owns the shard.
	ReplicaToken(ctx context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error)
	ShardAccounts(ctx context.Context, shard int, q credential.Query) (credential.Page, error)
}

// Fates tells what became of this node's attempts.
type Fates interface {
	Fate(q credential.FateQuery) credential.Fate
}

// KV writes keys of the meta group where this node leads it.
type KV interface {
	// Put writes a value if the key is at the expected revision and returns the
	// new one. Errors are those of registry.KV, or credential.ErrNotOwner.
	Put(ctx context.Context, key string, expect uint64, value []byte) (rev uint64, err error)
	Delete(ctx context.Context, key string, expect uint64) error
	// PutAndTell also adds events to the group's outbox, and Emit does only that.
	PutAndTell(ctx context.Context, key string, expect uint64, value []byte, events []credential.Event) (rev uint64, err error)
	Emit(ctx context.Context, events ...credential.Event) error
}

// Founding is how a cluster comes to be and grows. The values are opaque here;
// peer is the name in the certificate of the node that asks.
type Founding interface {
	Join(ctx context.Context, peer string, record []byte) (answer []byte, err error)
	Promise(ctx context.Context, peer string, promise []byte) (answer []byte, err error)
	Release(ctx context.Context, peer string, promise []byte) (answer []byte, err error)
}

// GroupStatus is a raft group as one node sees it.
type GroupStatus struct {
	Group            uint16
	Applied, Last    uint64 // indexes of the last entry applied, and of the log's end
	Voters, Learners []string
	MembersIndex     uint64 // of the configuration that names them
	Leader           string // empty: none known
	Term             uint64
}

// Status tells of the groups that this node holds.
type Status interface {
	// Status returns those of the groups that it holds; none given: all.
	Status(ctx context.Context, groups []uint16) ([]GroupStatus, error)
}

// OutboxPage is a part of a group's outbox as one node has it.
type OutboxPage struct {
	First, Last credential.EventPos // positions of the oldest event that is kept, and of the newest one
	Events      []credential.StoredEvent
}

// Outboxes reads the outboxes of the groups of which this node has a replica.
type Outboxes interface {
	// Outbox returns up to limit events after a position; where there is none, it
	// waits for one, for no longer than wait. credential.ErrNotOwner: there is no
	// replica here that counts.
	Outbox(ctx context.Context, group uint16, after credential.EventPos, limit int, wait time.Duration) (OutboxPage, error)
}

// Deliveries are the deliveries of webhooks that this node keeps. What is asked
// and answered is opaque here.
type Deliveries interface {
	// Deliveries lists those of a group of which this node has a replica;
	// credential.ErrNotOwner: there is none that counts.
	Deliveries(ctx context.Context, group uint16, query []byte) (page []byte, err error)
	// Replay has deliveries of a group made once more where this node owns it, or
	// answers credential.ErrNotOwner.
	Replay(ctx context.Context, group uint16, replay []byte) (replayed []byte, err error)
}

// Key is what an API key may do and see.
type Key interface {
	Can(permission string) bool
	SeesTenant(tenant string) bool
	SeesAccount(ref credential.Ref) bool
	SeesIntegration(id string) bool
	// Scope returns the tenant that the key is limited to, or wire.All, and
	// whether it sees every integration.
	Scope() (tenant string, everyIntegration bool)
	// EveryAccount reports whether single accounts do not limit the key.
	EveryAccount() bool
	// Agent returns the name of the agent whose key this is, and the key's id;
	// no name: it is not an agent's.
	Agent() (name, key string)
}

// Keys finds the key that a service presents. It does not block, and does not
// tell by its time how much of a key was right.
type Keys interface {
	Authenticate(presented string) (Key, bool)
}

// Services are what a server answers from. What is nil is not there yet, and
// is refused as not begun.
type Services struct {
	Owned    Owned
	Fates    Fates
	KV       KV
	Founding Founding
	Status   Status
	Outboxes Outboxes
	Webhooks Deliveries

	// For co-located services: Routed finds the owner, Keys their scope.
	Routed         Accounts
	Keys           Keys
	HasIntegration func(id string) bool

	// Leader and MetaLeader are this node's idea of who leads the shard of an
	// account, and the meta group; for those who ask the wrong node.
	Leader     func(ref credential.Ref) (node string, term uint64)
	MetaLeader func() (node string, term uint64)
}
