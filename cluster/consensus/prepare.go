package consensus

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/storage"
)

// prepare makes a group's log fit its state and, where both are empty, writes
// the first entry: the voters. It runs before raft does.
func (h *Host) prepare(state *storage.Group, log *storage.Log) error {
	applied, err := state.Applied()
	if err != nil {
		return err
	}
	if applied.Index == 0 && log.LastIndex() == 0 {
		if h.cfg.Join {
			return nil
		}
		return h.bootstrap(log)
	}
	return reconcile(applied, log)
}

// bootstrap writes the configuration that a new group begins with. Raft's own
// BootstrapCluster saves a term before that entry, and a crash between the two
// leaves a group that can neither be bootstrapped nor elect a leader. The entry
// alone is one synced write, and all that raft needs: it begins with term 0 and
// is elected for term 1, in which the entry already stands on every voter.
func (h *Host) bootstrap(log *storage.Log) error {
	var c raft.Configuration
	for _, v := range h.cfg.Voters {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(v.Node), Address: raft.ServerAddress(v.Address)})
	}
	return log.Append([]storage.Entry{{
		Index: 1, Term: 1, Kind: uint8(raft.LogConfiguration), At: time.Now(), Data: raft.EncodeConfiguration(c),
	}})
}

// reconcile removes a log that the state has left behind: a crash after a
// snapshot was imported and before raft emptied the log leaves old entries,
// from which raft must not go on.
func reconcile(applied storage.Applied, log *storage.Log) error {
	first, last := log.FirstIndex(), log.LastIndex()
	switch {
	case last == 0:
		return nil
	case first > applied.Index+1:
		return fmt.Errorf("%w: entries %d to %d are missing between state and log; restore this node's data from a backup, or empty its data directory and let it join again under a new name",
			storage.ErrCorrupt, applied.Index+1, first-1)
	case last < applied.Index:
		return log.Truncate(first, last)
	case first <= applied.Index:
		e, err := log.Get(applied.Index)
		if err != nil {
			return fmt.Errorf("log entry %d: %w", applied.Index, err)
		}
		if e.Term != applied.Term {
			return log.Truncate(first, last)
		}
	}
	return nil
}
