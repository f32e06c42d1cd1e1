package actors

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/grantd/grantd/credential"
)

// Config is what a System is made of. All fields but TellsRefreshes, Peers
// and Failpoint are required.
type Config struct {
	Node   string // this node's name
	Boot   string // unique to this start of the process
	Stores []Store
	// ShardOf says which of the Stores holds an account.
	ShardOf      func(credential.Ref) int
	Sealer       Sealer
	Provider     Provider
	Integrations Integrations
	Journal      Journal
	// TellsRefreshes reports whether somebody wants an event for each refresh of an
	// account. It does not block. nil: nobody does.
	TellsRefreshes func(ref credential.Ref, integration string) bool
	// Peers are the other nodes; nil: this one is alone.
	Peers  Peers
	Policy Policy
	Logger *slog.Logger
	// Failpoint, where set, is called at the points of a refresh that fault
	// tests interrupt.
	Failpoint func(Point)
}

// Point names an instant of a refresh.
type Point string

// The points, in the order in which a refresh passes them.
const (
	PointBeforeClaim Point = "before_claim"
	PointClaimed     Point = "claimed"
	PointSending     Point = "sending"
	PointAnswered    Point = "answered"
	PointSettling    Point = "settling"
	PointSettled     Point = "settled"
)

// Points are all points, in order.
func Points() []Point {
	return []Point{PointBeforeClaim, PointClaimed, PointSending, PointAnswered, PointSettling, PointSettled}
}

// System is the account actors of one node: a gate and a scheduler for each
// shard, and what they share. Its methods may be called concurrently.
type System struct {
	node, boot   string
	shards       []*shard
	shardOf      func(credential.Ref) int
	sealer       Sealer
	provider     Provider
	integrations Integrations
	tells        func(ref credential.Ref, integration string) bool
	journal      Journal
	policy       Policy
	log          *slog.Logger
	hook         func(Point)

	actors    *actor.ActorSystem
	lanes     *lanes
	snapshots snapshots
	counters  Counters
	jobs      tracker
	attempts  attempts
	peers     Peers
	asking    chan struct{} // has a value for each word of a peer that is waited for
	pusher    *pusher

	ctx    context.Context // ends when the system is stopped for good
	cancel context.CancelFunc
	calls  sync.WaitGroup // calls to providers and to integrations
	crew   crew           // runs the account actors and the calls
}

// shard is one shard's part of the system.
type shard struct {
	id    int
	sys   *System
	store Store
	gate  *actor.PID
	sched *scheduler
	// revoker ends grants of disconnected accounts at their providers.
	revoker *revoker

	// term is in which the shard is owned here, for readers past the gate; 0: it
	// is not.
	term  atomic.Uint64
	proof proof
}

// owned reports whether the shard is owned here, as far as this node knows.
func (sh *shard) owned() bool { return sh.term.Load() != 0 }

// New makes the actors of a node. It owns no shard until Lead is called.
func New(c Config) (*System, error) {
	if err := c.Policy.Validate(); err != nil {
		return nil, err
	}
	s := &System{
		node: c.Node, boot: c.Boot, shardOf: c.ShardOf, sealer: c.Sealer, provider: c.Provider,
		integrations: c.Integrations, tells: c.TellsRefreshes, journal: c.Journal, policy: c.Policy.WithDefaults(), log: c.Logger, hook: c.Failpoint,
	}
	s.peers, s.asking = c.Peers, make(chan struct{}, maxAsking)
	s.lanes = newLanes(s.policy)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	// The library logs undeliverable messages whole, secrets and all.
	s.actors = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	for i, store := range c.Stores {
		sh := &shard{id: i, sys: s, store: store}
		sh.sched, sh.revoker = newScheduler(sh), newRevoker(sh)
		gate, err := s.actors.Root.SpawnNamed(actor.PropsFromProducer(func() actor.Actor { return newGate(sh) }), fmt.Sprintf("shard-%d", i))
		if err != nil {
			return nil, fmt.Errorf("gate of shard %d: %w", i, err)
		}
		sh.gate = gate
		s.shards = append(s.shards, sh)
	}
	s.pusher = newPusher(s)
	s.calls.Go(s.pusher.run)
	return s, nil
}

