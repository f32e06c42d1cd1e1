package consensus

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/storage"
)

// liveID names the one snapshot that every group has at any time: its state.
const liveID = "live"

// snapshots is raft's view of a group's state as a snapshot. The state lies in
// the database with its applied index already, so that a local snapshot writes
// nothing and only lets raft truncate its log. For a replica that lags behind,
// the state is exported to a spool file first, because raft sends the size
// before the bytes; a snapshot that arrives is spooled, and imported when raft
// has the state machine restore it.
type snapshots struct {
	state *storage.Group
	spool *spool
	gate  *gate

	mu      sync.Mutex
	arrived map[string]*received // complete, not yet restored; at most one
	last    uint64               // number of the newest sink
}

var _ raft.SnapshotStore = (*snapshots)(nil)

// received is a snapshot that another node sent.
type received struct {
	meta raft.SnapshotMeta
	file *spoolFile
}

// List returns the live snapshot, or nothing for a group without state.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	if !s.gate.enter() {
		return nil, errClosed
	}
	defer s.gate.leave()
	a, err := s.state.Applied()
	if err != nil {
		return nil, err
	}
	if a.Index == 0 {
		return nil, nil
	}
	return []*raft.SnapshotMeta{liveMeta(a, 0)}, nil
}

func liveMeta(a storage.Applied, size int64) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: liveID,
		Index: a.Index, Term: a.Term,
		Configuration: raft.DecodeConfiguration(a.Conf), ConfigurationIndex: a.ConfIndex,
		Size: size,
	}
}

// Create takes the place of a snapshot to come: a local one, to which nothing
// is written, or one that another node sends.
func (s *snapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, cIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	return &sink{store: s, meta: raft.SnapshotMeta{
		Version: v, ID: fmt.Sprintf("received-%d", s.last),
		Index: index, Term: term, Configuration: c, ConfigurationIndex: cIndex,
	}}, nil
}

// Open returns the state as it stands now, spooled, or a snapshot that arrived.
// Closing the reader removes the spooled bytes.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if !s.gate.enter() {
		return nil, nil, errClosed
	}
	defer s.gate.leave()
	if id == liveID {
		return s.export()
	}
	s.mu.Lock()
	r := s.arrived[id]
	delete(s.arrived, id)
	s.mu.Unlock()
	if r == nil {
		return nil, nil, fmt.Errorf("consensus: no snapshot %q in group %d", id, s.state.ID())
	}
	in, err := r.file.open()
	if err != nil {
		return nil, nil, errors.Join(err, r.file.remove())
	}
	return &r.meta, in, nil
}

// export spools the state of one instant.
func (s *snapshots) export() (*raft.SnapshotMeta, io.ReadCloser, error) {
	out, err := s.spool.create()
	if err != nil {
		return nil, nil, err
	}
	applied, err := s.state.Export(out)
	if err = errors.Join(err, out.finish()); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("export group %d: %w", s.state.ID(), err), out.remove())
	}
	in, err := out.open()
	if err != nil {
		return nil, nil, errors.Join(err, out.remove())
	}
	return liveMeta(applied, out.size), in, nil
}

// keep notes a snapshot that is complete, in place of any older one.
func (s *snapshots) keep(r *received) error {
	s.mu.Lock()
	old := s.arrived
	s.arrived = map[string]*received{r.meta.ID: r}
	s.mu.Unlock()
	var errs []error
	for _, o := range old {
		errs = append(errs, o.file.remove())
	}
	return errors.Join(errs...)
}

// drop removes what arrived and was never restored. Nothing may arrive any more.
func (s *snapshots) drop() error {
	s.mu.Lock()
	left := s.arrived
	s.arrived = nil
	s.mu.Unlock()
	var errs []error
	for _, r := range left {
		errs = append(errs, r.file.remove())
	}
	return errors.Join(errs...)
}

// sink takes in one snapshot. Raft uses it from one goroutine at a time.
type sink struct {
	store *snapshots
	meta  raft.SnapshotMeta
	file  *spoolFile // nil until the first byte
}

// ID returns the name by which Open finds the snapshot.
func (k *sink) ID() string { return k.meta.ID }

// Write spools a part of the snapshot.
func (k *sink) Write(p []byte) (int, error) {
	if k.file == nil {
		f, err := k.store.spool.create()
		if err != nil {
			return 0, err
		}
		k.file = f
	}
	return k.file.Write(p)
}

// Close makes the snapshot available to Open. Without bytes it was a local
// one, and there is nothing to do.
func (k *sink) Close() error {
	if k.file == nil {
		return nil
	}
	if err := k.file.finish(); err != nil {
		return errors.Join(err, k.file.remove())
	}
	k.meta.Size = k.file.size
	return k.store.keep(&received{meta: k.meta, file: k.file})
}

// Cancel drops what was written.
func (k *sink) Cancel() error {
	if k.file == nil {
		return nil
	}
	return errors.Join(k.file.finish(), k.file.remove())
}
