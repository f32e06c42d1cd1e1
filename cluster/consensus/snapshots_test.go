package consensus

import (
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/storage"
)

// spooled returns the files in the spool directory of a disk.
func spooled(t *testing.T, fs vfs.FS) []string {
	t.Helper()
	names, err := fs.List("spool")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// newSnapshots returns the snapshots of an empty group over a fresh spool.
func newSnapshots(t *testing.T, fs vfs.FS) *snapshots {
	t.Helper()
	db, err := storage.Open("data", storage.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	sp, err := openSpool(fs, "spool")
	if err != nil {
		t.Fatal(err)
	}
	return &snapshots{state: db.Group(1), spool: sp, gate: &gate{}}
}

func (s *snapshots) receive(t *testing.T, body string) raft.SnapshotSink {
	t.Helper()
	k, err := s.Create(raft.SnapshotVersionMax, 9, 2, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(k, body); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestReceivedSnapshotIsReadOnceAndLeavesNothing(t *testing.T) {
	fs := vfs.NewMem()
	s := newSnapshots(t, fs)
	k := s.receive(t, "state")
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	meta, in, err := s.Open(k.ID())
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(in); string(body) != "state" || err != nil || meta.Index != 9 || meta.Size != 5 {
		t.Errorf("read %q, %+v (%v)", body, meta, err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Open(k.ID()); err == nil {
		t.Error("opened twice")
	}
	if files := spooled(t, fs); len(files) > 0 {
		t.Errorf("left in the spool: %v", files)
	}
}

// TestAbandonedSnapshotsDoNotPileUp: a transfer that breaks off, one that is
// never restored, and what a crash left.
func TestAbandonedSnapshotsDoNotPileUp(t *testing.T) {
	fs := vfs.NewMem()
	s := newSnapshots(t, fs)
	if err := s.receive(t, "half").Cancel(); err != nil {
		t.Error(err)
	}
	if files := spooled(t, fs); len(files) > 0 {
		t.Errorf("a cancelled transfer left %v", files)
	}
	for range 3 {
		if err := s.receive(t, "never restored").Close(); err != nil {
			t.Error(err)
		}
	}
	if files := spooled(t, fs); len(files) != 1 {
		t.Errorf("three transfers left %v, want the newest only", files)
	}
	if _, err := openSpool(fs, "spool"); err != nil {
		t.Error(err)
	}
	if files := spooled(t, fs); len(files) > 0 {
		t.Errorf("after a restart the spool holds %v", files)
	}
}

// TestLocalSnapshotWritesNothing: it only lets raft truncate its log.
func TestLocalSnapshotWritesNothing(t *testing.T) {
	fs := vfs.NewMem()
	s := newSnapshots(t, fs)
	for _, end := range []func(raft.SnapshotSink) error{raft.SnapshotSink.Close, raft.SnapshotSink.Cancel} {
		k, err := s.Create(raft.SnapshotVersionMax, 9, 2, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(k); err != nil {
			t.Error(err)
		}
	}
	if list, err := s.List(); len(list) != 0 || err != nil {
		t.Errorf("a group without state lists %v (%v)", list, err)
	}
	if _, _, err := s.Open(liveID); err == nil {
		t.Error("a group without state was exported")
	}
	if files := spooled(t, fs); len(files) > 0 {
		t.Errorf("left in the spool: %v", files)
	}
}

// TestStragglersDoNotReachAClosedStore: Pebble would panic.
func TestStragglersDoNotReachAClosedStore(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 1))
	n.lead()
	g := n.host.Group(0)
	log, err := g.State().Log()
	if err != nil {
		t.Fatal(err)
	}
	logs := &logStore{log: log, db: n.db, gate: &g.store}
	stable := &stableStore{state: g.State(), stable: g.State().Stable(), db: n.db, gate: &g.store}
	snaps := &snapshots{state: g.State(), spool: n.host.spool, gate: &g.store}
	n.stop()
	if err := logs.GetLog(1, new(raft.Log)); err == nil {
		t.Error("read the log")
	}
	if err := logs.StoreLog(&raft.Log{Index: 100}); err == nil {
		t.Error("wrote the log")
	}
	if _, err := snaps.List(); err == nil {
		t.Error("read the state")
	}
	saved := make(chan bool, 1)
	go func() {
		defer close(saved)
		saved <- stable.SetUint64([]byte("term"), 7) == nil
	}()
	if <-saved {
		t.Error("told that a vote was saved")
	}
}
