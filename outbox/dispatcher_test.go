package outbox

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

// in runs a test in virtual time.
func in(t *testing.T, p Policy, fn func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) { fn(t, newRig(t, p)) })
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestEventsArriveSignedOnceInOrder(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.start()
		r.put("hook", nil)
		var want []string
		for i := range 300 {
			want = append(want, r.emit(i%7, credential.EventCreated))
		}
		pass(time.Second)
		got := r.taken("hook")
		r.ordered("hook")
		slices.Sort(got)
		if !slices.Equal(got, want) || r.attempts("hook") != len(want) {
			t.Errorf("%d of %d taken in %d attempts", len(got), len(want), r.attempts("hook"))
		}
		if d := r.listed("hook", delivery.Delivered)[0]; d.Attempts != 1 || d.Status != 204 || d.Answer != "answer" || d.Event.ID != want[0] || d.LastAt.IsZero() {
			t.Errorf("listed as %+v", d)
		}
		r.checkStandings()
	})
}

func TestEventsThatAnEndPointDoesNotWantCostNothing(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.start()
		before := r.index
		for i := range 20 {
			r.emit(i, credential.EventCreated)
		}
		pass(time.Second)
		if r.index != before+20 {
			t.Errorf("%d commits for 20 events that nobody wants", r.index-before)
		}
		r.put("errors", func(e *delivery.Endpoint) { e.Events = []string{string(credential.EventAuthError)} })
		r.put("all", nil)
		r.put("globex", func(e *delivery.Endpoint) { e.Tenant = "globex" })
		r.put("erp", func(e *delivery.Endpoint) { e.Integrations = []string{"erp"} })
		pass(time.Second)
		created, refreshed, failed := r.emit(1, credential.EventCreated), r.emit(1, credential.EventRefreshed), r.emit(1, credential.EventAuthError)
		other := r.emitEvent(credential.Event{Type: credential.EventMisconfigured, Integration: "erp"})
		pass(time.Second)
		for id, want := range map[string][]string{"errors": {failed}, "all": {created, failed, other}, "globex": nil, "erp": {other}} {
			got := r.taken(id)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s got %v, want %v", id, got, want)
			}
		}
		if slices.Contains(r.taken("all"), refreshed) {
			t.Error("a refresh is told to who did not ask for it")
		}
	})
}

func TestADeadEndPointHoldsUpNoOther(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.put("dead", nil)
		r.put("live", nil)
		r.answer("dead", func(receipt) int { return 0 })
		r.start()
		var want []string
		for i := range 200 {
			want = append(want, r.emit(i, credential.EventCreated))
		}
		pass(time.Second)
		if got := r.taken("live"); len(got) != len(want) {
			t.Errorf("%d of %d taken", len(got), len(want))
		}
		if most := r.most["dead"]; most != 8 {
			t.Errorf("%d attempts under way to one end point", most)
		}
		pending, _, underWay := r.d.Open()
		if pending != 200 || underWay != 8 {
			t.Errorf("%d pending, %d under way", pending, underWay)
		}
		pass(time.Hour)
		if len(r.taken("dead")) != 0 {
			t.Fatal("it answers")
		}
		r.answer("dead", nil)
		pass(24 * time.Hour)
		if got := r.taken("dead"); len(got) != len(want) {
			t.Errorf("%d of %d taken after it came back", len(got), len(want))
		}
		r.checkStandings()
	})
}

