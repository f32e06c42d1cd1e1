package sim

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// act runs a scenario with the office's plain account imported, lets the night
// pass, and returns what it came to.
func act(t *testing.T, in Integration, m MachineOptions, scene func(ctx context.Context, o *office)) (out outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o, err := openOffice(m)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := o.w.Insist(ctx, func(ctx context.Context) error { return o.w.Put(ctx, in) }); err != nil {
			t.Fatal(err)
		}
		if err := o.w.Insist(ctx, o.plain.Import); err != nil {
			t.Fatal(err)
		}
		scene(ctx, o)
		if err := o.night(ctx); err != nil {
			t.Error(err)
		}
		out.close(o.w)
	})
	return out
}

// history is what the office's plain account went through.
func (out outcome) history() (whats []credential.What) {
	for _, l := range out.evidence.Cases[0].Lines {
		whats = append(whats, l.What)
	}
	return whats
}

// crashWhile crashes while a refresh of the plain account stands at a point.
func crashWhile(at actors.Point) func(context.Context, *office) {
	return func(ctx context.Context, o *office) {
		o.w.Machine.PauseAtPoint(at, 10*time.Second)
		together(func() { _ = o.plain.Refresh(ctx, nil) }, func() {
			time.Sleep(3 * time.Second)
			o.w.Machine.Crash(100, 1)
		})
	}
}

func TestJournalSavesAnAnswerThatWasNotCommitted(t *testing.T) {
	out := act(t, demo, MachineOptions{}, crashWhile(actors.PointSettling))
	out.complain(t, "a crash between journal and outcome")
	if !slices.Contains(out.history(), credential.WhatSalvaged) {
		t.Errorf("history %v does not tell of a salvage", out.history())
	}
}

func TestAnswerIsSalvagedWithALifetimeThoughItTellsNone(t *testing.T) {
	asked := demo
	asked.Introspect, asked.AccessTTL = true, officeTTL
	out := act(t, asked, MachineOptions{}, func(ctx context.Context, o *office) {
		for _, f := range []strict.Fault{{Kind: strict.FaultNoExpiresIn, Count: 1}, {Kind: strict.FaultLatency, Endpoint: strict.EndpointIntrospect, Delay: 5 * time.Second}} {
			if _, err := o.w.Provider.AddFault(f); err != nil {
				t.Fatal(err)
			}
		}
		together(func() { _ = o.plain.Refresh(ctx, nil) }, func() {
			time.Sleep(3 * time.Second)
			o.w.Machine.Crash(100, 1)
		})
	})
	out.complain(t, "a crash while the provider is asked for a lifetime")
	if !slices.Contains(out.history(), credential.WhatSalvaged) {
		t.Errorf("history %v does not tell of a salvage", out.history())
	}
}

func TestProcessThatStopsWhileARefreshHangsStopsInOrder(t *testing.T) {
	out := act(t, demo, MachineOptions{}, func(ctx context.Context, o *office) {
		o.w.Machine.PauseAtPoint(actors.PointClaimed, 2*stopTime)
		together(func() { _ = o.plain.Refresh(ctx, nil) }, func() {
			time.Sleep(time.Second)
			o.w.Machine.Restart(ctx)
		})
	})
	out.complain(t, "a stop while a refresh hangs")
}

// The rest of this file proves that the tests can fail: what the promises rest
// on is taken away, one thing at a time.

func (out outcome) mustBreak(t *testing.T, rule string) {
	t.Helper()
	if !slices.ContainsFunc(out.problems, func(p string) bool { return strings.Contains(p, rule) }) {
		t.Errorf("nobody saw that %s was broken; seen was only:\n  %s", rule, strings.Join(out.problems, "\n  "))
	}
}

func TestLossIsSeenWhereTheLogIsNotSynced(t *testing.T) {
	out := act(t, demo, MachineOptions{Mutation: Mutation{LostSyncs: true}}, func(ctx context.Context, o *office) {
		_ = o.plain.Refresh(ctx, nil)
		o.w.Machine.Crash(0, 1)
	})
	out.mustBreak(t, "I2")
}

func TestReplayIsSeenWhereTheJournalForgets(t *testing.T) {
	out := act(t, demo, MachineOptions{Mutation: Mutation{NoJournal: true}}, crashWhile(actors.PointSettling))
	out.mustBreak(t, "I3")
}

func TestTwoProcessesAtOnceAreSeen(t *testing.T) {
	out := act(t, demo, MachineOptions{Mutation: Mutation{Zombies: true}}, func(ctx context.Context, o *office) {
		o.w.Machine.Crash(100, 1)
	})
	out.mustBreak(t, "I3")
}

func TestRequestSentTwiceIsSeen(t *testing.T) {
	out := act(t, demo, MachineOptions{Mutation: Mutation{Twice: true}}, func(context.Context, *office) {})
	out.mustBreak(t, "I3")
}
