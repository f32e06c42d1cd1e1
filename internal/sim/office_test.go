package sim

import (
	"context"
	"sync"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// officeTTL is how long access tokens of the fixed workload live.
const officeTTL = time.Minute

// The integrations of the fixed workload. The provider of asked does not tell
// for how long its tokens live, unless it is asked.
var (
	demo  = Integration{ID: "demo", Client: "demo-basic", Secret: "demo-basic-secret", Rotation: "rotating"}
	asked = Integration{ID: "asked", Client: "demo-post", Secret: "demo-post-secret", Rotation: "rotating", Introspect: true, AccessTTL: officeTTL}
)

// office is a small fixed workload: some accounts are imported, refreshed on
// demand and by schedule, one is revoked, one is disconnected, an answer is
// lost, and all come back.
type office struct {
	w      *World
	writes int64 // of the last process, when night fell

	plain, revoked, disconnected, unlucky, slow, bare, machine, key *Account
}

func openOffice(m MachineOptions) (*office, error) {
	m.Shards = 2
	w, err := NewWorld(strict.Options{AccessTTL: officeTTL}, m)
	if err != nil {
		return nil, err
	}
	// Requests take a moment, so that crashes fall into them.
	err = w.Provider.SetFaults(
		strict.Fault{Kind: strict.FaultLatency, Delay: 50 * time.Millisecond, Jitter: 400 * time.Millisecond, Seed: 1},
		strict.Fault{Kind: strict.FaultLatency, Delay: 300 * time.Millisecond, Endpoint: strict.EndpointIntrospect},
		strict.Fault{Kind: strict.FaultNoExpiresIn, Client: asked.Client},
	)
	if err != nil {
		return nil, err
	}
	o := &office{
		w: w, plain: w.NewAccount("plain", credential.KindOAuth2, demo), revoked: w.NewAccount("revoked", credential.KindOAuth2, demo),
		disconnected: w.NewAccount("disconnected", credential.KindOAuth2, demo), unlucky: w.NewAccount("unlucky", credential.KindOAuth2, demo),
		slow: w.NewAccount("slow", credential.KindOAuth2, asked), bare: w.NewAccount("bare", credential.KindOAuth2, demo),
		machine: w.NewAccount("machine", credential.KindClientCredentials, demo), key: w.NewAccount("key", credential.KindAPIKey, demo),
	}
	o.bare.Bare = true
	return o, nil
}

// together runs all at once and returns when the last has ended.
func together(fns ...func()) {
	var wg sync.WaitGroup
	for _, fn := range fns {
		wg.Go(fn)
	}
	wg.Wait()
}

// day is the workload, through whatever crashes come.
func (o *office) day(ctx context.Context) error {
	w := o.w
	for _, in := range []Integration{demo, asked} {
		if err := w.Insist(ctx, func(ctx context.Context) error { return w.Put(ctx, in) }); err != nil {
			return err
		}
	}
	insist := func(fn func(context.Context) error) func() { return func() { _ = w.Insist(ctx, fn) } }
	ask := func(a *Account, minTTL time.Duration) func() { return func() { _, _ = a.Token(ctx, minTTL) } }
	refresh := func(a *Account) func() { return func() { _ = a.Refresh(ctx, nil) } }
	read := func(a *Account) func() { return func() { _ = a.Read(ctx) } }

	together(insist(o.plain.Import), insist(o.unlucky.Import), insist(o.machine.Import))
	together(insist(o.revoked.Import), insist(o.disconnected.Import), insist(o.slow.Import), insist(o.bare.Import), insist(o.key.Import))
	o.losesAnswer(o.unlucky)
	together(refresh(o.plain), refresh(o.plain), refresh(o.plain), refresh(o.disconnected), refresh(o.unlucky), ask(o.machine, 0), ask(o.key, 0))
	together(read(o.plain), read(o.revoked), ask(o.plain, 0), ask(o.disconnected, 0), refresh(o.slow))
	_ = w.Provider.Revoke(o.revoked.grant())
	time.Sleep(officeTTL * 7 / 6) // all are refreshed by schedule
	together(ask(o.plain, 10*time.Second), ask(o.revoked, 0), ask(o.machine, 0), read(o.revoked), ask(o.unlucky, 0), ask(o.bare, 0))
	together(insist(o.revoked.Import), insist(o.disconnected.Disconnect), refresh(o.plain))
	together(ask(o.disconnected, 0), read(o.disconnected), ask(o.revoked, 0), insist(o.unlucky.Import))
	together(insist(o.disconnected.Import), refresh(o.revoked), ask(o.key, 0), insist(o.slow.Import), refresh(o.slow))
	time.Sleep(officeTTL * 7 / 6)
	for _, a := range w.all() {
		ask(a, 0)()
	}
	return ctx.Err()
}

// losesAnswer has the next answer about the account's grant dropped, after the
// token was rotated.
func (o *office) losesAnswer(a *Account) {
	if _, err := o.w.Provider.AddFault(strict.Fault{Kind: strict.FaultDropAnswer, Grant: a.grant(), Count: 1}); err != nil {
		panic(err)
	}
}

// night lets time pass until whatever is under way has ended, and looks.
func (o *office) night(ctx context.Context) error {
	o.writes = o.w.Calm()
	time.Sleep(5 * time.Minute)
	for {
		err := o.w.Look(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Second)
	}
}
