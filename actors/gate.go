package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/grantd/grantd/credential"
)

// gate is the actor in front of one shard's accounts, spawned at start and
// never stopped. It alone spawns and passivates account actors, so that an
// account has at most one, and no message is lost between two of them. While
// the shard is owned elsewhere it refuses everything.
//
// A gate never blocks: it does no I/O and waits for nobody.
type gate struct {
	shard *shard
	term  uint64 // 0: not the owner
	kids  map[credential.Ref]*child
	byPID map[string]credential.Ref
	// yielded is closed when the last child of a lost term is gone.
	yielded []chan struct{}
}

// child is an account's actor as the gate knows it. While it is stopping, its
// messages wait for its successor.
type child struct {
	pid      *actor.PID
	account  *account
	stopping bool
	waiting  []message
}

// Messages of the system to a gate.
type (
	gateLead  struct{ term uint64 }
	gateYield struct{ done chan struct{} }
	// gateSweep passivates actors that had nothing to do since before.
	gateSweep struct{ before time.Time }
)

func newGate(s *shard) *gate {
	return &gate{shard: s, kids: make(map[credential.Ref]*child), byPID: make(map[string]credential.Ref)}
}

// Receive is the actor's loop.
func (g *gate) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case message:
		g.route(ctx, m)
	case gateLead:
		g.term = m.term
	case gateYield:
		g.term = 0
		g.yielded = append(g.yielded, m.done)
		for _, c := range g.kids {
			g.stop(ctx, c)
		}
		g.tellYielded()
	case gateSweep:
		for _, c := range g.kids {
			if !c.stopping && c.account.idleSince(m.before) {
				g.stop(ctx, c)
			}
		}
	case *actor.Terminated:
		g.terminated(ctx, m.Who)
	}
}

func (g *gate) route(ctx actor.Context, m message) {
	ref := m.account()
	c := g.kids[ref]
	switch {
	case g.term == 0:
		m.refuse(credential.ErrNotOwner)
	case c == nil:
		g.spawn(ctx, ref).send(ctx, m)
	case c.stopping:
		c.waiting = append(c.waiting, m) // bounded by Policy.MaxWaiting, in front of the gates
	default:
		c.send(ctx, m)
	}
}

func (c *child) send(ctx actor.Context, m message) {
	c.account.pending.Add(1)
	ctx.Send(c.pid, m)
}

func (g *gate) spawn(ctx actor.Context, ref credential.Ref) *child {
	g.makeRoom(ctx)
	a := newAccount(g.shard, ref, g.term)
	stop := actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })
	props := actor.PropsFromProducer(func() actor.Actor { return a }, actor.WithSupervisor(stop), actor.WithDispatcher(&g.shard.sys.crew))
	c := &child{pid: ctx.Spawn(props), account: a}
	g.kids[ref], g.byPID[c.pid.Id] = c, ref
	g.shard.sys.counters.Actors.Add(1)
	return c
}

// evictLooks is how many children are looked at to make room for one.
const evictLooks = 8

// makeRoom stops a few actors that have nothing to do right now, when there are
// too many of them: an import of a million accounts must not leave a million
// actors behind until they are swept.
func (g *gate) makeRoom(ctx actor.Context) {
	sys := g.shard.sys
	if sys.counters.Actors.Load() < int64(sys.policy.MaxActors) {
		return
	}
	looks, now := 0, time.Now()
	for _, c := range g.kids { // in random order
		if !c.stopping && c.account.idleSince(now) {
			g.stop(ctx, c)
		}
		if looks++; looks == evictLooks {
			return
		}
	}
}

// stop poisons the child: it works off its mailbox first. From here on nothing
// is sent to it, for a stopped actor drops messages silently.
func (g *gate) stop(ctx actor.Context, c *child) {
	if !c.stopping {
		c.stopping = true
		ctx.Poison(c.pid)
	}
}

func (g *gate) terminated(ctx actor.Context, who *actor.PID) {
	ref, ok := g.byPID[who.Id]
	if !ok {
		return
	}
	c := g.kids[ref]
	delete(g.byPID, who.Id)
	delete(g.kids, ref)
	g.shard.sys.counters.Actors.Add(-1)
	for _, m := range c.waiting {
		g.route(ctx, m)
	}
	g.tellYielded()
}

func (g *gate) tellYielded() {
	if g.term != 0 || len(g.kids) > 0 {
		return
	}
	for _, done := range g.yielded {
		close(done)
	}
	g.yielded = nil
}
