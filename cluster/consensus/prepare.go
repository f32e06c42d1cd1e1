package consensus

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// prepare makes a group's log fit its state or, where the store holds nothing
// of the group, begins it as s says. It runs before raft does.
func prepare(state *storage.Group, log *storage.Log, s Start) error {
	applied, err := state.Applied()
	if err != nil {
		return err
	}
	if applied.Index != 0 || log.LastIndex() != 0 {
		return errors.Join(reconcile(applied, log), dropFirst(applied, log))
	}
	known, err := state.Known()
	if err != nil {
		return err
	}
	switch {
	case len(s.Voters) > 0 && !known:
		return bootstrap(state, s.Voters)
	case len(s.Voters) > 0 || s.Join:
		return nil
	}
	return fmt.Errorf("%w: this node holds nothing of it, and was not told how it begins", credential.ErrNotFound)
}

// bootstrap begins a group: the voters, as a state that has come to entry 1 of
// term 1, the same on all of them. Raft's own BootstrapCluster saves a term and
// writes that entry to the log. A crash between the two leaves a group that can
// neither be bootstrapped again nor elect a leader, and no log may hold that
// entry: see [dropFirst]. This is one synced write, and all that raft needs: it
// begins with term 0 and is elected for term 1.
func bootstrap(state *storage.Group, voters []string) error {
	var c raft.Configuration
	for _, name := range slices.Sorted(slices.Values(voters)) {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(name), Address: raft.ServerAddress(name)})
	}
	return state.Begin(storage.Applied{Index: 1, Term: 1, ConfIndex: 1, Conf: raft.EncodeConfiguration(c)})
}

// dropFirst removes entry 1, which groups were begun with by early versions. As
// no leader has it, a replica that has no entry in common with a leader gets the
// state, and never the log from its beginning, in which it may find itself a
// voter of long ago.
func dropFirst(applied storage.Applied, log *storage.Log) error {
	if log.FirstIndex() != 1 || applied.Index == 0 {
		return nil
	}
	return log.Truncate(1, 1)
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
