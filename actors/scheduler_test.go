package actors_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

func TestProviderThatAnswersSlowlyDoesNotHoldUpTheScheduleOfTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.stop()
		r.policy.ShardConcurrency = 4
		r.ints.others = []actors.Integration{{ID: "slow", Provider: "slow", Version: 1, Rotates: true}}
		r.start()
		slow, others := r.accounts("slow", 400, 5*time.Minute), r.accounts("demo", 8, 6*time.Minute)
		r.faults.set(func(f *faults) {
			f.call = func(ctx context.Context) *credential.Failure {
				if ctx.Value(integrationKey{}) == "slow" {
					time.Sleep(9 * time.Second)
				}
				return nil
			}
		})
		time.Sleep(5*time.Minute + 45*time.Second)
		for _, ref := range others {
			if a := r.get(ref); a.Generation != 2 {
				t.Errorf("%s waits for those of the slow provider", ref)
			}
		}
		time.Sleep(8 * time.Minute)
		for _, ref := range slow {
			if a := r.get(ref); a.Generation != 2 {
				t.Errorf("%s was forgotten", ref)
			}
		}
		r.kept()
	})
}

func TestSlowProviderDoesNotHoldUpTheScheduleOfTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.stop()
		r.policy.ShardConcurrency = 4
		r.ints.others = []actors.Integration{{ID: "slow", Provider: "slow", Version: 1, Rotates: true, RatePerSecond: 1, Burst: 1}}
		r.start()
		slow, others := r.accounts("slow", 400, 5*time.Minute), r.accounts("demo", 8, 6*time.Minute)
		time.Sleep(6 * time.Minute)
		for _, ref := range others {
			if a := r.get(ref); a.Generation != 2 {
				t.Errorf("%s waits for those of the slow provider", ref)
			}
		}
		time.Sleep(8 * time.Minute)
		for _, ref := range slow {
			if a := r.get(ref); a.Generation != 2 {
				t.Errorf("%s was forgotten", ref)
			}
		}
		r.kept()
	})
}

func TestBrokenIntegrationIsLeftAloneButForAProbeAndComesBackByItself(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var refs []credential.Ref
		for i := range 20 {
			ref, _ := r.account(fmt.Sprint("a", i))
			refs = append(refs, ref)
		}
		fault := addFault(t, r, strict.Fault{Kind: strict.FaultInvalidClient})
		time.Sleep(time.Hour + 10*time.Minute)
		before, _, _ := r.system.Counters().ScheduledLag.Values()
		asked := r.provider.Report().Refreshes
		time.Sleep(10 * time.Minute)
		woken, _, _ := r.system.Counters().ScheduledLag.Values()
		// A probe a minute, and at most those that are woken in the same moment.
		if woken -= before; woken < 8 || woken > 10*20 {
			t.Errorf("%d accounts were woken in ten minutes", woken)
		}
		if n := r.provider.Report().Refreshes - asked; n < 8 || n > 11 {
			t.Errorf("%d requests in ten minutes", n)
		}
		r.provider.RemoveFault(fault)
		time.Sleep(2 * time.Minute)
		if in, _ := r.ints.Lookup("demo"); in.Broken {
			t.Error("still marked broken, two minutes after the provider took the client again")
		}
		time.Sleep(time.Minute)
		for _, ref := range refs {
			if tok := r.token(ref); !r.provider.TokenLive(tok.Secret) {
				t.Errorf("%s did not come back", ref)
			}
		}
		r.kept()
	})
}

// accounts imports grants of the strict provider into an integration.
func (r *rig) accounts(integration string, n int, life time.Duration) (refs []credential.Ref) {
	r.t.Helper()
	for i := range n {
		tok, err := r.provider.NewGrant("demo-basic", "user", nil)
		if err != nil {
			r.t.Fatal(err)
		}
		ref := credential.Ref{Tenant: "acme", ID: fmt.Sprint(integration, i)}
		_, _, err = r.system.Import(r.t.Context(), credential.Import{
			Ref: ref, Integration: integration, Kind: credential.KindOAuth2,
			Secret: tok.AccessToken, RefreshToken: tok.RefreshToken, ExpiresAt: time.Now().Add(life),
		})
		if err != nil {
			r.t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	return refs
}
