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

// county is a town with a cluster: its accidents befall machines and the ways
// between them.
type county struct {
	town
	leaving sync.WaitGroup // dismissals under way
}

// openCounty makes the world of a seed.
func openCounty(seed uint64, minutes time.Duration) (*county, error) {
	o := &county{town: town{seed: seed, ttl: time.Minute, hours: minutes}}
	fleet := FleetOptions{Size: 3, Spare: 2, RebuildAfter: time.Minute}
	r := o.draw(1)
	if often(r, 25) {
		fleet.Size = 4
	}
	grace := 20 * time.Second
	clients := append(strict.DemoClients(),
		strict.Client{ID: "graceful", Secret: secret("graceful-0"), Rotation: strict.RotationGrace, Grace: grace},
		strict.Client{ID: "still", Secret: secret("still-0"), Rotation: strict.RotationStatic},
	)
	o.ins = []Integration{
		{ID: "rotating", Client: "demo-basic", Secret: "demo-basic-secret", Rotation: "rotating", AccessTTL: o.ttl},
		{ID: "graceful", Client: "graceful", Secret: "graceful-0", Rotation: "rotating", Grace: grace, AccessTTL: o.ttl},
		{ID: "still", Client: "still", Secret: "still-0", Rotation: "static", AccessTTL: o.ttl},
	}
	common := MachineOptions{Shards: 2 + r.IntN(3), Policy: actors.Policy{BackoffMax: 20 * time.Second, UncertainHold: 2 * time.Minute}}
	slow := between(r, time.Millisecond, 20*time.Millisecond)
	fleet.Latency = func(string, string) time.Duration { return time.Millisecond + rand.N(slow) }
	w, err := NewCluster(strict.Options{AccessTTL: o.ttl, Clients: clients}, fleet, common, func(machine int) MachineOptions {
		m := common
		restarts, power, crashes := o.draw(uint64(20+machine)), o.draw(uint64(30+machine)), o.draw(uint64(40+machine))
		m.Restart = func(int) time.Duration { return oneOf(restarts, 0, time.Second, between(restarts, 0, time.Minute)) }
		m.Power = func(int) (int, uint64) { return keep(power), power.Uint64() }
		m.CrashAt = func(process int) int64 {
			if process > 1 && often(crashes, 15) { // while it starts
				return 1 + crashes.Int64N(200)
			}
			return 0
		}
		return m
	})
	o.w = w
	return o, err
}

// live lets the county live until its time is over and whatever was under way
// has come to its end.
func (o *county) live(ctx context.Context) error {
	for _, in := range o.ins {
		if err := o.w.Insist(ctx, func(ctx context.Context) error { return o.w.Put(ctx, in) }); err != nil {
			return err
		}
	}
	busy, quiet := context.WithTimeout(ctx, o.hours)
	defer quiet()
	r := o.draw(5)
	for i := range 4 + r.IntN(4) {
		in := oneOf(r, o.ins[0], o.ins[0], o.ins[0], o.ins[1], o.ins[2])
		a := o.w.NewAccount(fmt.Sprintf("a%d", i), credential.KindOAuth2, in)
		o.wg.Go(func() { o.owner(ctx, busy, a, uint64(i)) })
		for k := range 1 + r.IntN(3) {
			o.wg.Go(func() { o.caller(busy, a, uint64(10*i+k)) })
		}
	}
	o.wg.Go(func() { o.accidents(busy) })
	o.wg.Go(func() { o.cuts(busy) })
	o.wg.Go(func() { o.weather(busy) })
	if r := o.draw(9); often(r, 70) {
		o.wg.Go(func() { o.changes(ctx, busy, r) })
	}
	if r := o.draw(10); often(r, 70) {
		o.wg.Go(func() { o.disks(busy, r) })
	}
	o.wg.Wait()
	return o.evening(ctx)
}

// evening: the faults are over, and what is under way comes to its end.
func (o *county) evening(ctx context.Context) error {
	o.w.Calm()
	if err := o.w.Provider.SetFaults(); err != nil {
		return err
	}
	o.w.Note("the faults are over")
	o.leaving.Wait()
	settling, enough := context.WithTimeout(ctx, settleTime)
	defer enough()
	if err := o.w.Settled(settling); err != nil {
		o.w.problem("the placement has not settled after %v: %v%s", settleTime, err, o.w.placed(ctx))
	}
	time.Sleep(3 * o.ttl)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		err := o.w.Look(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Second)
	}
}

// owner imports the account, disconnects it now and then, and authorises it
// again when it is told that it has to be.
func (o *county) owner(ctx, busy context.Context, a *Account, number uint64) {
	r := o.draw(100 + number)
	_ = o.w.Insist(ctx, a.Import)
	for pause(busy, between(r, time.Second, 3*time.Minute)) {
		ctx, cancel := context.WithTimeout(busy, between(r, 2*time.Second, 40*time.Second))
		_, err := a.Token(ctx, 0)
		gone := err != nil && !retryable(err)
		switch {
		case gone, often(r, 10):
			_ = a.Import(ctx)
		case often(r, 8):
			_ = a.Disconnect(ctx)
		}
		cancel()
	}
}

