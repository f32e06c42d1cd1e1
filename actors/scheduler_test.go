package actors_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/credential"
)

func TestSlowProviderDoesNotHoldUpTheScheduleOfTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.stop()
		r.policy.ShardConcurrency = 4
		r.ints.others = []actors.Integration{{ID: "slow", Provider: "slow", Version: 1, Rotates: true, RatePerSecond: 1, Burst: 1}}
		r.start()
		add := func(integration string, n int, life time.Duration) (refs []credential.Ref) {
			for i := range n {
				tok, err := r.provider.NewGrant("demo-basic", "user", nil)
				if err != nil {
					t.Fatal(err)
				}
				ref := credential.Ref{Tenant: "acme", ID: fmt.Sprint(integration, i)}
				_, _, err = r.system.Import(t.Context(), credential.Import{
					Ref: ref, Integration: integration, Kind: credential.KindOAuth2,
					Secret: tok.AccessToken, RefreshToken: tok.RefreshToken, ExpiresAt: time.Now().Add(life),
				})
				if err != nil {
					t.Fatal(err)
				}
				refs = append(refs, ref)
			}
			return refs
		}
		slow, others := add("slow", 400, 5*time.Minute), add("demo", 8, 6*time.Minute)
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
