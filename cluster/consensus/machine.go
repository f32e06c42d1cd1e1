package consensus

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/storage"
)

// machine is the replicated state machine of one group: it passes committed
// entries to storage and answers those that were proposed on this node. Raft
// calls it from one goroutine.
type machine struct {
	state   *storage.Group
	db      *storage.DB
	ledger  *ledger
	changed *atomic.Pointer[func(keys [][]byte)] // nil inside: nobody asks for keys
	members *bell                                // rings when the configuration has changed
	grown   *bell                                // rings when the outbox has grown
}

var _ raft.BatchingFSM = (*machine)(nil)

// Apply applies one entry; see ApplyBatch.
func (m *machine) Apply(e *raft.Log) any { return m.ApplyBatch([]*raft.Log{e})[0] }

// ApplyBatch applies committed entries in one write. Configuration entries are
// stored as well, because the state is the snapshot, and a snapshot must name
// its configuration. Proposals are answered last, so that whoever proposed
// reads what he wrote. The results mean nothing to raft.
func (m *machine) ApplyBatch(entries []*raft.Log) []any {
	commands := make([]storage.Command, len(entries))
	for i, e := range entries {
		commands[i] = storage.Command{Index: e.Index, Term: e.Term}
		switch e.Type {
		case raft.LogCommand:
			commands[i].Batch = e.Data
		case raft.LogConfiguration:
			commands[i].Conf = e.Data
		}
	}
	results, err := m.state.Apply(commands)
	if err != nil {
		// Other replicas have applied these entries: this one's state is no
		// longer theirs, and must not be served.
		m.db.Fatal(fmt.Sprintf("group %d could not apply entries from %d: %v", m.state.ID(), entries[0].Index, err))
	}
	m.tell(commands, results)
	if slices.ContainsFunc(commands, func(c storage.Command) bool { return c.Conf != nil }) {
		m.members.ring()
	}
	if slices.ContainsFunc(results, func(r storage.Result) bool { return r.Appended }) {
		m.grown.ring()
	}
	m.ledger.answer(entries, results)
	return make([]any, len(entries))
}

// tell reports the keys that the entries have written.
func (m *machine) tell(commands []storage.Command, results []storage.Result) {
	changed := m.changed.Load()
	if changed == nil {
		return
	}
	var keys [][]byte
	for i, c := range commands {
		if results[i].Conflict || results[i].Err != nil || len(c.Batch) == 0 {
			continue
		}
		b, err := storage.DecodeBatch(c.Batch)
		if err != nil { // cannot be: it was applied
			m.db.Fatal(fmt.Sprintf("group %d applied entry %d but cannot read it: %v", m.state.ID(), c.Index, err))
		}
		if len(b.DeleteRanges) > 0 {
			(*changed)(nil)
			return
		}
		keys = appendKeys(keys, b)
	}
	if len(keys) > 0 {
		(*changed)(keys)
	}
}

// appendKeys appends the keys that a batch without delete ranges writes; for an
// append it is the list's own key.
func appendKeys(keys [][]byte, b storage.Batch) [][]byte {
	keys = append(keys, b.Deletes...)
	for _, p := range b.Puts {
		keys = append(keys, p.Key)
	}
	for _, a := range b.Appends {
		keys = append(keys, a.Prefix)
	}
	return keys
}

// Snapshot returns a snapshot that holds nothing: the state is on disk.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) { return liveSnapshot{}, nil }

// Restore replaces the state by a snapshot that another node sent.
func (m *machine) Restore(in io.ReadCloser) error {
	if err := m.state.Import(in); err != nil {
		return fmt.Errorf("import into group %d: %w", m.state.ID(), err)
	}
	if changed := m.changed.Load(); changed != nil {
		(*changed)(nil)
	}
	m.members.ring()
	m.grown.ring()
	return nil
}

// liveSnapshot is the local snapshot: it only lets raft truncate its log.
type liveSnapshot struct{}

// Persist writes nothing.
func (liveSnapshot) Persist(raft.SnapshotSink) error { return nil }

// Release has nothing to release.
func (liveSnapshot) Release() {}
