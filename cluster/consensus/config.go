package consensus

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/cluster/raftlog"
	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// Config says which groups a [Host] runs, over what. The zero value of every
// field but Node, DB and SpoolDir means its documented default.
type Config struct {
	// Node is this node's name: raft's server id. A node that lost its data must
	// not come back under its old name, for its votes are forgotten.
	Node string
	// Shards is the number of groups for accounts, 1 to ring.MaxShards; 0:
	// DefaultShards. It never changes for a store that holds data.
	Shards int
	// DB holds logs and state. The Host must be closed before it.
	DB *storage.DB
	// SpoolDir is a directory of the Host's own for snapshots on their way
	// between nodes. It is emptied by Open.
	SpoolDir string
	// FS is where SpoolDir lies; nil: the disk.
	FS vfs.FS
	// Logger gets what raft warns of; nil: nothing.
	Logger *slog.Logger
	// Transport returns a group's connection to the other nodes; it is called
	// each time when the group is opened. Its address, and all that it dials, are
	// names of nodes. The Host closes it if it is a raft.WithClose. nil: this node
	// is alone, and runs all groups.
	Transport func(group uint16) (raft.Transport, error)
	// Timing of elections and snapshots.
	Timing Timing
}

// DefaultShards is the number of shards where none is given.
const DefaultShards = 32

// Timing holds raft's time-outs and thresholds; 0 means the default. A lone
// voter elects itself as soon as it starts, whatever the time-outs.
type Timing struct {
	// Heartbeat is how long a follower goes without its leader before it calls an
	// election; Election how long it waits for votes. Default 1 s each.
	Heartbeat, Election time.Duration
	// Lease is how long a leader goes without a majority before it steps down;
	// at most Heartbeat. Default 500 ms.
	Lease time.Duration
	// SnapshotInterval is how often a group looks whether its log has grown
	// enough to be truncated, spread up to twice that. Default 20 s.
	SnapshotInterval time.Duration
	// SnapshotThreshold is the growth, in entries, that truncates the log.
	// Default 4096.
	SnapshotThreshold uint64
	// TrailingLogs is how many entries stay, so that a replica that was away for
	// a moment catches up without a snapshot. Default 2048.
	TrailingLogs uint64
}

// Fixed values of raft's configuration; DESIGN.md has the reasons.
const (
	// commitTimeout is also how long a follower of a silent group may go without
	// hearing that its newest entries are committed. All nodes follow the meta
	// group, and people wait for it.
	commitTimeout     = 500 * time.Millisecond
	metaCommitTimeout = 50 * time.Millisecond
	maxAppendEntries  = 64
	// queueLen bounds the proposals of one group that wait for raft to take
	// them; further ones wait in Propose.
	queueLen = 256
)

func (t Timing) withDefaults() Timing {
	t.Heartbeat = cmp.Or(t.Heartbeat, time.Second)
	t.Election = cmp.Or(t.Election, max(time.Second, t.Heartbeat))
	t.Lease = cmp.Or(t.Lease, min(500*time.Millisecond, t.Heartbeat))
	t.SnapshotInterval = cmp.Or(t.SnapshotInterval, 20*time.Second)
	t.SnapshotThreshold = cmp.Or(t.SnapshotThreshold, 4096)
	t.TrailingLogs = cmp.Or(t.TrailingLogs, 2048)
	return t
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	c.Shards = cmp.Or(c.Shards, DefaultShards)
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Timing = c.Timing.withDefaults()
	return c
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	errs := []error{credential.CheckName("node name", c.Node)}
	if c.Shards < 0 || c.Shards > ring.MaxShards {
		errs = append(errs, fmt.Errorf("%d shards: use 1 to %d", c.Shards, ring.MaxShards))
	}
	if c.DB == nil {
		errs = append(errs, errors.New("no store given"))
	}
	if c.SpoolDir == "" {
		errs = append(errs, errors.New("no directory for snapshots given"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("consensus: %w", err)
	}
	return nil
}

// raftConfig returns raft's configuration of one group.
func (c Config) raftConfig(group uint16, lone bool, notify chan<- bool) *raft.Config {
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(c.Node)
	r.HeartbeatTimeout, r.ElectionTimeout, r.LeaderLeaseTimeout = c.Timing.Heartbeat, c.Timing.Election, c.Timing.Lease
	r.CommitTimeout = commitTimeout
	if group == MetaGroup {
		r.CommitTimeout = metaCommitTimeout
	}
	r.MaxAppendEntries, r.BatchApplyCh = maxAppendEntries, true
	r.SnapshotInterval, r.SnapshotThreshold = c.Timing.SnapshotInterval, c.Timing.SnapshotThreshold
	r.TrailingLogs = c.Timing.TrailingLogs
	r.NoSnapshotRestoreOnStart = true
	r.ShutdownOnRemove = false
	r.NoLegacyTelemetry = true
	r.NotifyCh = notify
	r.Logger = raftlog.New(c.Logger, group, lone)
	return r
}
