package consensus

import (
	"context"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// Shard is a group seen as the accounts in it, in words that know neither raft
// nor the store. It is safe for concurrent use.
type Shard struct{ g *Group }

// Shard returns the shard of a number, or nil where this node does not run it.
func (h *Host) Shard(id uint16) *Shard {
	g := h.Group(id)
	if g == nil || id == MetaGroup {
		return nil
	}
	return &Shard{g}
}

// Term returns the term in which this node owns the shard; see [Group.IsLeader].
func (s *Shard) Term() (term uint64, ok bool) { return s.g.IsLeader() }

// Barrier returns when everything that was committed before the call can be
// loaded; see [Group.Barrier].
func (s *Shard) Barrier(ctx context.Context) error { return s.g.Barrier(ctx) }

// Load returns an account's record and its revision, or credential.ErrNotFound.
func (s *Shard) Load(ref credential.Ref) (credential.Account, uint64, error) {
	return s.g.state.Account(ref)
}

// Commit writes a change of one account and returns the record's new revision.
// Errors are those of [Group.Propose]; credential.ErrConflict: the record is
// not at the revision that the change expects. A change that contradicts
// itself is refused with storage.ErrBadChange.
func (s *Shard) Commit(ctx context.Context, c credential.Change) (rev uint64, err error) {
	batch, err := storage.Encode(c)
	if err != nil {
		return 0, err
	}
	r, err := s.g.Propose(ctx, batch)
	if err != nil {
		return 0, err
	}
	return r.Index, nil
}

// History returns up to limit lines of an account's history, newest first,
// numbered below below; 0: from the newest.
func (s *Shard) History(ref credential.Ref, below uint64, limit int) (credential.History, error) {
	return s.g.state.History(ref, below, limit)
}

// Accounts calls fn with the accounts of a tenant (empty: of all) after after,
// in the order of tenant and id, until it returns false.
func (s *Shard) Accounts(after credential.Ref, tenant string, fn func(credential.Account) (more bool)) error {
	return s.g.state.Accounts(after, tenant, fn)
}

// Due returns up to limit entries of the schedule that come after after (zero:
// from the first) and are not later than until, in order.
func (s *Shard) Due(until time.Time, after credential.Due, limit int) ([]credential.Due, error) {
	return s.g.state.Due(until, after, limit)
}

// NextDue returns the time of the first entry of the schedule after after
// (zero: of all); false where there is none.
func (s *Shard) NextDue(after credential.Due) (at time.Time, ok bool, err error) {
	return s.g.state.NextDue(after)
}
