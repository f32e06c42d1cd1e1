package actors

import (
	"context"
	"errors"
	"time"

	"github.com/grantd/grantd/credential"
)

// Token hands out the account's current token, if it lives for minTTL more;
// else it waits, until ctx ends, for a refresh. A fresh token is read past the
// mailbox: from the snapshot that the account's actor published, or from the
// store where the account has no actor.
func (s *System) Token(ctx context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error) {
	sh, now := s.of(ref), time.Now()
	if err := sh.sure(ctx, now); err != nil {
		return credential.Token{}, err
	}
	if rec := sh.peek(ref, now); rec != nil && rec.State == credential.StateActive && serves(rec, minTTL, now) {
		return s.openToken(ctx, rec)
	}
	r := s.ask(ctx, sh, func(req request) message { return getToken{req, minTTL} }, ref)
	return r.token, r.err
}

// peek returns the account's record without asking its actor; nil where this
// node does not own the shard or knows no such account.
func (sh *shard) peek(ref credential.Ref, now time.Time) *credential.Account {
	if !sh.owned() {
		return nil
	}
	if rec := sh.sys.snapshots.get(ref, now); rec != nil {
		sh.sys.counters.SnapshotReads.Add(1)
		return rec
	}
	rec, _, err := sh.store.Load(ref)
	if err != nil {
		return nil
	}
	sh.sys.counters.StoreReads.Add(1)
	if sh.sys.counters.Actors.Load() < int64(sh.sys.policy.MaxActors) {
		sh.send(wake{signal{ref: ref}}) // an account that is asked for gets an actor, and so a snapshot
	}
	return &rec
}

// Refresh returns an account whose generation is newer than stale; nil: than
// the one at hand. Callers with the same stale generation share one refresh.
func (s *System) Refresh(ctx context.Context, ref credential.Ref, stale *uint64) (credential.Account, error) {
	sh := s.of(ref)
	if err := sh.sure(ctx, time.Now()); err != nil {
		return credential.Account{}, err
	}
	r := s.ask(ctx, sh, func(req request) message { return refreshNow{req, stale} }, ref)
	return r.account, r.err
}

// Import makes an account from credentials obtained elsewhere, or brings new
// ones to an account of the same integration and kind. created tells which.
func (s *System) Import(ctx context.Context, what credential.Import) (a credential.Account, created bool, err error) {
	if err := what.Ref.Validate(); err != nil {
		return a, false, &credential.Unavailable{Err: credential.ErrInvalid, Reason: err.Error()}
	}
	r := s.ask(ctx, s.of(what.Ref), func(req request) message { return importCredentials{req, what} }, what.Ref)
	return r.account, r.created, r.err
}

// Disconnect destroys the account's tokens. Its grant is revoked in the
// background.
func (s *System) Disconnect(ctx context.Context, ref credential.Ref) (credential.Account, error) {
	sh := s.of(ref)
	if err := sh.sure(ctx, time.Now()); err != nil {
		return credential.Account{}, err
	}
	r := s.ask(ctx, sh, func(req request) message { return disconnect{request: req} }, ref)
	return r.account, r.err
}

// ask sends a message to the account's actor and waits for its answer. A system
// that has stopped owns nothing, and its gates take no messages.
func (s *System) ask(ctx context.Context, sh *shard, build func(request) message, ref credential.Ref) result {
	if s.ctx.Err() != nil {
		return result{err: credential.ErrNotOwner}
	}
	if s.counters.Waiting.Add(1) > int64(s.policy.MaxWaiting) {
		s.counters.Waiting.Add(-1)
		return result{err: &credential.Unavailable{Err: credential.ErrOverloaded, RetryAfter: time.Second}}
	}
	defer s.counters.Waiting.Add(-1)
	reply := make(chan result, 1)
	sh.send(build(request{ref: ref, reply: reply}))
	select {
	case r := <-reply:
		return r
	case <-ctx.Done():
		return result{err: &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "no answer within the time of the request", RetryAfter: time.Second}}
	case <-s.ctx.Done():
		return result{err: &credential.Unavailable{Err: credential.ErrNoQuorum, Reason: "the node is stopping", RetryAfter: time.Second}}
	}
}

// Account returns the record, or credential.ErrNotOwner where this node does not
// own the shard: a caller reads what was written for him.
func (s *System) Account(ctx context.Context, ref credential.Ref) (credential.Account, error) {
	if err := s.of(ref).sure(ctx, time.Now()); err != nil {
		return credential.Account{}, err
	}
	return s.ReplicaAccount(ctx, ref)
}

// History returns a page of what happened to an account, newest first, or
// credential.ErrNotOwner where this node does not own the shard.
func (s *System) History(ctx context.Context, ref credential.Ref, below uint64, limit int) (credential.History, error) {
	if err := s.of(ref).sure(ctx, time.Now()); err != nil {
		return credential.History{}, err
	}
	return s.ReplicaHistory(ctx, ref, below, limit)
}

// The reads of a replica work whoever owns the shard. They show what this node
// has, which may lag, and wake no actor.

// ReplicaToken hands out the token of this node's copy if it lives for minTTL
// more, marked as a replica's. Whatever else the copy says is for the owner to
// say: then the error is credential.ErrNotOwner.
func (s *System) ReplicaToken(ctx context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error) {
	rec, _, err := s.of(ref).store.Load(ref)
	switch {
	case err != nil && !errors.Is(err, credential.ErrNotFound):
		return credential.Token{}, err
	case err != nil || rec.State != credential.StateActive || !serves(&rec, minTTL, time.Now()):
		return credential.Token{}, credential.ErrNotOwner
	}
	t, err := s.openToken(ctx, &rec)
	t.Replica = err == nil
	return t, err
}

// ReplicaAccount returns the record as this node has it.
func (s *System) ReplicaAccount(_ context.Context, ref credential.Ref) (credential.Account, error) {
	rec, _, err := s.of(ref).store.Load(ref)
	return rec, err
}

// ReplicaHistory returns a page of history as this node has it.
func (s *System) ReplicaHistory(_ context.Context, ref credential.Ref, below uint64, limit int) (credential.History, error) {
	sh := s.of(ref)
	if _, _, err := sh.store.Load(ref); err != nil {
		return credential.History{}, err
	}
	return sh.store.History(ref, below, limit)
}

// IsRetryable reports whether asking again later may help.
func IsRetryable(err error) bool {
	return errors.Is(err, credential.ErrProviderUnavailable) || errors.Is(err, credential.ErrNoQuorum) ||
		errors.Is(err, credential.ErrOverloaded) || errors.Is(err, credential.ErrNotOwner)
}