func TestAFailingEventHoldsUpItsAccountAndThenIsParked(t *testing.T) {
	in(t, Policy{GiveUpAfter: 12 * time.Hour, BackoffMax: time.Hour}, func(t *testing.T, r *rig) {
		r.put("hook", nil)
		r.start()
		bad := r.emit(1, credential.EventCreated)
		refuse := true
		r.answer("hook", func(got receipt) int {
			if got.id == bad && refuse {
				return 422
			}
			return 200
		})
		held, free := r.emit(1, credential.EventAuthError), r.emit(2, credential.EventCreated)
		pass(time.Hour)
		if got := r.taken("hook"); !slices.Equal(got, []string{free}) {
			t.Fatalf("taken %v, want %v", got, []string{free})
		}
		all := r.listed("hook", delivery.Pending)
		if len(all) != 2 || all[0].NextAt.IsZero() || !all[1].NextAt.IsZero() || all[0].Status != 422 || all[0].Attempts < 5 {
			t.Fatalf("pending: %+v", all)
		}
		pass(12 * time.Hour)
		if got := r.taken("hook"); !slices.Equal(got, []string{free, held}) {
			t.Errorf("after twelve hours %v are taken", got)
		}
		parked := r.listed("hook", delivery.Parked)
		if len(parked) != 1 || parked[0].Event.ID != bad {
			t.Fatalf("parked: %+v", parked)
		}
		if span := parked[0].LastAt.Sub(parked[0].FirstAt); span < 10*time.Hour || span > 12*time.Hour {
			t.Errorf("tried for %v", span)
		}
		r.checkStandings()
		attempts := r.attempts("hook")
		pass(7 * time.Hour)
		if r.attempts("hook") != attempts {
			t.Error("what is parked is tried")
		}
		refuse = false
		if out, err := r.d.Replay(t.Context(), 1, delivery.Replay{Webhook: "hook", Parked: true}); err != nil || out.Count != 1 {
			t.Fatalf("replay: %+v, %v", out, err)
		}
		pass(time.Second)
		if got := r.taken("hook"); !slices.Equal(got, []string{free, held, bad}) {
			t.Errorf("after the replay %v are taken", got)
		}
		r.checkStandings()
	})
}

func TestReplaysKeepTheOrderAndTheIDs(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.put("hook", nil)
		r.start()
		began := time.Now()
		var want []string
		for i := range 40 {
			want = append(want, r.emit(i%3, credential.EventCreated))
			pass(time.Second)
		}
		r.mu.Lock()
		r.receipts = nil
		r.mu.Unlock()
		out, err := r.d.Replay(t.Context(), 1, delivery.Replay{Webhook: "hook", From: began.Add(10 * time.Second), To: began.Add(30 * time.Second)})
		if err != nil || out.Count != 20 || out.Next != (delivery.Place{}) {
			t.Fatalf("%+v, %v", out, err)
		}
		pass(time.Second)
		r.ordered("hook")
		got := r.taken("hook")
		slices.Sort(got)
		if !slices.Equal(got, want[10:30]) {
			t.Errorf("replayed %v", got)
		}
		one := r.listed("hook", "")[3]
		if out, err := r.d.Replay(t.Context(), 1, delivery.Replay{Webhook: "hook", Place: one.Place}); err != nil || out.Count != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		pass(time.Second)
		if got := r.taken("hook"); got[len(got)-1] != want[3] {
			t.Errorf("replaying one sent %v", got)
		}
		if _, err := r.d.Replay(t.Context(), 1, delivery.Replay{Webhook: "hook", Place: delivery.Place{At: 1, Pos: 1}}); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("of one that is not there: %v", err)
		}
		if _, err := r.d.Replay(t.Context(), 2, delivery.Replay{Webhook: "hook", Parked: true}); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("of a group that is not led: %v", err)
		}
		r.checkStandings()
	})
}

func TestAReplayOfAnOlderEventGoesBeforeWhatIsPending(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.put("hook", nil)
		r.start()
		first := r.emit(1, credential.EventCreated)
		pass(time.Second)
		r.answer("hook", func(receipt) int { return 500 })
		second, third := r.emit(1, credential.EventAuthError), r.emit(1, credential.EventReactivated)
		pass(time.Second)
		if _, err := r.d.Replay(t.Context(), 1, delivery.Replay{Webhook: "hook", From: time.Now().Add(-time.Hour)}); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		r.answer("hook", nil)
		r.mu.Lock()
		r.receipts = nil
		r.mu.Unlock()
		pass(time.Hour)
		if got := r.taken("hook"); !slices.Equal(got, []string{first, second, third}) {
			t.Errorf("taken %v", got)
		}
	})
}

func TestANewEndPointGetsWhatHappensFromThenOn(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.put("old", nil)
		r.start()
		for i := range 600 {
			r.emit(i, credential.EventCreated)
		}
		pass(time.Second)
		r.know(1) // this node hears late of what follows
		r.put("new", nil)
		pass(time.Second)
		want := []string{r.emit(1, credential.EventAuthError), r.emit(2, credential.EventAuthError)}
		pass(time.Second)
		r.know(everything)
		pass(time.Second)
		want = append(want, r.emit(1, credential.EventReactivated))
		pass(time.Second)
		got := r.taken("new")
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := r.taken("old"); len(got) != 603 || r.attempts("old") != 603 {
			t.Errorf("the old one took %d in %d attempts", len(got), r.attempts("old"))
		}
	})
}

