package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/internal/node"
	"github.com/grantd/grantd/registry"
)

// World is a provider, a machine that runs the node, or several that run a
// cluster, and the accounts of customers. Its methods may be called
// concurrently, but all in one bubble.
type World struct {
	Provider *strict.Provider
	Machine  *Machine // the first of them
	Machines []*Machine
	Network  *Network // between them; nil: there is one
	clock    *atomic.Int64
	wire     *wire
	log      *logbook

	mu       sync.Mutex
	accounts []*Account
	secrets  map[string]credential.Secret // of integrations, as last acknowledged
	problems []string                     // seen on the way
	quiet    time.Time                    // since when nothing goes wrong any more
	final    map[credential.Ref]Final
}

// Integration is an OAuth client registration of a world, and the provider's
// client that it stands for.
type Integration struct {
	ID, Client string
	Secret     string
	Rotation   string // the catalogue's word
	Grace      time.Duration
	AccessTTL  time.Duration // as the catalogue knows it; 0: it does not
	Introspect bool          // the provider can be asked about tokens
}

// NewWorld makes a world with one node; Close it.
func NewWorld(p strict.Options, m MachineOptions) (*World, error) {
	w, kek, err := newWorld(p, m)
	if err != nil {
		return nil, err
	}
	w.Machines = []*Machine{newMachine(m, kek, w.wire, w.log)}
	w.start()
	return w, nil
}

// newWorld makes a world without machines. m is what they have in common.
func newWorld(p strict.Options, m MachineOptions) (*World, *envelope.KEK, error) {
	provider, err := strict.New(p)
	if err != nil {
		return nil, nil, err
	}
	kek, err := newKEK()
	if err != nil {
		return nil, nil, err
	}
	w := &World{Provider: provider, clock: &atomic.Int64{}, log: newLogbook(), secrets: make(map[string]credential.Secret), final: make(map[credential.Ref]Final)}
	w.wire = &wire{provider: provider, rt: provider.RoundTripper(), clock: w.clock, twice: m.Mutation.Twice, delay: m.Mutation.Late}
	if m.Mutation.Hasty {
		w.wire.hasty = w.tellHastily
	}
	return w, kek, nil
}

// tellHastily has a caller told the token of an answer that has just come in.
func (w *World) tellHastily(x Exchange) {
	for _, a := range w.all() {
		if a.grant() == x.Grant {
			now := time.Now()
			a.tell(Told{Began: w.clock.Add(1), From: now, Generation: a.newest() + 1, Token: x.Access}, nil)
		}
	}
}

// start switches the machines on.
func (w *World) start() {
	w.Machine = w.Machines[0]
	for i, m := range w.Machines {
		if m.fleet == nil || i < m.fleet.size {
			m.SwitchOn()
		}
		go m.run()
	}
}

// do calls fn with some node that serves; see Machine.Do.
func (w *World) do(ctx context.Context, fn func(context.Context, *node.Core) error) (counts bool, err error) {
	var at *Machine
	for _, i := range rand.Perm(len(w.Machines)) {
		m := w.Machines[i]
		if m.serves() {
			return m.Do(ctx, fn)
		}
		if at == nil && m.runs() {
			at = m
		}
	}
	if at == nil {
		return false, errOff
	}
	return at.Do(ctx, fn)
}

// Log returns what happened, for the report of a failure.
func (w *World) Log() string { return w.log.String() }

// Note adds a line to the log.
func (w *World) Note(format string, args ...any) { w.log.note(format, args...) }

func (w *World) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.log.note("PROBLEM: %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, text)
}

func secret(s string) credential.Secret { return credential.NewSecret(s) }

const host = "https://idp.test"

// spec is the integration as an operator would write it.
func (in Integration) spec() registry.IntegrationSpec {
	text := func(s string) json.RawMessage { return json.RawMessage(strconv.Quote(s)) }
	overrides := map[string]json.RawMessage{"token_url": text(host + "/token"), "revocation_url": text(host + "/revoke"), "refresh_rotation": text(in.Rotation)}
	if in.Introspect {
		overrides["introspection_url"] = text(host + "/introspect")
	}
	if in.AccessTTL > 0 {
		overrides["access_token_lifetime_seconds"] = json.RawMessage(strconv.Itoa(int(in.AccessTTL.Seconds())))
	}
	if in.Grace > 0 {
		overrides["refresh_reuse_grace_seconds"] = json.RawMessage(strconv.Itoa(int(in.Grace.Seconds())))
	}
	return registry.IntegrationSpec{Provider: "custom", ClientID: in.Client, Overrides: overrides}
}

