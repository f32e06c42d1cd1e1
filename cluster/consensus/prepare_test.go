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
