package actors

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
)

const (
	// revokeFor is for how long a revocation is tried: then its tokens are
	// destroyed, too.
	revokeFor = 24 * time.Hour
	// revokePause is the longest time between two tries.
	revokePause = time.Hour
	// revokeAtOnce bounds the revocations of a shard that are under way.
	revokeAtOnce = 8
	// revokeAgain is when one is looked at again whose result could not be stored.
	revokeAgain = time.Second
)

// revoker ends the grants of one shard's disconnected accounts at their
// providers. What is to be done lies in the store, so that it is carried on by
// the next owner, and costs no memory while it waits. It runs while the shard is
// owned here. A grant may be revoked twice, by two owners: that is as good as once.
type revoker struct {
	shard  *shard
	signal chan struct{} // capacity 1

	mu   sync.Mutex
	busy map[string]struct{} // account and id of those under way; at most revokeAtOnce
	over int                 // how many have ended

	cancel context.CancelFunc // ends the run and what it began; nil: it does not run
	work   sync.WaitGroup
}

func newRevoker(sh *shard) *revoker {
	return &revoker{shard: sh, signal: make(chan struct{}, 1), busy: make(map[string]struct{})}
}

// start begins the work; close ends it and waits. They alternate.
func (r *revoker) start() {
	ctx, cancel := context.WithCancel(r.shard.sys.ctx)
	r.cancel = cancel
	r.work.Go(func() { r.run(ctx) })
}

func (r *revoker) close() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.work.Wait()
	r.cancel = nil
}

// nudge says that there is something to do.
func (r *revoker) nudge() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

func (r *revoker) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.signal:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if wait, ok := r.advance(ctx); ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
	}
}

// advance begins what is due, and says when to look again; false: when nudged.
func (r *revoker) advance(ctx context.Context) (wait time.Duration, again bool) {
	r.mu.Lock()
	over := r.over
	r.mu.Unlock()
	list, err := r.shard.store.Revocations(2 * revokeAtOnce)
	if err != nil {
		r.shard.sys.log.Error("grants to be revoked could not be read", "shard", r.shard.id, "err", err)
		return revokeAgain, true
	}
	for _, v := range list {
		if wait := time.Until(v.At); wait > 0 {
			return wait, true
		}
		switch taken, later := r.take(v, over); {
		case later:
			return 0, false // one that is over nudges
		case taken:
			r.work.Go(func() { r.try(ctx, v) })
		}
	}
	return 0, false
}

func busyKey(v credential.Revocation) string { return v.Account.Ref.String() + "/" + v.ID }

// take gives a revocation a place, unless it has one; later: there is none, or
// one has ended since the list was read, and this may be it.
func (r *revoker) take(v credential.Revocation, over int) (taken, later bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if over != r.over {
		return false, true
	}
	if _, busy := r.busy[busyKey(v)]; busy {
		return false, false
	}
	if len(r.busy) >= revokeAtOnce {
		return false, true
	}
	r.busy[busyKey(v)] = struct{}{}
	return true, false
}

// try asks the provider once, and stores what came of it.
func (r *revoker) try(ctx context.Context, v credential.Revocation) {
	defer func() {
		r.mu.Lock()
		delete(r.busy, busyKey(v))
		r.over++
		r.mu.Unlock()
		r.nudge()
	}()
	sys := r.shard.sys
	spared, err := r.spared(ctx, v)
	if err == nil && spared == "" {
		err = r.ask(ctx, v)
	}
	if ctx.Err() != nil {
		return // the next owner asks anew
	}
	over := revocationOver{revocation: v, what: credential.WhatRevoked}
	switch {
	case spared != "":
		over.what, over.detail = credential.WhatRevocationSkipped, spared
	case err == nil:
		sys.counters.Revoked.Add(1)
	case errors.Is(err, ErrNoRevocation):
		over.what, over.detail = credential.WhatRevocationSkipped, "the provider has no way to revoke; the tokens run out"
	case worthRepeating(err) && time.Since(v.Since) < revokeFor:
		r.putOff(ctx, v)
		return
	default:
		over.what, over.detail = credential.WhatRevocationFailed, "the provider did not take the revocation; the grant may live on there"
		if f, ok := errors.AsType[*credential.Failure](err); ok {
			over.code = f.Code
		}
		sys.counters.RevocationsFailed.Add(1)
		sys.log.Warn("grant could not be revoked at the provider", "account", v.Account.Ref.String(), "integration", v.Account.Integration, "err", err)
	}
	r.note(ctx, over)
}

