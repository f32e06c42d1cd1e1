package consensus

import (
	"context"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// Shard is a group seen as the accounts in it, in words that know neither raft
// nor the store. It stays good whether the group is open, closed, or opened
// again; while it is not open on this node, everything fails with
// credential.ErrNotOwner. It is safe for concurrent use.
type Shard struct {
	h  *Host
	id uint16
}

// Shard returns the shard of a number, or nil where it is not open on this node.
func (h *Host) Shard(id uint16) *Shard {
	if h.Group(id) == nil {
		return nil
	}
	return h.Store(id)
}

// Store returns the shard of a number, open or not, for those who keep it; nil
// where no shard has that number.
func (h *Host) Store(id uint16) *Shard {
	if int(id) >= h.cfg.Shards {
		return nil
	}
	return &Shard{h, id}
}

// Term returns the term in which this node owns the shard; see [Group.IsLeader].
func (s *Shard) Term() (term uint64, ok bool) {
	if g := s.h.Group(s.id); g != nil {
		return g.IsLeader()
	}
	return 0, false
}

// Holds reports whether surely no other node owns the shard at now; see
// [Group.Holds].
func (s *Shard) Holds(term uint64, now time.Time) bool {
	g := s.h.shards[s.id].Load()
	return g != nil && g.Holds(term, now)
}

// Prove proves that this node owns the shard in term; see [Group.Prove].
func (s *Shard) Prove(ctx context.Context, term uint64) error {
	g, err := s.h.open(s.id)
	if err != nil {
		return err
	}
	return g.Prove(ctx, term)
}

// Barrier returns when everything that was committed before the call can be
// loaded; see [Group.Barrier].
func (s *Shard) Barrier(ctx context.Context) error {
	g, err := s.h.open(s.id)
	if err != nil {
		return err
	}
	return g.Barrier(ctx)
}

// Load returns an account's record and its revision, or credential.ErrNotFound.
func (s *Shard) Load(ref credential.Ref) (credential.Account, uint64, error) {
	g, err := s.h.open(s.id)
	if err != nil {
		return credential.Account{}, 0, err
	}
	return g.state.Account(ref)
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
	g, err := s.h.open(s.id)
	if err != nil {
		return 0, err
	}
	r, err := g.Propose(ctx, batch)
	if err != nil {
		return 0, err
	}
	return r.Index, nil
}

// History returns up to limit lines of an account's history, newest first,
// numbered below below; 0: from the newest.
func (s *Shard) History(ref credential.Ref, below uint64, limit int) (credential.History, error) {
	g, err := s.h.open(s.id)
	if err != nil {
		return credential.History{}, err
	}
	return g.state.History(ref, below, limit)
}

// Accounts calls fn with the accounts of a tenant (empty: of all) after after,
// in the order of tenant and id, until it returns false.
func (s *Shard) Accounts(after credential.Ref, tenant string, fn func(credential.Account) (more bool)) error {
	g, err := s.h.open(s.id)
	if err != nil {
		return err
	}
	return g.state.Accounts(after, tenant, fn)
}

// Due returns up to limit entries of the schedule that come after after (zero:
// from the first) and are not later than until, in order.
func (s *Shard) Due(until time.Time, after credential.Due, limit int) ([]credential.Due, error) {
	g, err := s.h.open(s.id)
	if err != nil {
		return nil, err
	}
	return g.state.Due(until, after, limit)
}

// NextDue returns the time of the first entry of the schedule after after
// (zero: of all); false where there is none.
func (s *Shard) NextDue(after credential.Due) (at time.Time, ok bool, err error) {
	g, err := s.h.open(s.id)
	if err != nil {
		return time.Time{}, false, err
	}
	return g.state.NextDue(after)
}

// Revocations returns up to limit grants that are to be revoked, those first
// whose next try is soonest, whether its time has come or not.
func (s *Shard) Revocations(limit int) ([]credential.Revocation, error) {
	g, err := s.h.open(s.id)
	if err != nil {
		return nil, err
	}
	return g.state.Revocations(limit)
}

// PutOff moves a revocation that is stored to another time; errors as of Commit:
// credential.ErrConflict, it is not there any more.
func (s *Shard) PutOff(ctx context.Context, old, next credential.Revocation) error {
	batch, err := storage.EncodeRetry(old, next)
	if err != nil {
		return err
	}
	g, err := s.h.open(s.id)
	if err != nil {
		return err
	}
	_, err = g.Propose(ctx, batch)
	return err
}
