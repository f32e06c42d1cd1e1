package consensus

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/storage"
)

// errClosed is what stragglers get that still read after Host.Close.
var errClosed = errors.New("consensus: group is closed")

// logStore is a group's log as raft wants it. Its methods are called by raft's
// goroutines at the same time.
//
// A failed write ends the process: what the disk holds is not known any more,
// so the node must neither go on as a leader nor vote.
type logStore struct {
	log  *storage.Log
	db   *storage.DB
	gate *gate
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

// IsMonotonic tells raft that the log has no gaps, so that it empties the log
// when a snapshot was installed.
func (s *logStore) IsMonotonic() bool { return true }

// FirstIndex returns the oldest entry's index; 0: the log is empty.
func (s *logStore) FirstIndex() (uint64, error) { return s.log.FirstIndex(), nil }

// LastIndex returns the newest entry's index; 0: the log is empty.
func (s *logStore) LastIndex() (uint64, error) { return s.log.LastIndex(), nil }

// GetLog reads the entry at index into l, or returns raft.ErrLogNotFound.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	if !s.gate.enter() {
		return errClosed
	}
	defer s.gate.leave()
	e, err := s.log.Get(index)
	if errors.Is(err, storage.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err != nil {
		return fmt.Errorf("read log entry %d: %w", index, err)
	}
	*l = raft.Log{
		Index: e.Index, Term: e.Term, Type: raft.LogType(e.Kind),
		Data: e.Data, Extensions: e.Extensions, AppendedAt: e.At,
	}
	return nil
}

// StoreLog appends one entry; see StoreLogs.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries and returns when they are synced to the disk.
func (s *logStore) StoreLogs(ls []*raft.Log) error {
	if !s.gate.enter() {
		return errClosed
	}
	defer s.gate.leave()
	entries := make([]storage.Entry, len(ls))
	for i, l := range ls {
		entries[i] = storage.Entry{
			Index: l.Index, Term: l.Term, Kind: uint8(l.Type),
			At: l.AppendedAt, Data: l.Data, Extensions: l.Extensions,
		}
	}
	if err := s.log.Append(entries); err != nil {
		s.db.Fatal(fmt.Sprintf("raft log: %v", err))
	}
	return nil
}

// DeleteRange removes the entries from lo to hi, both included. It needs no
// sync: what is appended afterwards stands later in the same write-ahead log.
func (s *logStore) DeleteRange(lo, hi uint64) error {
	if !s.gate.enter() {
		return errClosed
	}
	defer s.gate.leave()
	if err := s.log.Truncate(lo, hi); err != nil {
		s.db.Fatal(fmt.Sprintf("raft log: %v", err))
	}
	return nil
}

// stableStore keeps raft's term and vote. A failed write ends the process, as
// in [logStore].
type stableStore struct {
	state  *storage.Group
	stable *storage.Stable
	db     *storage.DB
	gate   *gate
}

var _ raft.StableStore = (*stableStore)(nil)

// enter passes the gate or ends the calling goroutine. Raft panics where its
// term cannot be saved, and must not go on as if it had been; a straggler after
// Close (a heartbeat's handler) has nobody left to answer.
func (s *stableStore) enter() {
	if !s.gate.enter() {
		runtime.Goexit()
	}
}

// saved ends the process after a failed write.
func (s *stableStore) saved(err error) {
	if err != nil {
		s.db.Fatal(fmt.Sprintf("raft's term and vote: %v", err))
	}
}

// Set writes a value and syncs it.
func (s *stableStore) Set(key, value []byte) error {
	s.enter()
	defer s.gate.leave()
	s.saved(s.stable.Set(key, value))
	return nil
}

// Get returns the value, or nil where there is none.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	s.enter()
	defer s.gate.leave()
	return s.stable.Get(key)
}

// lastVoteTerm is the name under which raft saves that it votes, for itself or
// for another, before anything else of that vote.
const lastVoteTerm = "LastVoteTerm"

// errSilent is why a replica does not vote.
var errSilent = errors.New("consensus: the replica was destroyed and lacks entries that it had before; it does not vote until it has them again")

// SetUint64 writes a number and syncs it. A vote is refused while the replica
// lacks entries that it has vouched for before it was destroyed; raft then does
// not vote, and is not elected.
func (s *stableStore) SetUint64(key []byte, value uint64) error {
	s.enter()
	defer s.gate.leave()
	if string(key) == lastVoteTerm {
		behind, err := s.state.Behind()
		if err != nil {
			return err
		}
		if behind {
			return errSilent
		}
	}
	s.saved(s.stable.SetUint64(key, value))
	return nil
}

// GetUint64 returns the number, or 0 where there is none.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	s.enter()
	defer s.gate.leave()
	return s.stable.GetUint64(key)
}