// patience is how long somebody waits before trying again what did not work.
const patience = 2 * time.Second

// Insist calls try until it returns nil, as a person does who has to get it done.
func (w *World) Insist(ctx context.Context, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if err == nil || errors.Is(err, errFailed) || ctx.Err() != nil {
			return err
		}
		if !pause(ctx, patience) {
			return ctx.Err()
		}
	}
}

// pause sleeps; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Put makes or replaces an integration, once.
func (w *World) Put(ctx context.Context, in Integration) error {
	counts, err := w.do(ctx, func(ctx context.Context, c *node.Core) error {
		_, _, err := c.Registry.PutIntegration(ctx, in.ID, in.spec(), secret(in.Secret))
		return err
	})
	if err == nil && !counts {
		err = errUntold
	}
	if err == nil {
		w.mu.Lock()
		w.secrets[in.ID] = secret(in.Secret)
		w.mu.Unlock()
	}
	return err
}

// errUntold: the process died before it could tell what became of a request.
var errUntold = errors.New("sim: the process died before it answered")

// Final is what an account is like for a caller at the end of a run.
type Final struct {
	Generation uint64
	Token      string
	Live       bool // the provider accepts it
	Err        error
}

// Calm ends the mishaps of the machine. From now on nothing must go wrong; the
// faults of the provider are for the caller to end. It returns how many writes
// the disk of the present process has seen.
func (w *World) Calm() (writes int64) {
	w.mu.Lock()
	w.quiet = time.Now()
	w.mu.Unlock()
	if w.Network != nil {
		w.Network.Mend()
	}
	for _, m := range w.Machines {
		writes = m.calmDown()
	}
	return writes
}

// Look notes, for all accounts, what they are like in the end. Call it when the
// faults are over and time has passed.
func (w *World) Look(ctx context.Context) error {
	for _, a := range w.all() {
		tok, err := a.Token(ctx, 0)
		if errors.Is(err, errUntold) || errors.Is(err, errFailed) {
			return err
		}
		f := Final{Generation: tok.Generation, Err: err}
		if err == nil {
			f.Token, f.Live = strict.TokenHash(tok.Secret.Reveal()), w.Provider.TokenLive(tok.Secret) || !a.Kind.Refreshes()
		}
		w.mu.Lock()
		w.final[a.Ref] = f
		w.mu.Unlock()
	}
	_, err := w.do(ctx, func(ctx context.Context, c *node.Core) error {
		w.lookAtIntegrations(ctx, c)
		return nil
	})
	return err
}

func (w *World) lookAtIntegrations(ctx context.Context, c *node.Core) {
	w.mu.Lock()
	secrets := w.secrets
	w.mu.Unlock()
	for id, want := range secrets {
		in, ok := c.Registry.Integration(id)
		if !ok {
			w.problem("integration %s was acknowledged and is gone", id)
			continue
		}
		if got, err := c.Registry.ClientSecret(ctx, in); err != nil || !got.Equal(want) {
			w.problem("the client secret of integration %s is not the one that was acknowledged (%v)", id, err)
		}
		if in.Broken {
			w.problem("integration %s is still marked broken (%s)", id, in.Reason)
		}
	}
}

func (w *World) all() []*Account {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.accounts)
}

// Close switches everything off and returns what there is to judge by. The
// error says why there is nothing.
func (w *World) Close() (*Evidence, error) {
	var err error
	var ends []ProcessEnd
	gone := make(map[int]time.Time)
	for _, m := range w.Machines {
		err = errors.Join(err, m.Close())
		ends = append(ends, m.ends...)
		if m.retired() {
			gone[m.number] = m.left
		}
		if m.refused != nil && !m.dismissed {
			w.problem("%s was not dismissed, and cannot go on: %v", m.name(), m.refused)
		}
	}
	if w.Network != nil {
		time.Sleep(dyingTime)
	}
	w.Provider.Close()
	e := &Evidence{
		Exchanges: w.wire.exchanges(), Violations: w.Provider.Judge(), Requests: w.Provider.Record(),
		Processes: ends, Seen: w.problems, Quiet: w.quiet, Gone: gone,
	}
	if w.Network != nil {
		e.Lag, e.Troubles = lag, w.troubles()
	}
	for _, path := range w.wire.late {
		e.Seen = append(e.Seen, "a process that had stopped sent a request to "+path)
	}
	if err != nil {
		return e, err
	}
	return e, w.collect(e)
}
