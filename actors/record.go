package actors

import (
	"context"
	"errors"
	"time"

	"github.com/grantd/grantd/credential"
)

// What an account's actor has of its record: read once, written by commits, and
// published after each.

// ensure loads the record once, and takes care of a claim that it finds.
func (a *account) ensure() error {
	if a.loaded && !a.unsettled {
		return nil
	}
	if err := a.load(); err != nil {
		return err
	}
	if a.rec.Claim != nil && a.job == nil {
		a.recover()
		if !a.loaded {
			return a.load()
		}
	}
	return nil
}

// load reads the record anew.
func (a *account) load() error {
	rec, rev, err := a.shard.store.Load(a.ref)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		a.exists, a.rec, a.rev, a.loaded = false, credential.Account{Ref: a.ref}, 0, true
		return nil
	case err != nil:
		a.loaded = false
		return err
	}
	a.exists, a.rec, a.rev, a.loaded = true, rec, rev, true
	if c := rec.Claim; c != nil && c.Attempt != a.claimOf {
		a.claimOf, a.claimEnds = c.Attempt, time.Now().Add(c.Lifetime)
	}
	a.publish()
	return nil
}

// suspect reports whether the refresh token in hand may be spent: it was
// claimed, and no job of this actor's knows what came of it.
func (a *account) suspect() bool {
	c := a.rec.Claim
	return c != nil && c.Generation == a.rec.Generation && a.rec.State == credential.StateActive && !a.neverSent()
}

// commit makes the record the account's next one. When it returns nil the
// record is durable and published. On any other outcome the record is read
// anew before it is used again.
func (a *account) commit(after credential.Account, lines []credential.Line, events []credential.Event) error {
	return a.write(credential.Change{After: after, Lines: lines, Events: events})
}

// write is commit for a change whose Ref, Expect and Before are set here.
func (a *account) write(change credential.Change) error {
	sys := a.shard.sys
	ctx, cancel := context.WithTimeout(sys.ctx, sys.policy.CommitTimeout)
	defer cancel()
	change.Ref, change.Expect = a.ref, a.rev
	if a.exists {
		change.Before = &a.rec
	}
	change.After.HistoryNext = a.rec.HistoryNext + uint64(len(change.Lines))
	rev, err := a.shard.store.Commit(ctx, change)
	if err != nil {
		sys.counters.CommitFailures.Add(1)
		a.loaded = false
		a.view.record.Store(nil) // readers look into the store, until it is read anew
		switch {
		case errors.Is(err, credential.ErrUnknownOutcome):
			a.settleUnknown()
		case errors.Is(err, credential.ErrConflict):
			a.unsettled = false // writes keep their order
		}
		return err
	}
	a.unsettled = false
	a.exists, a.rec, a.rev, a.loaded = true, change.After, rev, true
	a.publish()
	a.shard.sched.nudge(change.After.NextRefreshAt)
	if len(change.Revoke) > 0 {
		a.shard.revoker.nudge()
	}
	return nil
}

// settleUnknown waits, a while longer, until it can be read whether a write
// took effect: once a later entry is applied, it either has or never will.
func (a *account) settleUnknown() {
	sys := a.shard.sys
	ctx, cancel := context.WithTimeout(sys.ctx, sys.policy.CommitTimeout)
	defer cancel()
	err := a.shard.store.Barrier(ctx)
	if a.unsettled = err != nil; a.unsettled {
		sys.log.Warn("outcome of a write stays unknown; every later write checks the record's revision", "account", a.ref.String(), "err", err)
	}
}

// publish shows the record to those who read past the mailbox.
func (a *account) publish() {
	if a.unsettled {
		return
	}
	rec := a.rec
	if first := a.view.record.Swap(&rec) == nil; first {
		a.shard.sys.snapshots.add(a.ref, &a.view)
	}
}

// lines makes one line of history for the record as it stands.
func (a *account) lines(what credential.What, reason, detail string) []credential.Line {
	l := credential.Line{At: time.Now().UTC(), What: what, Reason: reason, Detail: detail, Generation: a.rec.Generation, Node: a.shard.sys.node}
	if a.rec.Claim != nil {
		l.Attempt = a.rec.Claim.Attempt
	}
	return []credential.Line{l}
}

func (a *account) events(t credential.EventType, after *credential.Account) []credential.Event {
	return []credential.Event{{ID: newID(), Type: t, Ref: a.ref, At: time.Now().UTC(), Reason: after.Reason, Generation: after.Generation, Integration: after.Integration}}
}
