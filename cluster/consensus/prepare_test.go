package consensus

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/storage"
)

// TestLogThatTheStateLeftBehindIsDropped: raft must not go on from entries that
// a snapshot has replaced.
func TestLogThatTheStateLeftBehindIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		first, last, term uint64 // of the log
		applied, at       uint64 // index and term of the state
		wantFirst         uint64
		err               error
	}{
		"empty log":              {applied: 7, at: 2},
		"log goes on":            {first: 3, last: 9, term: 2, applied: 7, at: 2, wantFirst: 3},
		"log ends at the state":  {first: 3, last: 7, term: 2, applied: 7, at: 2, wantFirst: 3},
		"log begins after state": {first: 8, last: 9, term: 2, applied: 7, at: 2, wantFirst: 8},
		"log ends before state":  {first: 3, last: 6, term: 2, applied: 7, at: 2, wantFirst: 0},
		"log of another term":    {first: 3, last: 9, term: 1, applied: 7, at: 2, wantFirst: 0},
		"gap":                    {first: 9, last: 9, term: 2, applied: 7, at: 2, err: storage.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := storage.Open("data", storage.Options{FS: vfs.NewMem()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			log, err := db.Group(1).Log()
			if err != nil {
				t.Fatal(err)
			}
			for i := c.first; i <= c.last && i > 0; i++ {
				if err := log.Append([]storage.Entry{{Index: i, Term: c.term, Kind: uint8(raft.LogCommand)}}); err != nil {
					t.Fatal(err)
				}
			}
			err = reconcile(storage.Applied{Index: c.applied, Term: c.at}, log)
			if !errors.Is(err, c.err) || (err == nil && log.FirstIndex() != c.wantFirst) {
				t.Errorf("%v, log from %d; want %v, log from %d", err, log.FirstIndex(), c.err, c.wantFirst)
			}
		})
	}
}

// TestStoreOfAnEarlyVersionIsCarriedOn: its groups began with an entry of the
// log, which goes once the state shows it.
func TestStoreOfAnEarlyVersionIsCarriedOn(t *testing.T) {
	disk := vfs.NewMem()
	db, err := storage.Open("data", storage.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	log, err := db.Group(0).Log()
	if err != nil {
		t.Fatal(err)
	}
	first := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}}}
	if err := log.Append([]storage.Entry{{Index: 1, Term: 1, Kind: uint8(raft.LogConfiguration), Data: raft.EncodeConfiguration(first)}}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for start, wantFirst := range []uint64{1, 2, 2} {
		n := startNode(t, disk, config("n1", 1))
		log, err := n.host.Group(0).State().Log()
		if err != nil || log.FirstIndex() != wantFirst {
			t.Errorf("start %d: the log begins at %d (%v), want %d", start, log.FirstIndex(), err, wantFirst)
		}
		n.lead()
		g := n.host.Group(0)
		if start > 0 && read(g, "k") != "v" {
			t.Errorf("start %d: k is %s", start, read(g, "k"))
		}
		if _, err := g.Propose(t.Context(), set(t, "k", "v")); err != nil {
			t.Error(err)
		}
		if m, err := g.Members(); err != nil || len(m.Voters) != 1 || m.Index != 1 {
			t.Errorf("start %d: members %+v (%v)", start, m, err)
		}
		n.stop()
	}
}