func TestADisabledEndPointGetsNothingOfThatTime(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.put("hook", nil)
		r.put("other", nil)
		r.start()
		set := func(on bool) {
			r.put("hook", func(e *delivery.Endpoint) { e.Enabled = on })
			pass(time.Second)
		}
		r.answer("hook", func(receipt) int { return 500 })
		before := r.emit(1, credential.EventCreated)
		pass(time.Second)
		set(false)
		attempts := r.attempts("hook")
		r.emit(2, credential.EventCreated)
		pass(time.Hour)
		if r.attempts("hook") != attempts {
			t.Error("it gets messages")
		}
		r.answer("hook", nil)
		set(true)
		after := r.emit(3, credential.EventCreated)
		pass(time.Hour)
		got := r.taken("hook")
		slices.Sort(got)
		if !slices.Equal(got, []string{before, after}) {
			t.Errorf("taken %v, want %v", got, []string{before, after})
		}
	})
}

func TestAnEndPointThatIsGoneIsDisabled(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.put("hook", nil)
		r.start()
		r.answer("hook", func(receipt) int { return 410 })
		r.emit(1, credential.EventCreated)
		pass(time.Second)
		if e, _ := r.Endpoint("hook"); e.Enabled {
			t.Fatal("it is enabled")
		}
		r.emit(2, credential.EventCreated)
		pass(10 * time.Hour)
		if n := r.attempts("hook"); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
}

func TestADeletedEndPointLeavesNothingAndANewOneBeginsAfresh(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.put("hook", nil)
		r.start()
		r.answer("hook", func(receipt) int { return 500 })
		r.emit(1, credential.EventCreated)
		pass(time.Second)
		r.know(0) // it does not know the end point: no reason to forget it
		pass(time.Second)
		r.know(everything)
		if len(r.listed("hook", "")) != 1 {
			t.Fatal("a node that does not know the end point forgot its deliveries")
		}
		r.remove("hook")
		pass(time.Second)
		if all, err := r.state.Standings(); len(all) != 0 || err != nil || len(r.listed("hook", "")) != 0 {
			t.Errorf("left are %+v, %v", all, err)
		}
		r.put("hook", nil)
		r.emit(1, credential.EventCreated)
		pass(time.Second)
		old := r.taken("hook")
		r.remove("hook") // and made again before the owner has seen it
		r.put("hook", nil)
		r.answer("hook", nil)
		want := r.emit(1, credential.EventCreated)
		pass(24 * time.Hour)
		if got := r.taken("hook"); !slices.Equal(got, append(old, want)) {
			t.Errorf("got %v, want %v", got, want)
		}
		r.checkStandings()
	})
}

func TestTooManyOpenDeliveriesDropTheOldestAndCountThem(t *testing.T) {
	in(t, Policy{MaxOpen: 100, Keep: 10, BackoffMax: time.Minute}, func(t *testing.T, r *rig) {
		r.put("hook", nil)
		r.answer("hook", func(receipt) int { return 500 })
		r.start()
		var last string
		for i := range 1000 {
			last = r.emit(i%40, credential.EventCreated)
			if i%100 == 0 {
				pass(time.Second)
			}
		}
		pass(time.Minute)
		open := r.listed("hook", "")
		if len(open) > 100+maxEvents || open[len(open)-1].Event.ID != last {
			t.Errorf("%d open", len(open))
		}
		all, err := r.state.Standings()
		if err != nil || int(all[0].Dropped)+len(open) != 1000 || r.d.Counters().Dropped.Load() != int64(all[0].Dropped) {
			t.Errorf("standing %+v, %d open, %v", all, len(open), err)
		}
		r.checkStandings()
		r.answer("hook", nil)
		r.mu.Lock()
		r.receipts = nil
		r.mu.Unlock()
		pass(10 * time.Minute)
		if got := r.taken("hook"); len(got) != len(open) {
			t.Errorf("%d of %d left ones arrived", len(got), len(open))
		}
		r.ordered("hook")
		if kept := r.listed("hook", delivery.Delivered); len(kept) != 10 || kept[9].Event.ID != last {
			t.Errorf("%d are kept", len(kept))
		}
		r.checkStandings()
	})
}

