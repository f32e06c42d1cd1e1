package sim

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// stage is a cluster of three nodes with one account.
type stage struct {
	*World
	a *Account
}

// enact runs a scenario on a cluster, lets a night pass without faults, and
// returns what it came to.
func enact(t *testing.T, m MachineOptions, scene func(ctx context.Context, s *stage)) (out outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m.Shards = 2
		w, err := NewCluster(strict.Options{AccessTTL: officeTTL}, FleetOptions{Size: 3}, m, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := &stage{w, w.NewAccount("plain", credential.KindOAuth2, demo)}
		if err := w.Insist(ctx, func(ctx context.Context) error { return w.Put(ctx, demo) }); err != nil {
			t.Fatal(err)
		}
		if err := w.Insist(ctx, s.a.Import); err != nil {
			t.Fatal(err)
		}
		scene(ctx, s)
		w.Calm()
		time.Sleep(4 * officeTTL)
		night, end := context.WithTimeout(ctx, 10*time.Minute)
		defer end()
		if err := w.Insist(night, w.Look); err != nil {
			t.Error(err)
		}
		out.close(w)
	})
	return out
}

// owner is the machine that owns the account.
func (s *stage) owner(ctx context.Context) *Machine {
	for {
		if m := s.Owner(ctx, s.a.Ref); m != nil {
			return m
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// refreshThrough asks for a refresh, and has something happen to the owner while
// that stands at a point.
func (s *stage) refreshThrough(ctx context.Context, at actors.Point, happen func(owner *Machine)) {
	m := s.owner(ctx)
	m.PauseAtPoint(at, 4*time.Second)
	together(func() {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		_ = s.a.Refresh(ctx, nil)
	}, func() {
		time.Sleep(time.Second)
		happen(m)
	})
}

// isolate cuts a machine off from all others for a while.
func (s *stage) isolate(m *Machine, d time.Duration) {
	for _, other := range s.Machines {
		if other != m {
			s.Network.Cut(hostName(m.node), hostName(other.node))
			s.Network.Cut(hostName(other.node), hostName(m.node))
		}
	}
	time.Sleep(d)
	s.Network.Mend()
}

// alive complains where the account did not come through.
func (out outcome) alive(t *testing.T) {
	t.Helper()
	if rec := out.evidence.Cases[0].Record; rec == nil || rec.State != credential.StateActive {
		t.Errorf("the account ends as %+v; its history is %v", rec, out.history())
	}
}

// TestClusterSavesTheRefreshOfAnOwnerThatDies: at whatever point of a refresh
// the owner is killed, the account lives on, and the token is not used twice,
// but where the answer died with the owner.
func TestClusterSavesTheRefreshOfAnOwnerThatDies(t *testing.T) {
	skipWithRace(t)
	for _, at := range actors.Points() {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			out := enact(t, MachineOptions{Restart: func(int) time.Duration { return 8 * time.Second }}, func(ctx context.Context, s *stage) {
				s.refreshThrough(ctx, at, func(m *Machine) { m.Crash(100, 1) })
			})
			out.complain(t, "the owner is killed at "+string(at))
			if at != actors.PointAnswered {
				out.alive(t)
			}
			if got := slices.Contains(out.history(), credential.WhatSalvaged); at == actors.PointSettling && !got {
				t.Errorf("history %v does not tell of a salvage", out.history())
			}
		})
	}
}

// TestClusterSavesTheRefreshOfAnOwnerThatIsCutOff: at whatever point, its answer
// is taken by its successor, from its journal.
func TestClusterSavesTheRefreshOfAnOwnerThatIsCutOff(t *testing.T) {
	skipWithRace(t)
	for _, at := range actors.Points() {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			out := enact(t, MachineOptions{}, func(ctx context.Context, s *stage) {
				s.refreshThrough(ctx, at, func(m *Machine) { s.isolate(m, 15*time.Second) })
			})
			out.complain(t, "the owner is cut off at "+string(at))
			out.alive(t)
		})
	}
}

// TestClusterSurvivesAnOwnerThatIsPaused: past every time-out, at whatever
// point; when it goes on it does not send what others may have sent meanwhile.
func TestClusterSurvivesAnOwnerThatIsPaused(t *testing.T) {
	skipWithRace(t)
	for _, at := range actors.Points() {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			out := enact(t, MachineOptions{}, func(ctx context.Context, s *stage) {
				s.refreshThrough(ctx, at, func(m *Machine) {
					m.Pause(40 * time.Second)
					time.Sleep(time.Minute)
				})
			})
			out.complain(t, "the owner is paused at "+string(at))
			out.alive(t)
		})
	}
}

// The rest of this file takes away what the promises of a cluster rest on, one
// thing at a time, and proves that it is seen.

func TestClusterLossIsSeenWhereTheLogsAreNotSynced(t *testing.T) {
	skipWithRace(t)
	out := enact(t, MachineOptions{Mutation: Mutation{LostSyncs: true}}, func(ctx context.Context, s *stage) {
		for _, m := range s.Machines { // what a start finds in the log it writes elsewhere
			m.Restart(ctx)
			time.Sleep(10 * time.Second)
		}
		_ = s.a.Refresh(ctx, nil)
		for _, m := range s.Machines {
			m.Crash(0, 1)
		}
	})
	out.mustBreak(t, "I2")
}

func TestClusterReplayIsSeenWhereTheJournalForgets(t *testing.T) {
	skipWithRace(t)
	out := enact(t, MachineOptions{Mutation: Mutation{NoJournal: true}, Restart: func(int) time.Duration { return 8 * time.Second }}, func(ctx context.Context, s *stage) {
		s.refreshThrough(ctx, actors.PointSettling, func(m *Machine) { m.Crash(100, 1) })
	})
	out.mustBreak(t, "I3")
}

func TestClusterWithTwoOwnersIsSeen(t *testing.T) {
	skipWithRace(t)
	out := enact(t, MachineOptions{}, func(ctx context.Context, s *stage) {
		s.Fork()
		time.Sleep(3 * officeTTL)
	})
	out.mustBreak(t, "I3")
}

func TestClusterRequestThatOutlivesItsClaimIsSeen(t *testing.T) {
	skipWithRace(t)
	out := enact(t, MachineOptions{Mutation: Mutation{Late: 3 * officeTTL}}, func(ctx context.Context, s *stage) {
		m := s.owner(ctx)
		together(func() {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_ = s.a.Refresh(ctx, nil)
		}, func() {
			time.Sleep(time.Second)
			s.isolate(m, officeTTL*3/2)
		})
		time.Sleep(4 * officeTTL)
	})
	out.mustBreak(t, "I3")
}

func TestClusterAnswerBeforeItsCommitIsSeen(t *testing.T) {
	skipWithRace(t)
	out := enact(t, MachineOptions{Mutation: Mutation{Hasty: true}, Restart: func(int) time.Duration { return 8 * time.Second }}, func(ctx context.Context, s *stage) {
		s.refreshThrough(ctx, actors.PointAnswered, func(m *Machine) { m.Crash(0, 1) })
	})
	out.mustBreak(t, "I2")
}
