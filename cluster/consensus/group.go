package consensus

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// MetaGroup is the group that holds all that is not an account.
const MetaGroup uint16 = 0xFFFF

// Group is this node's replica of one raft group. All methods are safe for
// concurrent use. Once the group is closed, nothing is taken any more.
type Group struct {
	id      uint16
	node    string // this node's name
	raft    *raft.Raft
	state   *storage.Group
	machine *machine
	snaps   *snapshots
	ledger  *ledger
	lease   *lease
	calls   gate // callers of Propose and of changes
	work    gate // what callers have left running
	store   gate // raft's use of the database
	queue   chan *proposal
	urgent  chan *proposal // barriers, which pass while the queue is held up
	holds   chan bool      // to submit: hold up the queue, or let it go on
	changes chan struct{}  // capacity 1: full while members or leadership are changed
	spurned spurned        // who did not take the leadership over
	members *bell          // rings when the configuration has changed
	notify  chan bool      // from raft: leadership gained or lost
	feed    *feed
	stop    chan struct{}  // closed when raft has stopped
	done    sync.WaitGroup // the goroutines that stop ends

	quit    sync.Once     // shuts raft down
	halt    sync.Once     // closes stop
	stopped chan struct{} // closed when raft's goroutines are gone
	stopErr error         // of raft's end; read it after stopped
}