func TestEventsThatTheOutboxDroppedUnreadAreCounted(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.put("hook", nil)
		r.start()
		r.emit(1, credential.EventCreated)
		pass(time.Second)
		r.kill()
		for range 10_000 + 50 {
			r.emit(1, credential.EventRefreshed)
		}
		want := r.emit(1, credential.EventAuthError)
		r.start()
		pass(time.Minute)
		if got := r.taken("hook"); got[len(got)-1] != want {
			t.Errorf("taken %v", got)
		}
		if missed := r.d.Counters().Missed.Load(); missed != 51 {
			t.Errorf("%d counted as missed", missed)
		}
	})
}

// TestNothingIsLostWhateverFails has commits fail in every way, owners change,
// and receivers refuse.
func TestNothingIsLostWhateverFails(t *testing.T) {
	for seed := range uint64(20) {
		in(t, Policy{Concurrency: 3, BackoffMax: time.Minute}, func(t *testing.T, r *rig) {
			draw := rand.New(rand.NewPCG(seed, 10)) // of this goroutine
			rng := rand.New(rand.NewPCG(seed, 9))   // of who holds r.mu
			var quiet bool
			r.fault = func() (before, after error) {
				switch {
				case quiet:
				case rng.IntN(10) == 0:
					return credential.ErrNoQuorum, nil
				case rng.IntN(10) == 0:
					return credential.ErrUnknownOutcome, nil
				case rng.IntN(10) == 0:
					return nil, credential.ErrUnknownOutcome
				}
				return nil, nil
			}
			refuse := func(receipt) int {
				r.mu.Lock()
				defer r.mu.Unlock()
				if quiet {
					return 200
				}
				return []int{200, 200, 500, 503, 302}[rng.IntN(5)]
			}
			r.answer("a", refuse)
			r.answer("b", refuse)
			r.put("a", nil)
			r.put("b", nil)
			r.start()
			pass(time.Second)
			var want []string
			for range 150 {
				switch draw.IntN(12) {
				case 0:
					r.kill()
					r.start()
				case 1:
					pass(time.Duration(draw.IntN(2000)) * time.Millisecond)
				}
				want = append(want, r.emit(draw.IntN(5), credential.EventCreated))
			}
			pass(time.Minute)
			r.mu.Lock()
			quiet = true
			r.mu.Unlock()
			pass(10 * time.Minute)
			for _, id := range []string{"a", "b"} {
				r.ordered(id)
				got := r.taken(id)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("seed %d: %s took %d of %d", seed, id, len(got), len(want))
				}
			}
			r.checkStandings()
		})
	}
}

func TestStopWaitsForWhatIsUnderWayAndNotesIt(t *testing.T) {
	in(t, Policy{}, func(t *testing.T, r *rig) {
		r.put("hook", nil)
		r.answer("hook", func(receipt) int { <-time.After(2 * time.Second); return 200 })
		r.start()
		for i := range 20 {
			r.emit(i, credential.EventCreated)
		}
		pass(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r.d.Stop(ctx)
		if n := len(r.listed("hook", delivery.Delivered)); n != 8 || r.attempts("hook") != 8 {
			t.Errorf("%d noted, %d attempts", n, r.attempts("hook"))
		}
		r.d.Lead(1, groupStore{r.state, r})
		pass(time.Minute)
		if r.attempts("hook") != 8 {
			t.Error("it goes on after it was stopped")
		}
	})
}

// TestAnAttemptIsCountedOnceWhateverBecomesOfItsCommit: the step may have been
// committed though nobody was told.
func TestAnAttemptIsCountedOnceWhateverBecomesOfItsCommit(t *testing.T) {
	in(t, Policy{BackoffMax: time.Minute}, func(t *testing.T, r *rig) {
		r.put("hook", nil)
		commits := 0
		r.fault = func() (before, after error) {
			if commits++; commits%2 == 0 {
				return nil, credential.ErrUnknownOutcome
			}
			return nil, nil
		}
		r.answer("hook", func(receipt) int { return 500 })
		r.start()
		for i := range 5 {
			r.emit(i, credential.EventCreated)
		}
		pass(10 * time.Minute)
		noted := 0
		for _, d := range r.listed("hook", delivery.Pending) {
			noted += d.Attempts
		}
		if made := r.attempts("hook"); noted != made || made < 20 {
			t.Errorf("%d attempts made, %d noted", made, noted)
		}
	})
}
