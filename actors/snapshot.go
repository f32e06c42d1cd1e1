package actors

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/credential"
)

// view is where an account's actor publishes its record after each change, as
// it is committed. A record that was published is never changed.
type view struct {
	record atomic.Pointer[credential.Account] // nil: nothing published yet
	// used is when the actor had its last message, or the view was last read, as
	// Unix seconds; it keeps the actor from being passivated.
	used atomic.Int64
}

// snapshots are the views of the accounts that have actors, for reading past
// their mailboxes. It is bounded by the number of actors.
type snapshots struct{ m sync.Map } // credential.Ref -> *view

// get returns what the account's actor published last; nil where it has none.
func (s *snapshots) get(ref credential.Ref, now time.Time) *credential.Account {
	v, ok := s.m.Load(ref)
	if !ok {
		return nil
	}
	view := v.(*view)
	if sec := now.Unix(); view.used.Load() != sec {
		view.used.Store(sec)
	}
	return view.record.Load()
}

func (s *snapshots) add(ref credential.Ref, v *view) { s.m.Store(ref, v) }
func (s *snapshots) withdraw(ref credential.Ref)     { s.m.Delete(ref) }