// Lead takes a shard over: this node leads it in this term, and the store is
// complete. Lead and Yield of one shard are called by one goroutine at a time,
// and Stop when none of them is under way.
func (s *System) Lead(shard int, term uint64) {
	s.Yield(shard)
	sh := s.shards[shard]
	sh.tellGate(gateLead{term})
	sh.term.Store(term)
	sh.sched.start()
	sh.revoker.start()
	s.pusher.moved(shard)
}

// Yield gives a shard up, if it is owned here. It returns when no actor of it
// is left.
func (s *System) Yield(shard int) {
	sh := s.shards[shard]
	if sh.term.Swap(0) == 0 {
		return
	}
	sh.sched.close()
	sh.revoker.close()
	done := make(chan struct{})
	sh.tellGate(gateYield{done})
	<-done
	s.pusher.moved(shard)
}

// Resume says that an integration was written. Unless it is marked broken, what
// was held against it is forgotten, and refreshes that waited for it are looked
// for at once.
func (s *System) Resume(integration string) {
	if in, ok := s.integrations.Lookup(integration); ok && in.Broken {
		return
	}
	s.lanes.reset(integration)
	for _, sh := range s.shards {
		sh.sched.rescan()
	}
}

// Stop ends the system: no new refresh begins, those under way are finished
// until ctx ends, then all shards are yielded and what is left is cut off.
func (s *System) Stop(ctx context.Context) {
	for _, sh := range s.shards {
		sh.sched.close()
		sh.revoker.close()
	}
	if err := s.jobs.drain(ctx); err != nil {
		s.log.Warn("stopping with refreshes under way; their outcome is decided after the next start", "count", s.jobs.count())
	}
	s.pusher.last(ctx)
	s.cancel()
	for i := range s.shards {
		s.Yield(i)
	}
	s.calls.Wait()
	s.lanes.close()
	for _, sh := range s.shards {
		_ = s.actors.Root.StopFuture(sh.gate).Wait()
	}
	s.actors.Shutdown()
	s.crew.close()
}

// Counters returns the live counters.
func (s *System) Counters() *Counters { return &s.counters }

// OpenCircuits counts the integrations whose provider is being left alone.
func (s *System) OpenCircuits() int { return s.lanes.open(time.Now()) }

func (s *System) of(ref credential.Ref) *shard { return s.shards[s.shardOf(ref)] }

func (sh *shard) send(m message) { sh.tellGate(m) }
func (sh *shard) tellGate(m any) { sh.sys.actors.Root.Send(sh.gate, m) }

// failpoint lets fault tests interrupt a refresh.
func (s *System) failpoint(p Point) {
	if s.hook != nil {
		s.hook(p)
	}
}

// call runs fn outside of the actors; Stop waits for it.
func (s *System) call(fn func()) {
	s.calls.Add(1)
	s.crew.do(func() {
		defer s.calls.Done()
		fn()
	})
}

// tell runs a notice to the integrations outside of the actors.
func (s *System) tell(fn func(context.Context) error) {
	s.call(func() {
		ctx, cancel := context.WithTimeout(s.ctx, s.policy.CommitTimeout)
		defer cancel()
		if err := fn(ctx); err != nil {
			s.log.Warn("integration could not be marked", "err", err)
		}
	})
}

// after runs fn later, if the system still runs then; fn must not block.
func (s *System) after(d time.Duration, fn func()) {
	time.AfterFunc(d, func() {
		if s.ctx.Err() == nil {
			fn()
		}
	})
}

// sleep waits, and reports whether the system still runs.
func (s *System) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// openToken makes what a caller is handed from the record.
func (s *System) openToken(ctx context.Context, rec *credential.Account) (credential.Token, error) {
	secret, err := s.sealer.Open(ctx, rec.AccessLabel(), rec.AccessToken)
	if err != nil {
		return credential.Token{}, err
	}
	return credential.Token{
		Kind: rec.Kind, Secret: secret, Username: rec.Username, TokenType: rec.TokenType,
		ExpiresAt: rec.ExpiresAt, Scopes: rec.Scopes, Generation: rec.Generation,
	}, nil
}

// newID is a random id of 128 bits.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
