package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// town is a random workload in a world where everything goes wrong, drawn from
// a seed. It does not repeat exactly: select, maps and goroutines draw from the
// runtime's own chance.
type town struct {
	w    *World
	seed uint64
	ttl  time.Duration
	// hours is how long things go wrong.
	hours time.Duration
	ins   []Integration
	wg    sync.WaitGroup
}

// draw returns a source of chance for one part of the town.
func (o *town) draw(part uint64) *rand.Rand { return rand.New(rand.NewPCG(o.seed, part)) }

// between draws a time, small ones as likely as large ones.
func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(float64(hi-lo)*r.Float64()*r.Float64())
}

func oneOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// often reports true in so many of a hundred cases.
func often(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

// openTown makes the world of a seed.
func openTown(seed uint64, hours time.Duration) (*town, error) {
	o := &town{seed: seed, hours: hours}
	r := o.draw(1)
	o.ttl = oneOf(r, 3*time.Minute, 10*time.Minute, time.Hour)
	grace := 40 * time.Second
	clients := strict.DemoClients()
	clients = append(clients,
		strict.Client{ID: "graceful", Secret: secret("graceful-0"), Rotation: strict.RotationGrace, Grace: grace},
		strict.Client{ID: "still", Secret: secret("still-0"), Rotation: strict.RotationStatic},
		strict.Client{ID: "asked", Secret: secret("asked-0")},
	)
	o.ins = []Integration{
		{ID: "rotating", Client: "demo-basic", Secret: "demo-basic-secret", Rotation: "rotating", AccessTTL: o.ttl},
		{ID: "graceful", Client: "graceful", Secret: "graceful-0", Rotation: "rotating", Grace: grace, AccessTTL: o.ttl},
		{ID: "still", Client: "still", Secret: "still-0", Rotation: "static", AccessTTL: o.ttl},
		{ID: "asked", Client: "asked", Secret: "asked-0", Rotation: "rotating", Introspect: true},
	}
	restarts, power, crashes := o.draw(2), o.draw(3), o.draw(4)
	w, err := NewWorld(strict.Options{AccessTTL: o.ttl, Clients: clients}, MachineOptions{
		Shards:  1 + r.IntN(4),
		Restart: func(int) time.Duration { return oneOf(restarts, 0, time.Second, between(restarts, 0, 5*time.Minute)) },
		Power:   func(int) (int, uint64) { return keep(power), power.Uint64() },
		CrashAt: func(int) int64 {
			if often(crashes, 25) { // while it starts
				return 1 + crashes.Int64N(120)
			}
			return 0
		},
	})
	o.w = w
	return o, err
}

// keep draws how much of what is not synced survives a crash.
func keep(r *rand.Rand) int { return oneOf(r, 0, 100, r.IntN(101)) }

// live lets the town live until its hours are over and whatever was under way
// has come to its end.
func (o *town) live(ctx context.Context) error {
	for _, in := range o.ins {
		if err := o.w.Insist(ctx, func(ctx context.Context) error { return o.w.Put(ctx, in) }); err != nil {
			return err
		}
	}
	busy, quiet := context.WithTimeout(ctx, o.hours)
	defer quiet()
	r := o.draw(5)
	for i := range 4 + r.IntN(5) {
		a := o.w.NewAccount(fmt.Sprintf("a%d", i), credential.KindOAuth2, oneOf(r, o.ins...))
		a.Bare = often(r, 7)
		o.inhabit(ctx, busy, a, uint64(i))
	}
	o.inhabit(ctx, busy, o.w.NewAccount("machine", credential.KindClientCredentials, o.ins[r.IntN(len(o.ins))]), 90)
	o.inhabit(ctx, busy, o.w.NewAccount("key", credential.KindAPIKey, o.ins[0]), 91)
	o.wg.Go(func() { o.accidents(busy) })
	o.wg.Go(func() { o.weather(busy) })
	if r := o.draw(8); often(r, 70) {
		o.wg.Go(func() { o.disk(busy, r) })
	}
	o.wg.Wait()
	return o.evening(ctx)
}

// evening: the faults are over, and people put right what only they can.
func (o *town) evening(ctx context.Context) error {
	o.w.Calm()
	if err := o.w.Provider.SetFaults(); err != nil {
		return err
	}
	o.w.Note("the faults are over")
	for i := range o.ins {
		if err := o.mend(ctx, i); err != nil {
			return err
		}
	}
	time.Sleep(max(time.Hour, 2*o.ttl))
	for {
		err := o.w.Look(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Second)
	}
}

// inhabit gives an account its owner and its callers.
func (o *town) inhabit(ctx, busy context.Context, a *Account, number uint64) {
	o.wg.Go(func() { o.owner(ctx, busy, a, o.draw(100+number)) })
	for i := range o.draw(200 + number).IntN(4) {
		o.wg.Go(func() { o.caller(busy, a, o.draw(1000+10*number+uint64(i))) })
	}
}

// owner imports the account, disconnects it now and then, and authorises it
// again when it is told that it has to be.
func (o *town) owner(ctx, busy context.Context, a *Account, r *rand.Rand) {
	_ = o.w.Insist(ctx, a.Import)
	for pause(busy, between(r, time.Second, 40*time.Minute)) {
		_, err := a.Token(busy, 0)
		gone := err != nil && !retryable(err)
		switch {
		case gone && often(r, 80), often(r, 10):
			_ = a.Import(busy)
		case often(r, 10):
			_ = a.Disconnect(busy)
		}
	}
}

func retryable(err error) bool { return actors.IsRetryable(err) }

// caller uses the account's token, and says so when the provider refuses it.
func (o *town) caller(busy context.Context, a *Account, r *rand.Rand) {
	every := oneOf(r, 5*time.Second, time.Minute, 10*time.Minute)
	for pause(busy, between(r, 0, every)) {
		ctx, cancel := context.WithTimeout(busy, between(r, time.Second, time.Minute))
		switch {
		case often(r, 10):
			_ = a.Read(ctx)
		case often(r, 5):
			if a.Kind.Refreshes() {
				_ = a.Refresh(ctx, nil)
			}
		default:
			tok, err := a.Token(ctx, oneOf(r, 0, 0, between(r, 0, o.ttl)))
			if err == nil && a.Kind.Refreshes() && !o.w.Provider.TokenLive(tok.Secret) {
				_ = a.Refresh(ctx, &tok.Generation)
			}
		}
		cancel()
	}
}

// accidents befall the machine.
func (o *town) accidents(busy context.Context) {
	r, m := o.draw(6), o.w.Machine
	for pause(busy, between(r, time.Second, 12*time.Minute)) {
		at := oneOf(r, actors.Points()...)
		switch r.IntN(8) {
		case 0:
			m.Crash(keep(r), r.Uint64())
		case 1, 2:
			m.CrashAfterWrites(1+r.Int64N(40), keep(r), r.Uint64())
		case 3:
			m.CrashAtPoint(at, keep(r), r.Uint64())
		case 4:
			m.PauseAtPoint(at, between(r, time.Second, time.Minute))
		case 5: // and in the middle of it
			m.PauseAtPoint(at, time.Minute)
			pause(busy, between(r, time.Second, 5*time.Minute))
			m.Crash(keep(r), r.Uint64())
		case 6:
			m.Pause(between(r, time.Second, 2*time.Minute))
		case 7:
			o.w.Note("restart")
			m.Restart(busy)
		}
	}
}

// disk is what befalls the machine's disk. A node that is alone waits for it.
func (o *town) disk(busy context.Context, r *rand.Rand) {
	for m := o.w.Machine; pause(busy, between(r, time.Second, 20*time.Minute)); {
		if often(r, 50) {
			m.Stall(between(r, 200*time.Millisecond, time.Minute))
		} else {
			m.Slow(between(r, time.Millisecond, 500*time.Millisecond), between(r, time.Second, 10*time.Minute))
		}
	}
}

// weather is what befalls the provider.
func (o *town) weather(busy context.Context) {
	r := o.draw(7)
	for pause(busy, between(r, 10*time.Second, 15*time.Minute)) {
		switch n := r.IntN(10); n {
		case 0:
			o.revokeOne(r)
		case 1:
			o.changeSecret(busy, r)
		default:
			o.misbehave(busy, r)
		}
	}
}

// misbehave makes the provider fail in some way for a while.
func (o *town) misbehave(busy context.Context, r *rand.Rand) {
	f := strict.Fault{
		Kind: oneOf(r, strict.FaultLatency, strict.FaultLatency, strict.FaultSlowAnswer, strict.FaultRefused, strict.FaultDropRequest, strict.FaultDropRequest,
			strict.FaultDropAnswer, strict.FaultStatus500, strict.FaultStatus503, strict.FaultStatus429, strict.FaultHTML, strict.FaultError200,
			strict.FaultRedirect, strict.FaultInvalidClient, strict.FaultUnrecognised, strict.FaultErrorCode, strict.FaultEmpty, strict.FaultTruncated,
			strict.FaultNoExpiresIn, strict.FaultStringExpiresIn, strict.FaultNoRefreshToken),
		Probability: oneOf(r, 0, 0.1, 0.5), Seed: r.Uint64(), Count: oneOf(r, 0, 1, 3),
		Delay: between(r, 10*time.Millisecond, 25*time.Second), Jitter: between(r, 0, 5*time.Second), RetryAfter: between(r, 0, 3*time.Minute),
		Endpoint: oneOf(r, strict.EndpointToken, strict.EndpointToken, strict.EndpointToken, strict.EndpointRevoke, strict.EndpointIntrospect),
	}
	switch f.Kind {
	case strict.FaultErrorCode:
		f.Code = oneOf(r, "invalid_grant", "invalid_scope", "temporarily_unavailable", "unauthorized_client")
	case strict.FaultError200:
		f.Code = oneOf(r, "invalid_grant", "server_error", "slow_down")
	case strict.FaultHTML:
		f.Status = oneOf(r, 0, 403, 502)
	}
	id, err := o.w.Provider.AddFault(f)
	if err != nil {
		panic(err)
	}
	o.w.Note("the provider begins: %s at %s, probability %v, count %d, %s", f.Kind, f.Endpoint, f.Probability, f.Count, f.Code)
	pause(busy, between(r, time.Second, 20*time.Minute))
	o.w.Provider.RemoveFault(id)
	o.w.Note("the provider ends: %s", f.Kind)
}

// revokeOne has a person take a consent back, or the provider end a token
// before its time.
func (o *town) revokeOne(r *rand.Rand) {
	a := oneOf(r, o.w.all()...)
	grant := a.grant()
	if grant == "" {
		return
	}
	if often(r, 50) {
		o.w.Note("%s is revoked at the provider", a.Ref)
		_ = o.w.Provider.Revoke(grant)
		return
	}
	o.w.Note("the access token of %s dies", a.Ref)
	_ = o.w.Provider.ExpireAccess(grant)
}

// changeSecret gives a client another secret, of which the operator tells
// grantd a while later.
func (o *town) changeSecret(busy context.Context, r *rand.Rand) {
	i := r.IntN(len(o.ins))
	in := o.ins[i]
	in.Secret = fmt.Sprintf("%s-%d", in.Client, r.Uint64())
	c := strict.Client{ID: in.Client, Secret: secret(in.Secret)}
	switch {
	case in.Grace > 0:
		c.Rotation, c.Grace = strict.RotationGrace, in.Grace
	case in.Rotation == "static":
		c.Rotation = strict.RotationStatic
	}
	if err := o.w.Provider.PutClient(c); err != nil {
		panic(err)
	}
	o.w.Note("client %s has another secret", in.Client)
	o.ins[i] = in
	if pause(busy, between(r, time.Second, 30*time.Minute)) {
		_ = o.mend(busy, i)
	}
}

// mend tells grantd of an integration's secret.
func (o *town) mend(ctx context.Context, i int) error {
	return o.w.Insist(ctx, func(ctx context.Context) error { return o.w.Put(ctx, o.ins[i]) })
}
