package actors

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/credential"
)

// snapshot is what an account's actor publishes after each change: the record
// as it is committed. It is immutable.
type snapshot struct {
	account credential.Account
	// used is when the snapshot was last read, as Unix seconds; it keeps the
	// actor from being passivated.
	used *atomic.Int64
}

// snapshots are the published records of the accounts that have actors, for
// reading past their mailboxes. It is bounded by the number of actors.
type snapshots struct{ m sync.Map } // credential.Ref -> *snapshot

func (s *snapshots) get(ref credential.Ref, now time.Time) *snapshot {
	v, ok := s.m.Load(ref)
	if !ok {
		return nil
	}
	snap := v.(*snapshot)
	if sec := now.Unix(); snap.used.Load() != sec {
		snap.used.Store(sec)
	}
	return snap
}

func (s *snapshots) publish(ref credential.Ref, snap *snapshot) { s.m.Store(ref, snap) }
func (s *snapshots) withdraw(ref credential.Ref)                { s.m.Delete(ref) }