// caller uses the account's token, and says so when the provider refuses it.
func (o *county) caller(busy context.Context, a *Account, number uint64) {
	r := o.draw(1000 + number)
	every := oneOf(r, time.Second, 5*time.Second, 15*time.Second)
	for pause(busy, between(r, 0, every)) {
		ctx, cancel := context.WithTimeout(busy, between(r, time.Second, 20*time.Second))
		switch {
		case often(r, 15):
			_ = a.Read(ctx)
		case often(r, 4):
			_ = a.Refresh(ctx, nil)
		default:
			tok, err := a.Token(ctx, oneOf(r, 0, 0, between(r, 0, o.ttl)))
			if err == nil && (!o.w.Provider.TokenLive(tok.Secret) || often(r, 8)) {
				_ = a.Refresh(ctx, &tok.Generation)
			}
		}
		cancel()
	}
}

// accidents befall the machines.
func (o *county) accidents(busy context.Context) {
	r := o.draw(6)
	for pause(busy, between(r, 500*time.Millisecond, time.Minute)) {
		o.machineFails(busy, oneOf(r, o.w.staff()...), r)
	}
}

// cuts befall the ways between them.
func (o *county) cuts(busy context.Context) {
	r := o.draw(8)
	for pause(busy, between(r, time.Second, time.Minute)) {
		o.wayFails(busy, r)
	}
}

// machineFails has something happen to one machine, or to all of them at once.
func (o *county) machineFails(busy context.Context, m *Machine, r *rand.Rand) {
	at := oneOf(r, actors.Points()...)
	switch r.IntN(10) {
	case 0, 1:
		m.Crash(keep(r), r.Uint64())
	case 2:
		m.CrashAfterWrites(1+r.Int64N(60), keep(r), r.Uint64())
	case 3:
		m.CrashAtPoint(at, keep(r), r.Uint64())
	case 4:
		m.PauseAtPoint(at, between(r, time.Second, 40*time.Second))
	case 5: // and in the middle of it
		m.PauseAtPoint(at, 30*time.Second)
		pause(busy, between(r, time.Second, 20*time.Second))
		m.Crash(keep(r), r.Uint64())
	case 6, 7:
		m.Pause(between(r, 50*time.Millisecond, 30*time.Second))
	case 8:
		o.w.Note("restart of %s", m.name())
		m.Restart(busy)
	case 9:
		for _, m := range o.w.staff() {
			m.Crash(keep(r), r.Uint64())
		}
	}
}

// wayFails cuts ways for a while: those of one machine, in both directions or
// in one, the one between two, or some of all.
func (o *county) wayFails(busy context.Context, r *rand.Rand) {
	n := o.w.Network
	size := len(o.w.staff())
	i := 1 + r.IntN(size)
	j := 1 + (i+r.IntN(size-1))%size
	what := r.IntN(5)
	for a := range len(o.w.Machines) + 1 {
		for b := range len(o.w.Machines) + 1 {
			cut := false
			switch what {
			case 0:
				cut = a == i || b == i
			case 1:
				cut = a == i
			case 2:
				cut = b == i
			case 3:
				cut = a == i && b == j || a == j && b == i
			case 4:
				cut = often(r, 30)
			}
			if cut && a != b {
				o.w.Note("cut from n%d to n%d", a, b)
				n.Cut(hostName(a), hostName(b))
			}
		}
	}
	pause(busy, between(r, 200*time.Millisecond, 40*time.Second))
	n.Mend()
	o.w.Note("mended")
}

// weather is what befalls the provider.
func (o *county) weather(busy context.Context) {
	r := o.draw(7)
	for pause(busy, between(r, time.Second, time.Minute)) {
		f := strict.Fault{
			Kind:        oneOf(r, strict.FaultLatency, strict.FaultLatency, strict.FaultSlowAnswer, strict.FaultRefused, strict.FaultDropRequest, strict.FaultDropAnswer, strict.FaultStatus503, strict.FaultStatus429),
			Probability: oneOf(r, 0, 0.3), Seed: r.Uint64(), Count: oneOf(r, 0, 1, 3), Endpoint: strict.EndpointToken,
			Delay: between(r, 10*time.Millisecond, 12*time.Second), Jitter: between(r, 0, 3*time.Second), RetryAfter: between(r, 0, 20*time.Second),
		}
		id, err := o.w.Provider.AddFault(f)
		if err != nil {
			panic(err)
		}
		o.w.Note("the provider begins: %s, delay %v, probability %v, count %d", f.Kind, f.Delay, f.Probability, f.Count)
		pause(busy, between(r, time.Second, 90*time.Second))
		o.w.Provider.RemoveFault(id)
		o.w.Note("the provider ends: %s", f.Kind)
	}
}