// newGroup returns a group whose raft is yet to be started.
func newGroup(id uint16, h *Host) *Group {
	g := &Group{
		id: id, node: h.cfg.Node, state: h.cfg.DB.Group(id), ledger: newLedger(h.boot), lease: newLease(h.cfg.Node, h.cfg.Timing), feed: h.feed, members: new(bell),
		queue: make(chan *proposal, queueLen), urgent: make(chan *proposal), holds: make(chan bool),
		changes: make(chan struct{}, 1), notify: make(chan bool), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	changed := new(atomic.Pointer[func(keys [][]byte)])
	if id == MetaGroup {
		changed = &h.metaChanged // KV.OnChange outlives the group
	}
	g.machine = &machine{state: g.state, db: h.cfg.DB, ledger: g.ledger, changed: changed, members: g.members, grown: &h.grown[h.bellOf(id)]}
	g.snaps = &snapshots{state: g.state, spool: h.spool, gate: &g.store}
	return g
}

// ID returns the group's number.
func (g *Group) ID() uint16 { return g.id }

// State returns the group's keys as this node has applied them. On a leader
// they are complete; elsewhere they lag behind.
func (g *Group) State() *storage.Group { return g.state }

// IsLeader returns the term in which this node leads the group. ok is true from
// the moment that the state is complete until raft has stepped down, which it
// does late where the process stood still: see [Group.Holds].
func (g *Group) IsLeader() (term uint64, ok bool) {
	term = g.ledger.leading()
	return term, term != 0
}

// Holds reports, at once, whether surely no other node leads the group at now,
// while this one does in term. False says nothing: [Group.Prove] can tell.
func (g *Group) Holds(term uint64, now time.Time) bool {
	return term != 0 && (g.lease.holds(term, now) || g.lease.alone(term, now, g.voters))
}

// Prove returns nil if this node led the group, in term, after the call, and
// everything that was committed before the call is applied here. Errors:
//
//   - credential.ErrNotOwner: it does not lead any more, or in a later term.
//   - credential.ErrNoQuorum: ctx ended first.
func (g *Group) Prove(ctx context.Context, term uint64) error {
	switch err := g.Barrier(ctx); {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%w: group %d: %w", credential.ErrNoQuorum, g.id, context.Cause(ctx))
	case err != nil: // of whatever kind: the barrier itself changes nothing
		return fmt.Errorf("%w: group %d could not prove that it leads", credential.ErrNotOwner, g.id)
	}
	if now, _ := g.IsLeader(); now != term {
		return fmt.Errorf("%w: term %d of group %d is over", credential.ErrNotOwner, term, g.id)
	}
	return nil
}

// voters returns the newest voters that raft knows of, committed or not.
func (g *Group) voters() []string {
	f := g.raft.GetConfiguration()
	if f.Error() != nil { // it answers from memory, at once
		return nil
	}
	return membersOf(0, f.Configuration()).Voters
}

// Leader returns the node that leads the group as far as this one knows, and
// the newest term that it has seen. node is empty where none is known.
func (g *Group) Leader() (node string, term uint64) {
	_, id := g.raft.LeaderWithID()
	return string(id), g.raft.CurrentTerm()
}

// Progress returns the newest entry whose effects this node's state shows, and
// the newest entry of its log. A replica lags behind by what its applied index
// lacks to the leader's last one.
func (g *Group) Progress() (applied, last uint64) {
	a, err := g.state.Applied() // raft has read it already, so that it is in memory
	if err != nil {
		return 0, g.raft.LastIndex()
	}
	return a.Index, g.raft.LastIndex()
}

// Propose has batch, as package storage encodes it, applied by all replicas. It
// returns when this node has applied it, or ctx ends. The slice must not be
// changed afterwards. Errors:
//
//   - nil: committed and applied here; Result.Index is the revision of the keys
//     that the batch has put.
//   - credential.ErrConflict: a check of the batch did not hold; nothing changed.
//   - credential.ErrNotOwner: this node does not lead; nothing was proposed.
//   - credential.ErrNoQuorum: ctx ended while the batch still waited for its
//     turn; nothing was proposed.
//   - credential.ErrUnknownOutcome: ctx ended, or leadership was lost, while the
//     batch was under way. It may be committed, or be committed later. A
//     Barrier that succeeds on this node afterwards settles it, because batches
//     keep their order: what is read then is final.
func (g *Group) Propose(ctx context.Context, batch []byte) (storage.Result, error) {
	if len(batch) == 0 {
		return storage.Result{}, fmt.Errorf("%w: empty batch proposed to group %d", credential.ErrInvalid, g.id)
	}
	return g.propose(ctx, batch)
}

// Barrier returns when everything that was committed before the call is
// applied on this node. It commits an empty entry, so its errors are those of
// [Group.Propose].
func (g *Group) Barrier(ctx context.Context) error {
	_, err := g.propose(ctx, nil)
	return err
}

func (g *Group) propose(ctx context.Context, batch []byte) (storage.Result, error) {
	if !g.calls.enter() {
		return storage.Result{}, fmt.Errorf("%w: group %d is closed", credential.ErrNotOwner, g.id)
	}
	defer g.calls.leave()
	p, err := g.ledger.add(batch)
	if err != nil {
		return storage.Result{}, err
	}
	select {
	case g.queue <- p:
	case o := <-p.done: // leadership ended first
		return o.result, o.err
	case <-ctx.Done():
		return g.abandon(ctx, p)
	}
	select {
	case o := <-p.done:
		return o.result, o.err
	case <-ctx.Done():
		return g.abandon(ctx, p)
	}
}

// abandon ends a proposal whose time is over.
func (g *Group) abandon(ctx context.Context, p *proposal) (storage.Result, error) {
	g.ledger.forget(p)
	if p.drop() {
		return storage.Result{}, fmt.Errorf("%w: group %d took no batch in time: %w", credential.ErrNoQuorum, g.id, context.Cause(ctx))
	}
	select {
	case o := <-p.done: // answered at the last moment
		return o.result, o.err
	default:
	}
	return storage.Result{}, fmt.Errorf("%w: group %d: %w", credential.ErrUnknownOutcome, g.id, context.Cause(ctx))
}

// OnApply has fn called, before the proposer gets its answer, with the keys
// that applied entries have written; nil: any key may have changed. fn runs in
// the group's one applying goroutine: it must not block or call Propose. Only
// the newest fn is called.
func (g *Group) OnApply(fn func(keys [][]byte)) { g.machine.changed.Store(&fn) }

// submit hands queued proposals to raft, in order, until the group is stopped.
// It is the only caller of raft's Apply: that call can wait for raft's loop, and
// nothing but raft's shutdown ends it.
func (g *Group) submit() {
	held := false
	for {
		queue := g.queue
		if held {
			queue = nil
		}
		select {
		case p := <-queue:
			if p.send() {
				g.raft.ApplyLog(raft.Log{Data: p.batch, Extensions: p.tag[:]}, 0)
			}
		case p := <-g.urgent:
			p.send() // not for the first time, maybe
			g.raft.ApplyLog(raft.Log{Extensions: p.tag[:]}, 0)
		case held = <-g.holds:
		case <-g.stop:
			return
		}
	}
}

// watch follows raft's word on leadership until the group is stopped. Raft
// waits for it to listen, so that a loss is known here before raft goes on. A
// gain is told only once an empty entry of the new term was applied: then the
// state holds all that earlier leaders have committed.
func (g *Group) watch() {
	var reached chan outcome
	for {
		select {
		case leading := <-g.notify:
			g.lost() // ends the barrier of a leadership before, too
			reached = nil
			if leading {
				barrier, answer := g.ledger.addBarrier(), make(chan outcome, 1)
				g.done.Go(func() { answer <- g.settle(context.Background(), barrier, nil) })
				reached = answer
			}
		case o := <-reached:
			reached = nil
			if o.err == nil {
				g.ledger.gain(o.term)
				g.lease.begin(o.term, g.voters)
				g.feed.put(LeaderChange{Group: g.id, Leading: true, Term: o.term})
			}
		case <-g.stop:
			return
		}
	}
}

// A barrier is proposed again after barrierPause, then after twice as long, up
// to barrierPauseMax.
const (
	barrierPause    = 10 * time.Millisecond
	barrierPauseMax = 500 * time.Millisecond
)

// settle has a barrier applied here, which shows that raft takes proposals and
// that all earlier ones have ended. It proposes it again and again, for raft
// drops without a word what comes while it moves its leadership, and may do so
// for a while after an attempt has failed. It ends with the leadership in which
// the barrier was entered, with over, with the context or with the group.
func (g *Group) settle(ctx context.Context, barrier *proposal, over <-chan struct{}) outcome {
	defer g.ledger.forget(barrier)
	pause := barrierPause
	again := time.NewTimer(pause)
	defer again.Stop()
	urgent := g.urgent
	for {
		select {
		case urgent <- barrier:
			urgent = nil
			again.Reset(pause)
			pause = min(2*pause, barrierPauseMax)
		case <-again.C:
			urgent = g.urgent
		case o := <-barrier.done:
			return o
		case <-over:
			return outcome{err: credential.ErrNotOwner}
		case <-ctx.Done():
			return outcome{err: fmt.Errorf("%w: group %d: %w", credential.ErrNoQuorum, g.id, context.Cause(ctx))}
		case <-g.stop:
			return outcome{err: credential.ErrNotOwner}
		}
	}
}

// lost ends the leadership, if there was one, and everything under way in it.
func (g *Group) lost() {
	g.lease.end()
	if term := g.ledger.lose(); term != 0 {
		g.feed.put(LeaderChange{Group: g.id, Term: term})
	}
}

// campaign has a group whose only voter is this node elect it now rather than
// after its heartbeat time-out, by which followers wait for a leader that cannot
// exist. Raft offers this through its configuration: shortening the time-out
// makes a follower look at once.
func (g *Group) campaign(heartbeat time.Duration) error {
	c := g.raft.ReloadableConfig()
	c.HeartbeatTimeout = heartbeat
	if err := g.raft.ReloadConfig(c); err != nil {
		return fmt.Errorf("group %d: %w", g.id, err)
	}
	return nil
}