// spared says why a grant is not to be revoked; empty: it is. Many providers have
// one grant for a person and a client: to end it would end what the person has
// authorised since.
func (r *revoker) spared(_ context.Context, v credential.Revocation) (why string, err error) {
	rec, _, err := r.shard.store.Load(v.Account.Ref)
	if err == nil && rec.State == credential.StateActive {
		why = "the account was authorised again, and may have the same grant"
	}
	return why, err
}

// ask opens the tokens and presents them, the refresh token first.
func (r *revoker) ask(ctx context.Context, v credential.Revocation) error {
	refresh, access, err := r.shard.openBoth(ctx, v.Account)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.shard.sys.policy.CallTimeout)
	defer cancel()
	return r.shard.sys.provider.Revoke(ctx, requestFor(&v.Account, refresh, access))
}

// putOff has it tried again later.
func (r *revoker) putOff(ctx context.Context, v credential.Revocation) {
	next := v
	next.Tries++
	next.At = time.Now().UTC().Add(revokeBackoff(r.shard.sys.policy.BackoffMin, next.Tries, rand.Float64()))
	if last := v.Since.Add(revokeFor); next.At.After(last) {
		next.At = last // the last try
	}
	ctx, cancel := context.WithTimeout(ctx, r.shard.sys.policy.CommitTimeout)
	defer cancel()
	if err := r.shard.store.PutOff(ctx, v, next); err != nil && !errors.Is(err, credential.ErrConflict) {
		r.unstored(ctx, v, err)
	}
}

// note writes into the account's history what became of the grant, and destroys
// the tokens.
func (r *revoker) note(ctx context.Context, over revocationOver) {
	sys, ref := r.shard.sys, over.revocation.Account.Ref
	within, cancel := context.WithTimeout(ctx, sys.policy.CommitTimeout)
	defer cancel()
	err := sys.ask(within, r.shard, func(req request) message {
		over.request = req
		return over
	}, ref).err
	if err != nil {
		r.unstored(ctx, over.revocation, err)
	}
}

// unstored waits before a revocation is begun anew whose result could not be
// stored.
func (r *revoker) unstored(ctx context.Context, v credential.Revocation, err error) {
	if ctx.Err() != nil {
		return
	}
	r.shard.sys.log.Warn("what became of a revocation could not be stored; it is begun anew", "account", v.Account.Ref.String(), "err", err)
	t := time.NewTimer(revokeAgain)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// revokeBackoff is the wait before a try, for a draw of [0,1): it doubles, and
// the upper half of each step is drawn.
func revokeBackoff(least time.Duration, tries int, draw float64) time.Duration {
	d := least
	for i := 1; i < tries && d < revokePause; i++ {
		d *= 2
	}
	d = min(d, revokePause)
	return d/2 + time.Duration(draw*float64(d/2))
}

// worthRepeating reports whether a revocation that failed may succeed later: a
// refusal will not, unless it is of the client, which an operator mends, or of
// nobody knows what. Tokens that do not open never will.
func worthRepeating(err error) bool {
	if errors.Is(err, credential.ErrSealed) {
		return false
	}
	f, ok := errors.AsType[*credential.Failure](err)
	return !ok || f.Class != credential.Terminal && f.Class != credential.Unrecognised
}

// openBoth opens the tokens of a record.
func (sh *shard) openBoth(ctx context.Context, rec credential.Account) (refresh, access credential.Secret, err error) {
	ctx, cancel := context.WithTimeout(ctx, sh.sys.policy.CommitTimeout)
	defer cancel()
	var rErr, aErr error
	if len(rec.RefreshToken) > 0 {
		refresh, rErr = sh.sys.sealer.Open(ctx, rec.RefreshLabel(), rec.RefreshToken)
	}
	if len(rec.AccessToken) > 0 {
		access, aErr = sh.sys.sealer.Open(ctx, rec.AccessLabel(), rec.AccessToken)
	}
	return refresh, access, errors.Join(rErr, aErr)
}
