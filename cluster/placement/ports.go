package placement

import "context"

// MetaGroup is the number of the group that holds the records.
const MetaGroup uint16 = 0xFFFF

// KV is the meta group as keys and values with revisions, as in package
// registry. Reads are of this node's copy, which may lag where it does not lead.
// Writes may be carried to the leader.
type KV interface {
	Get(key string) (value []byte, rev uint64, err error)
	Scan(prefix string, fn func(key string, value []byte, rev uint64) error) error
	Put(ctx context.Context, key string, expect uint64, value []byte) (rev uint64, err error)
	Delete(ctx context.Context, key string, expect uint64) error
	OnChange(fn func(keys []string))
}

// Start says how a group begins that has no state on this node yet; one that
// has is taken up where it stood.
type Start struct {
	// Voters are the first voters of a new group; all of them must be given the
	// same ones.
	Voters []string
	// Join makes the group wait until its leader adds this node.
	Join bool
}

// Groups are the raft groups of this node. Methods may be called concurrently.
type Groups interface {
	// OpenGroup runs a group; it does nothing where the group runs.
	OpenGroup(id uint16, s Start) error
	// CloseGroup ends a group, if it runs. destroy deletes its log and state, all
	// or none, and later than every write that returned before; what the replica
	// has promised as a member stays, and is kept when it joins again.
	CloseGroup(ctx context.Context, id uint16, destroy bool) error
	// Group returns a running group.
	Group(id uint16) (Group, bool)
	// Resident lists the groups that have state on this node, running or not.
	Resident() ([]uint16, error)
	// Known reports whether this node has run a group before, destroyed or not.
	// It must not be founded here then.
	Known(id uint16) (bool, error)
}

// Group is this node's replica of a raft group. Changes of membership and of
// leadership are the leader's; elsewhere they fail.
type Group interface {
	// IsLeader returns the term in which this node leads with complete state.
	IsLeader() (term uint64, ok bool)
	// Leader returns the leader, as far as known, and the newest term seen; of a
	// group that was closed, the newest that it had seen.
	Leader() (node string, term uint64)
	// Members returns the newest membership that this node knows.
	Members() (Members, error)
	// ConfirmMembers returns the committed membership at some time after the
	// call, and proves that this node still leads by committing an empty entry.
	ConfirmMembers(ctx context.Context) (Members, error)
	// Progress returns how far this node has applied and received the log.
	Progress() (applied, last uint64)
	// AddLearner, Promote and Remove change the membership if it is still the
	// one of the index, and return when the change is committed.
	AddLearner(ctx context.Context, node string, index uint64) error
	Promote(ctx context.Context, node string, index uint64) error
	Remove(ctx context.Context, node string, index uint64) error
	// Transfer has a voter lead instead of this node.
	Transfer(ctx context.Context, node string) error
}

// Members are the members of a raft group. Index is that of the log's entry
// that made them so.
type Members struct {
	Index    uint64
	Voters   []string
	Learners []string
}

// GroupStatus is what a node says of its replica of a group.
type GroupStatus struct {
	Group uint16
	// Applied is 0 also on a node that is shutting down, so that nobody hands it
	// anything.
	Applied, Last uint64
	Members       Members
	Leader        string // as far as it knows; empty: none
	Term          uint64 // newest that it has seen
}

// Peers are the other nodes. Calls end with ctx.
type Peers interface {
	// Status asks a node for its replicas of groups; nil: of all that run there.
	// Those that do not are left out. See [Placement.Report].
	Status(ctx context.Context, node string, groups []uint16) ([]GroupStatus, error)
	// Join asks a node to let another one in; see [Placement.Admit]. The error
	// wraps ErrUntrusted where the two nodes have different authorities.
	Join(ctx context.Context, node string, j Joining) (Welcome, error)
	// Promise and Release carry what founding needs; see [Former.Promise] and
	// [Former.Release].
	Promise(ctx context.Context, node string, p Promise) (Answer, error)
	Release(ctx context.Context, node string, p Promise) error
}

// Gossip tells who is alive. It decides nothing for good.
type Gossip interface {
	// Members returns all nodes that gossip knows, this one included.
	Members() []Member
	// Changed gets a value after changes. It has one reader at a time: the
	// [Former] while it runs, then the [Placement].
	Changed() <-chan struct{}
}

// Member is a node as gossip sees it.
type Member struct {
	Name  string
	State State
	// DataID and Cluster are what the node says of its store; empty: not known,
	// or no cluster yet.
	DataID, Cluster string
	RPC, HTTP       string
}

// State says whether a node is alive.
type State uint8

// States of a node, the better ones higher. A node that left is Dead.
const (
	Dead State = iota
	Suspect
	Alive
)

// String returns the word for the state.
func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	default:
		return "dead"
	}
}

// Local is a record of this node alone, under a name. Save returns when it is
// synced; it is ordered with the writes of the node's groups.
type Local interface {
	// Load returns nil, and no error, for a record never saved.
	Load(name string) ([]byte, error)
	Save(name string, value []byte) error
}
