package actors

import (
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/grantd/grantd/credential"
)

// account is the actor of one account. Its fields are touched by its own
// mailbox only, but for the atomics that the gate reads.
type account struct {
	shard *shard
	ref   credential.Ref
	term  uint64 // in which the gate spawned it

	loaded bool
	exists bool
	rec    credential.Account
	rev    uint64
	// claimEnds is when the request of claimOf has surely ended, by this
	// process's monotonic clock. claimOf is the attempt of the record's claim.
	claimEnds time.Time
	claimOf   string
	inquiry   *inquiry // what the claim's node is asked for; nil: nothing
	// unsettled: a write may yet take effect behind this actor's back. Until
	// that is ruled out nothing is published and the record is read anew for
	// each message.
	unsettled bool
	job       *job
	waiters   []waiter
	handouts  map[credential.Handout]struct{} // that stand in the history; at most maxHandouts

	view view
	// busy and pending keep the gate from passivating: work of the actor's own,
	// and messages that the gate has sent and that are not handled yet.
	busy    atomic.Bool
	pending atomic.Int64
}

func newAccount(s *shard, ref credential.Ref, term uint64) *account {
	a := &account{shard: s, ref: ref, term: term}
	a.view.used.Store(time.Now().Unix())
	return a
}

// idleSince reports whether the actor had nothing to do since then. The gate
// calls it.
func (a *account) idleSince(t time.Time) bool {
	return a.pending.Load() == 0 && !a.busy.Load() && a.view.used.Load() < t.Unix()
}

func (a *account) policy() *Policy { return &a.shard.sys.policy }

// Receive is the actor's loop. A panic is answered as an error to the caller
// of the message, and to those who wait for a refresh that it ended, and the
// state is read anew from the store.
func (a *account) Receive(ctx actor.Context) {
	switch ctx.Message().(type) {
	case *actor.Started, *actor.Stopping, *actor.Restarting:
		return
	case *actor.Stopped:
		a.shard.sys.snapshots.withdraw(a.ref)
		a.failWaiters(credential.ErrNotOwner)
		return
	}
	m, ok := ctx.Message().(message)
	if !ok {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			a.shard.sys.log.Error("account actor panicked", "account", a.ref.String(), "stack", string(debug.Stack()))
			a.shard.sys.counters.Panics.Add(1)
			a.loaded = false
			a.refuse(m, errPanicked)
		}
		a.view.used.Store(time.Now().Unix())
		a.busy.Store(a.job != nil || len(a.waiters) > 0 || a.rec.Claim != nil || a.unsettled)
		a.pending.Add(-1)
	}()
	a.handle(m)
}

var errPanicked = errors.New("the account's actor failed; see the log")

// refuse ends a message that could not be handled, and the refresh that was in
// hand with it: its claim is found again with the record.
func (a *account) refuse(m message, err error) {
	m.refuse(err)
	a.inquiry = nil
	if j := a.job; j != nil && !j.away {
		j.leave(a.shard.sys, unused, 0)
		j.end(a.shard.sys)
		a.job = nil
		if j.scheduled {
			a.shard.sched.finished(a.ref)
		}
	}
	if a.job == nil {
		a.failWaiters(err)
	}
}

func (a *account) handle(m message) {
	if c, ok := m.(carrier); ok {
		c.carried().away = false
	}
	if err := a.ensure(); err != nil {
		a.refuse(m, err)
		return
	}
	switch m := m.(type) {
	case getToken:
		a.getToken(m)
	case refreshNow:
		a.refreshNow(m)
	case importCredentials:
		a.importCredentials(m)
	case disconnect:
		a.disconnect(m)
	case wake:
	case due:
		a.due()
	case admitted:
		if a.job != m.job { // of an actor before this one
			m.gone()
			return
		}
		a.admitted(m.job)
	case answered:
		a.answered(m)
	case settleAgain:
		a.settle(m.job)
	case told:
		a.told(m)
	case inquireAgain:
		a.inquireAgain(m)
	case offered:
		a.offered(m)
	case handedOut:
		a.handedOut(m)
	case revocationOver:
		a.revocationOver(m)
	}
}

// answered takes the provider's answer to this actor's job, or to that of an
// actor before it.
func (a *account) answered(m answered) {
	m.job.done, m.job.grant = &m.answer, m.grant
	a.settle(m.job)
}
