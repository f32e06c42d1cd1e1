package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

// Config is what a Dispatcher is made of.
type Config struct {
	Registry Registry
	// Transport carries the messages. It is to refuse addresses that end points
	// must not reach.
	Transport http.RoundTripper
	// Explain puts an error of the Transport into words for whoever may read
	// deliveries; empty: it is one of net/http's. nil: there is no other.
	Explain func(error) string
	// Agent is the User-Agent of messages.
	Agent  string
	Policy Policy
	Logger *slog.Logger
}

// Counters count since the start.
type Counters struct {
	Delivered atomic.Int64 // deliveries that end points have taken
	Failed    atomic.Int64 // attempts that failed
	Parked    atomic.Int64 // deliveries given up until somebody replays them
	Replayed  atomic.Int64
	Dropped   atomic.Int64 // deliveries lost because there were too many open ones
	Missed    atomic.Int64 // events lost because the outbox dropped them unread
}

// Dispatcher delivers the events of the groups that this node owns. Methods may
// be called concurrently.
type Dispatcher struct {
	registry Registry
	sender   sender
	policy   Policy
	log      *slog.Logger
	permits  *permits
	counters Counters

	mu      sync.Mutex
	groups  map[uint16]*group
	stopped bool
}

// New returns a dispatcher that owns no group yet. Stop it.
func New(c Config) *Dispatcher {
	p := c.Policy.WithDefaults()
	explain := c.Explain
	if explain == nil {
		explain = func(error) string { return "" }
	}
	return &Dispatcher{
		registry: c.Registry, policy: p, log: c.Logger, permits: newPermits(p.Concurrency), groups: make(map[uint16]*group),
		sender: sender{transport: c.Transport, explain: explain, agent: c.Agent, timeout: p.Timeout},
	}
}

// Counters returns the live counters.
func (d *Dispatcher) Counters() *Counters { return &d.counters }

// Open returns how many deliveries of the groups owned here are pending and
// parked, and how many attempts are under way.
func (d *Dispatcher) Open() (pending, parked, underWay int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.groups {
		parkedHere := int(g.parked.Load())
		parked += parkedHere
		pending += int(g.open.Load()) - parkedHere
	}
	return pending, parked, d.permits.underWay()
}

// Lead begins to deliver the events of a group that this node owns from now on.
// What it did for the group before has ended when it returns. Calls for one
// group come one at a time.
func (d *Dispatcher) Lead(id uint16, store Store) {
	d.Yield(id)
	ctx, cancel := context.WithCancel(context.Background())
	g := newGroup(d, id, store, cancel)
	d.mu.Lock()
	if d.stopped {
		d.mu.Unlock()
		cancel()
		return
	}
	d.groups[id] = g
	d.mu.Unlock()
	go func() {
		defer close(g.ended)
		g.run(ctx)
		g.flights.Wait()
	}()
}

// Yield ends the work for a group, attempts under way included, and returns when
// it has ended.
func (d *Dispatcher) Yield(id uint16) {
	d.mu.Lock()
	g := d.groups[id]
	delete(d.groups, id)
	d.mu.Unlock()
	if g != nil {
		g.cancel()
		<-g.ended
	}
}

// Stop ends the work for all groups: nothing more is sent, and what is under way
// is waited for, and noted, until ctx ends. Groups that are led afterwards are
// left alone.
func (d *Dispatcher) Stop(ctx context.Context) {
	d.mu.Lock()
	d.stopped = true
	groups := d.groups
	d.groups = make(map[uint16]*group)
	d.mu.Unlock()
	for _, g := range groups {
		close(g.drain)
	}
	for _, g := range groups {
		select {
		case <-g.ended:
		case <-ctx.Done():
		}
		g.cancel()
		<-g.ended
	}
}

// Replay makes deliveries of a group once more. The error is
// credential.ErrNotOwner where this node does not own the group, and
// credential.ErrNotFound where there is nothing of the name.
func (d *Dispatcher) Replay(ctx context.Context, group uint16, r delivery.Replay) (delivery.Replayed, error) {
	if err := r.Validate(); err != nil {
		return delivery.Replayed{}, err
	}
	d.mu.Lock()
	g := d.groups[group]
	d.mu.Unlock()
	if g == nil {
		return delivery.Replayed{}, fmt.Errorf("%w: deliveries of group %d", credential.ErrNotOwner, group)
	}
	ask := &ask{ctx: ctx, replay: r, done: make(chan struct{})}
	select {
	case g.asks <- ask:
	case <-g.ended:
		return delivery.Replayed{}, fmt.Errorf("%w: deliveries of group %d", credential.ErrNotOwner, group)
	case <-ctx.Done():
		return delivery.Replayed{}, context.Cause(ctx)
	}
	<-ask.done
	return ask.replayed, ask.err
}

// Test sends a message of TypeTest to an end point, once, and tells what came of
// it. The error is credential.ErrNotFound where there is no such end point. It
// does not matter whether it is enabled.
func (d *Dispatcher) Test(ctx context.Context, id, messageID string) (Attempt, error) {
	e, ok := d.registry.Endpoint(id)
	if !ok {
		return Attempt{}, credential.ErrNotFound
	}
	now := time.Now().UTC()
	body, err := encode(&credential.Event{Type: TypeTest, At: now, Ref: credential.Ref{Tenant: e.Tenant}})
	if err != nil {
		return Attempt{}, err
	}
	secrets, err := d.registry.Secrets(ctx, e)
	if err != nil {
		return Attempt{}, err
	}
	a, ok := d.sender.send(ctx, e, secrets, message{messageID, now, body})
	if !ok {
		return a, context.Cause(ctx)
	}
	return a, nil
}

// attempt sends a delivery once; ok is false where ctx ended it.
func (d *Dispatcher) attempt(ctx context.Context, e *delivery.Endpoint, del *delivery.Delivery) (a Attempt, ok bool) {
	body, err := encode(&del.Event)
	if err != nil {
		return Attempt{Error: "the event cannot be written as JSON"}, true
	}
	secrets, err := d.registry.Secrets(ctx, e)
	if err != nil {
		if ctx.Err() != nil {
			return a, false
		}
		d.log.Error("signing secret of a webhook does not open", "webhook", e.ID, "err", err)
		return Attempt{Error: "the signing secret does not open"}, true
	}
	return d.sender.send(ctx, e, secrets, message{del.Event.ID, time.Now(), body})
}

// disable acts on an end point that says that it is gone.
func (d *Dispatcher) disable(ctx context.Context, e *delivery.Endpoint) {
	const reason = "it answered 410 Gone"
	if err := d.registry.Disable(ctx, e, reason); err != nil && !errors.Is(err, context.Canceled) {
		d.log.Error("webhook that is gone could not be disabled; it is tried again with the next delivery", "webhook", e.ID, "err", err)
		return
	}
	d.log.Warn("webhook disabled", "webhook", e.ID, "reason", reason)
}

func draw() float64 { return rand.Float64() }
