package placement

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// inLand runs a test in a land of its own.
func inLand(t *testing.T, shards int, fn func(t *testing.T, w *land)) {
	synctest.Test(t, func(t *testing.T) {
		w := newLand(t, shards)
		defer w.end()
		fn(t, w)
	})
}

// view returns the records.
func (w *land) view() *View {
	v, err := read(&w.kv, quiet)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// unrest says what keeps the cluster from being as it should be; empty: it is.
func (w *land) unrest() string {
	v := w.view()
	members := v.all(Active)
	w.mu.Lock()
	defer w.mu.Unlock()
	lists := make([][]string, w.shards)
	for id := range lists {
		s, r := v.shards[uint16(id)], w.rafts[uint16(id)]
		if s == nil || r == nil {
			return fmt.Sprintf("shard %d is not placed", id)
		}
		lists[id] = s.Replicas
		if !sameSet(s.Replicas, r.members.Voters) || len(r.members.Learners) > 0 || r.leader != s.Owner {
			return fmt.Sprintf("shard %d should be %v and is %+v, led by %q", id, s.Replicas, r.members, r.leader)
		}
		for name, h := range w.homes {
			if _, has := h.replicas[uint16(id)]; has != slices.Contains(s.Replicas, name) && h.up {
				return fmt.Sprintf("shard %d should be %v, and %s has a replica: %v", id, s.Replicas, name, has)
			}
		}
	}
	held, owned := map[string]int{}, map[string]int{}
	for _, m := range members {
		held[m], owned[m] = 0, 0
	}
	for _, l := range lists {
		owned[l[0]]++
		for _, name := range l {
			held[name]++
		}
	}
	for _, count := range []map[string]int{held, owned} {
		counts := slices.Sorted(maps.Values(count))
		if counts[len(counts)-1] > counts[0]+1 || len(count) != len(members) {
			return fmt.Sprintf("shares: %v", count)
		}
	}
	meta := w.rafts[MetaGroup].members
	if !sameSet(slices.Concat(meta.Voters, meta.Learners), members) {
		return fmt.Sprintf("meta is %+v, nodes are %v", meta, members)
	}
	return ""
}

// settle waits until the cluster is as it should be.
func (w *land) settle(within time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(within); ; {
		why := w.unrest()
		if why == "" {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("after %v: %s", within, why)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (v *View) epochs() (text string) {
	for _, id := range slices.Sorted(maps.Keys(v.shards)) {
		text += fmt.Sprintf("%d:%d ", id, v.shards[id].Epoch)
	}
	return text
}

func (w *land) three() {
	w.opts.Expect = 3
	w.found("n1")
	w.join("n2", "n1")
	w.join("n3", "n1")
	w.settle(30 * time.Second)
}

func TestNodesComeAndGo(t *testing.T) {
	inLand(t, 8, func(t *testing.T, w *land) {
		w.three()
		for _, s := range w.view().shards {
			if s.Epoch != 1 || len(s.Replicas) != 3 || !slices.Equal(s.Found, s.Replicas) {
				t.Errorf("first record of shard %d: %+v", s.ID, *s)
			}
		}
		// Two join, by nodes that do not lead.
		w.join("n4", "n2")
		w.join("n5", "n3")
		w.settle(2 * time.Minute)
		if _, meta := w.leader(MetaGroup); len(meta.Voters) != 5 {
			t.Errorf("meta of five nodes: %+v", meta)
		}
		// Away for a moment: nothing moves.
		before := w.view().epochs()
		w.homes["n2"].kill()
		time.Sleep(2 * time.Minute)
		w.begin("n2")
		w.settle(30 * time.Second)
		if after := w.view().epochs(); after != before {
			t.Errorf("a node away for two minutes moved shards: %s -> %s", before, after)
		}
		// Away for long: its replicas are rebuilt, and when it is back, it gets its
		// share again.
		w.homes["n2"].kill()
		time.Sleep(8 * time.Minute)
		for id, s := range w.view().shards {
			if _, m := w.leader(id); slices.Contains(s.Replicas, "n2") || slices.Contains(m.Voters, "n2") || len(m.Voters) != 3 {
				t.Errorf("shard %d after its node was dead for 8 minutes: record %v, members %+v", id, s.Replicas, m)
			}
		}
		w.begin("n2")
		w.settle(2 * time.Minute)
		// It is taken out for good, by a node that does not lead.
		via := "n4"
		if leader, _ := w.leader(MetaGroup); leader == via {
			via = "n5"
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		if err := w.homes[via].placement.Decommission(ctx, "n1"); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Minute)
		if n := w.view().nodes["n1"]; n.State != Removed {
			t.Errorf("n1 is %s", n.State)
		}
		// And so is a node that is dead.
		w.homes["n3"].kill()
		time.Sleep(time.Second)
		ctx, cancel = context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		if err := w.homes[via].placement.Decommission(ctx, "n3"); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Minute)
	})
}

// TestLoopsStandWhateverHappens has the loops live through random deaths,
// returns, joins and silences, by seed; the fakes check what they do.
func TestLoopsStandWhateverHappens(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		inLand(t, 8, func(t *testing.T, w *land) {
			rng := rand.New(rand.NewPCG(uint64(seed), 4))
			w.opts.Expect = 1 + rng.IntN(3)
			w.opts.MaxMoving = 1 + rng.IntN(4)
			names := []string{"n1"}
			w.found("n1")
			for range 40 {
				time.Sleep(time.Duration(rng.Int64N(int64(90 * time.Second))))
				h := w.homes[names[rng.IntN(len(names))]]
				up := h.alive()
				switch n := rng.IntN(10); {
				case n < 4 && !up:
					w.begin(h.name)
				case n < 2 && len(names) > 1:
					h.kill()
				case n < 6 && len(names) < 7:
					name := fmt.Sprintf("n%d", len(names)+1)
					if via := w.homes[names[rng.IntN(len(names))]]; via.alive() {
						if got, err := via.placement.Admit(t.Context(), (&home{land: w, name: name}).joining()); err == nil && got.Refused == "" {
							names = append(names, name)
							w.begin(name)
						}
					}
				case n == 6:
					w.silence(true, h.name)
				case n == 7:
					w.silence(false, "")
				}
			}
			w.silence(false, "")
			for _, name := range names {
				if h := w.homes[name]; !h.alive() {
					w.begin(name)
				}
			}
			for range 3 - min(3, len(names)) { // the expected ones
				name := fmt.Sprintf("n%d", len(names)+1)
				names = append(names, name)
				w.join(name, "n1")
			}
			w.settle(15 * time.Minute)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestOneNodeGrowsToThree(t *testing.T) {
	inLand(t, 4, func(t *testing.T, w *land) {
		w.found("n1")
		w.settle(10 * time.Second)
		w.join("n2", "n1")
		w.settle(time.Minute)
		w.join("n3", "n2")
		w.settle(time.Minute)
		for _, id := range []uint16{0, 1, 2, 3, MetaGroup} {
			if _, m := w.leader(id); len(m.Voters) != 3 {
				t.Errorf("group %d: %+v", id, m)
			}
		}
	})
}

func TestLeavingHandsOverAndMovesNothing(t *testing.T) {
	inLand(t, 8, func(t *testing.T, w *land) {
		w.three()
		before := w.view().epochs()
		h := w.homes["n1"]
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := h.placement.Leave(ctx); err != nil {
			t.Fatal(err)
		}
		// As long as it is still there, nobody hands anything back.
		for range 50 {
			time.Sleep(200 * time.Millisecond)
			for _, id := range []uint16{0, 1, 2, 3, 4, 5, 6, 7, MetaGroup} {
				if leader, _ := w.leader(id); leader == "n1" || leader == "" {
					t.Fatalf("group %d is led by %q after n1 has left", id, leader)
				}
			}
		}
		h.kill()
		time.Sleep(time.Minute)
		w.begin("n1")
		w.settle(30 * time.Second)
		if after := w.view().epochs(); after != before {
			t.Errorf("a restart moved shards: %s -> %s", before, after)
		}
	})
}

func TestLeavingEndsWhereNobodyCouldTakeOver(t *testing.T) {
	inLand(t, 4, func(t *testing.T, w *land) {
		w.found("n1")
		w.settle(10 * time.Second)
		if err := w.homes["n1"].placement.Leave(t.Context()); err != nil {
			t.Errorf("alone: %v", err)
		}
	})
	inLand(t, 4, func(t *testing.T, w *land) {
		w.three()
		w.silence(true, "n1") // the others are alive, and do not say how far they are
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := w.homes["n1"].placement.Leave(ctx); err == nil {
			t.Error("nobody was ready, and it left without a word")
		}
	})
}

func TestNodesThatAreStoppedTogetherDoNotWaitForEachOther(t *testing.T) {
	inLand(t, 8, func(t *testing.T, w *land) {
		w.three()
		begun := time.Now()
		var all sync.WaitGroup
		for _, name := range []string{"n1", "n2", "n3"} {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := w.homes[name].placement.Leave(ctx); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		all.Wait()
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAReplicaIsNotDestroyedInDoubt(t *testing.T) {
	inLand(t, 6, func(t *testing.T, w *land) {
		w.three()
		w.join("n4", "n1")
		w.settle(time.Minute)
		// Another one joins; the others' leaders do not answer n4, so that it
		// cannot know whether it may give up what moves away from it.
		h := w.homes["n4"]
		had := h.held()
		h.kill()
		w.join("n5", "n1")
		time.Sleep(8 * time.Minute) // all of n4's replicas are rebuilt elsewhere
		w.silence(true, "n4")
		w.begin("n4")
		time.Sleep(time.Minute)
		if h.held() < had {
			t.Errorf("%d of %d replicas are left, and nobody has said that they may go", h.held(), had)
		}
		w.silence(false, "")
		w.settle(3 * time.Minute)
	})
}

func TestTheClusterSaysHowItIs(t *testing.T) {
	inLand(t, 6, func(t *testing.T, w *land) {
		w.three()
		w.join("n4", "n1")
		w.settle(time.Minute)
		w.homes["n3"].kill()
		time.Sleep(3 * time.Second)
		if _, err := w.homes["n1"].placement.Admit(t.Context(), (&home{land: w, name: "n5"}).joining()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		st := w.homes["n2"].placement.Status(t.Context())
		var words []string
		owned := 0
		for _, n := range st.Nodes {
			words = append(words, n.Name+" "+n.State)
			owned += n.Owned
			if n.HTTP != n.Name+":8" {
				t.Errorf("address of %s is %q", n.Name, n.HTTP)
			}
		}
		if got := strings.Join(words, ", "); got != "n1 alive, n2 alive, n3 dead, n4 alive, n5 dead" {
			t.Errorf("nodes: %s", got)
		}
		if owned != 6 || len(st.Shards) != 6 {
			t.Errorf("%d shards, %d of them owned", len(st.Shards), owned)
		}
		for _, s := range st.Shards {
			if s.Owner == "" || s.Owner == "n3" || s.Term == 0 || len(s.Replicas) != 3 {
				t.Errorf("shard %+v", s)
			}
		}
	})
}
