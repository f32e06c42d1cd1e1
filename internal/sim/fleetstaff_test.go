package sim

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// TestClusterNodeEndsItselfWhereItsDiskStandsStill: at whatever point of a
// refresh that is. Others take over, and when it is back it is one of them.
func TestClusterNodeEndsItselfWhereItsDiskStandsStill(t *testing.T) {
	skipWithRace(t)
	for _, at := range []actors.Point{actors.PointBeforeClaim, actors.PointSettling} {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			var began time.Time
			var owner *Machine
			out := enact(t, MachineOptions{}, func(ctx context.Context, s *stage) {
				s.refreshThrough(ctx, at, func(m *Machine) {
					owner, began = m, time.Now()
					m.Stall(time.Minute)
					time.Sleep(30 * time.Second)
				})
			})
			out.complain(t, "the owner's disk stands still at "+string(at))
			out.alive(t)
			first := owner.ends[0]
			if took := first.CrashedAt.Sub(began); took < 4*time.Second || took > 15*time.Second {
				t.Errorf("the node ended itself %v after its disk stood still", took)
			}
		})
	}
}

// TestClusterSurvivesADiskThatIsSlow: nothing ends, and nothing is lost.
func TestClusterSurvivesADiskThatIsSlow(t *testing.T) {
	skipWithRace(t)
	var waited int
	out := enact(t, MachineOptions{}, func(ctx context.Context, s *stage) {
		for _, m := range s.Machines {
			m.Slow(200*time.Millisecond, time.Minute)
		}
		for range 5 {
			if err := s.a.Refresh(ctx, nil); err != nil {
				t.Error(err)
			}
		}
		for _, m := range s.Machines {
			waited += len(m.current().drive.waited())
		}
	})
	out.complain(t, "all disks are slow")
	out.alive(t)
	if waited == 0 {
		t.Error("no disk was slow")
	}
	for _, p := range out.evidence.Processes {
		if !p.CrashedAt.IsZero() {
			t.Errorf("process %d ended", p.Number)
		}
	}
}

// TestClusterSettlesWithThoseWhoAreThere also proves that Settled can say no.
func TestClusterSettlesWithThoseWhoAreThere(t *testing.T) {
	skipWithRace(t)
	synctest.Test(t, func(t *testing.T) {
		w, err := NewCluster(strict.Options{AccessTTL: officeTTL}, FleetOptions{Size: 3, Spare: 1}, MachineOptions{Shards: 4}, nil)
		if err != nil {
			t.Fatal(err)
		}
		settled := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			return w.Settled(ctx)
		}
		if err := w.Insist(t.Context(), func(ctx context.Context) error { return w.Put(ctx, demo) }); err != nil {
			t.Fatal(err)
		}
		a := w.NewAccount("plain", credential.KindOAuth2, demo)
		if err := w.Insist(t.Context(), a.Import); err != nil {
			t.Fatal(err)
		}
		if err := settled(); err != nil {
			t.Errorf("three nodes: %v", err)
		}
		late := w.Machines[3]
		late.SwitchOn()
		if err := settled(); err != nil {
			t.Errorf("four nodes: %v", err)
		}
		late.Retire()
		if err := settled(); err == nil || !strings.Contains(err.Error(), "n4") {
			t.Errorf("a node that is gone and was not dismissed: %v", err)
		}
		if !w.Dismiss(t.Context(), late) {
			t.Error("the cluster does not know n4")
		}
		if err := w.Gone(t.Context(), late); err != nil {
			t.Error(err)
		}
		if err := settled(); err != nil {
			t.Errorf("three nodes again: %v", err)
		}
		if err := w.Look(t.Context()); err != nil {
			t.Error(err)
		}
		var out outcome
		out.close(w)
		out.complain(t, "a node joins and leaves")
	})
}
