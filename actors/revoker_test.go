package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
)

// pending are the grants of an account's shard that are still to be revoked.
func (r *rig) pending(ref credential.Ref) []credential.Revocation {
	r.t.Helper()
	all, err := r.host.Shard(ring.ShardOf(ref, shards)).Revocations(100)
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// refuseRevocations has revocations fail, and counts them.
func (r *rig) refuseRevocations(err error) *atomic.Int64 {
	var n atomic.Int64
	r.faults.set(func(f *faults) {
		f.revoke = func(context.Context) error { n.Add(1); return err }
	})
	return &n
}

var down = &credential.Failure{Class: credential.Transient, Code: "server_error", Status: 503, Sent: true}

func TestDisconnectDoesNotWaitForTheProvider(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, tok := r.account("crm")
		begun := make(chan struct{}, 10)
		r.faults.set(func(f *faults) {
			f.revoke = func(ctx context.Context) error { begun <- struct{}{}; <-ctx.Done(); return ctx.Err() }
		})
		var told []credential.EventType
		r.faults.set(func(f *faults) {
			f.commit = func(c credential.Change, do func() (uint64, error)) (uint64, error) {
				rev, err := do()
				for _, e := range c.Events {
					if err == nil {
						told = append(told, e.Type)
					}
				}
				return rev, err
			}
		})
		start := time.Now()
		for range 2 { // the second finds nothing to do
			if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("the answer took %v", d)
		}
		<-begun
		if a := r.get(ref); a.State != credential.StateDisconnected || len(a.AccessToken)+len(a.RefreshToken) > 0 {
			t.Errorf("while the provider is asked the account is %+v", a)
		}
		if _, err := r.system.Token(t.Context(), ref, 0); !errors.Is(err, credential.ErrDisconnected) {
			t.Errorf("a token: %v", err)
		}
		r.faults.set(func(f *faults) { f.revoke = nil })
		time.Sleep(10 * time.Minute)
		if r.provider.GrantAlive(tok.Grant) || len(r.pending(ref)) != 0 || !slices.Contains(r.whats(ref), credential.WhatRevoked) {
			t.Errorf("the grant lives: %v, %d pending, history %v", r.provider.GrantAlive(tok.Grant), len(r.pending(ref)), r.whats(ref))
		}
		if !slices.Equal(told, []credential.EventType{credential.EventDisconnected}) {
			t.Errorf("told of %v", told)
		}
	})
}

func TestRevocationIsTriedForADayAndGivenUp(t *testing.T) {
	if raceEnabled {
		t.Skip("two days pass, which the run without the race detector lets them")
	}
	bubble(t, func(t *testing.T, r *rig) {
		ref, tok := r.account("crm")
		n := r.refuseRevocations(down)
		if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		time.Sleep(23 * time.Hour)
		if tried := n.Load(); tried < 25 || tried > 80 || len(r.pending(ref)) != 1 {
			t.Errorf("after 23 hours: tried %d times, %d pending", tried, len(r.pending(ref)))
		}
		time.Sleep(90 * time.Minute)
		tried := n.Load()
		if h := r.whats(ref); len(r.pending(ref)) != 0 || !slices.Contains(h, credential.WhatRevocationFailed) || slices.Contains(h, credential.WhatRevoked) {
			t.Errorf("after a day: %d pending, history %v", len(r.pending(ref)), h)
		}
		r.faults.set(func(f *faults) { f.revoke = nil })
		time.Sleep(24 * time.Hour)
		if n.Load() != tried || !r.provider.GrantAlive(tok.Grant) {
			t.Error("it was tried after it had been given up")
		}
		if c := r.system.Counters(); c.RevocationsFailed.Load() != 1 || c.Revoked.Load() != 0 {
			t.Errorf("counted %d failures", c.RevocationsFailed.Load())
		}
	})
}

func TestRevocationThatCannotSucceedIsNotRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want credential.What
	}{
		"refused":        {&credential.Failure{Class: credential.Terminal, Code: "unsupported_token_type", Status: 400, Sent: true}, credential.WhatRevocationFailed},
		"not understood": {&credential.Failure{Class: credential.Unrecognised, Code: "html_answer", Status: 400, Sent: true}, credential.WhatRevocationFailed},
		"no way":         {actors.ErrNoRevocation, credential.WhatRevocationSkipped},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				ref, _ := r.account("crm")
				n := r.refuseRevocations(c.err)
				if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(times(120)) * time.Minute)
				if h := r.whats(ref); n.Load() != 1 || len(r.pending(ref)) != 0 || !slices.Contains(h, c.want) {
					t.Errorf("tried %d times, %d pending, history %v", n.Load(), len(r.pending(ref)), h)
				}
			})
		})
	}
}

func TestRevocationIsCarriedOnByTheNextOwner(t *testing.T) {
	inPair(t, func(t *testing.T, p *pair) {
		ref, grant := p.account("crm")
		id, err := p.provider.AddFault(strict.Fault{Kind: strict.FaultStatus503, Endpoint: strict.EndpointRevoke})
		if err != nil {
			t.Fatal(err)
		}
		first := p.shard.owner()
		if _, err := p.owner().Disconnect(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		p.members[first].kill()
		p.provider.RemoveFault(id)
		other := "n1"
		if first == other {
			other = "n2"
		}
		p.lead(other)
		time.Sleep(time.Hour)
		if p.provider.GrantAlive(grant.Grant) || len(p.told(ref, credential.WhatRevoked)) != 1 || len(p.shard.toRevoke()) != 0 {
			t.Errorf("the grant lives: %v, %d pending:%s", p.provider.GrantAlive(grant.Grant), len(p.shard.toRevoke()), p.history(ref))
		}
	})
}

func TestRevocationSurvivesACrash(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, tok := r.account("crm")
		r.refuseRevocations(down)
		if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		crashed := r.disk.Crash(0, 1) // what was synced
		r.stop()
		r.disk = crashed
		r.faults.set(func(f *faults) { f.revoke = nil })
		r.start()
		time.Sleep(time.Hour)
		if r.provider.GrantAlive(tok.Grant) || len(r.pending(ref)) != 0 || !slices.Contains(r.whats(ref), credential.WhatRevoked) {
			t.Errorf("the grant lives: %v, %d pending, history %v", r.provider.GrantAlive(tok.Grant), len(r.pending(ref)), r.whats(ref))
		}
	})
}

func TestGrantOfAnAccountThatIsBackIsSpared(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, tok := r.account("crm")
		r.refuseRevocations(down)
		if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.account("crm") // authorised again
		r.faults.set(func(f *faults) { f.revoke = nil })
		time.Sleep(2 * time.Hour)
		if !r.provider.GrantAlive(tok.Grant) || len(r.pending(ref)) != 0 || !slices.Contains(r.whats(ref), credential.WhatRevocationSkipped) {
			t.Errorf("the grant lives: %v, %d pending, history %v", r.provider.GrantAlive(tok.Grant), len(r.pending(ref)), r.whats(ref))
		}
	})
}

// TestRevocationsUnderWayAreBounded: a provider that hangs is asked a few things
// at once, and what waits lies in the store.
func TestRevocationsUnderWayAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		const accounts = 60
		var now, most, done atomic.Int64
		r.faults.set(func(f *faults) {
			f.revoke = func(ctx context.Context) error {
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				defer done.Add(1)
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
				return nil
			}
		})
		var grants []string
		for i := range accounts {
			ref, tok := r.account(fmt.Sprint("crm", i))
			grants = append(grants, tok.Grant)
			if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		if most.Load() > 8*shards || most.Load() < 2 || done.Load() != accounts {
			t.Errorf("%d at once at most, %d done", most.Load(), done.Load())
		}
		for i, g := range grants {
			if r.provider.GrantAlive(g) {
				t.Errorf("grant %d lives", i)
			}
		}
	})
}

func TestResultThatCannotBeStoredIsAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, tok := r.account("crm")
		over := func(c credential.Change) bool { return len(c.Revoked) > 0 }
		failOnce(&r.faults, over, credential.ErrNoQuorum)
		if _, err := r.system.Disconnect(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if r.provider.GrantAlive(tok.Grant) || len(r.pending(ref)) != 0 || !slices.Contains(r.whats(ref), credential.WhatRevoked) {
			t.Errorf("the grant lives: %v, %d pending, history %v", r.provider.GrantAlive(tok.Grant), len(r.pending(ref)), r.whats(ref))
		}
	})
}
