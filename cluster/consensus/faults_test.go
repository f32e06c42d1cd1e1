package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage/storagetest"
)

// TestLeaderWithAMinorityCommitsNothing: of five, the leader and one other are
// cut off. Afterwards they follow the others, whatever they have in their logs.
func TestLeaderWithAMinorityCommitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, fast, "n1", "n2", "n3", "n4", "n5")
		defer c.stopAll()
		c.net.setDelay(time.Millisecond)
		c.startAll()
		old := c.leader(0, "")
		minority := map[string]bool{old.node: true}
		for _, name := range c.voters {
			if len(minority) < 2 {
				minority[name] = true
			}
		}
		between := func(cut bool) {
			for _, a := range c.voters {
				for _, b := range c.voters {
					if minority[a] != minority[b] {
						c.net.setCut(a, b, cut)
					}
				}
			}
		}
		between(true)
		outcomes := make(chan error, 200)
		for i := range cap(outcomes) {
			go func() {
				_, err := old.Propose(t.Context(), set(t, fmt.Sprint("lost", i), "v"))
				outcomes <- err
			}()
		}
		for range cap(outcomes) {
			if err := <-outcomes; !errors.Is(err, credential.ErrUnknownOutcome) && !errors.Is(err, credential.ErrNotOwner) {
				t.Errorf("in a minority: %v", err)
			}
		}
		eventually(t, "the majority has a leader", func() bool {
			_, g := c.serving(0)
			return g != nil && !minority[g.node]
		})
		if _, err := c.leader(0, "").Propose(t.Context(), set(t, "k", "v")); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second) // the minority truncates its log, in which most is not committed
		between(false)
		for _, name := range c.voters {
			g := c.group(name, 0)
			eventually(t, name+" follows the majority", func() bool { return read(g, "k") == "v" })
			for i := range cap(outcomes) {
				if got := read(g, fmt.Sprint("lost", i)); got == "v" {
					t.Errorf("%s has what a minority was asked to write", name)
				}
			}
		}
	})
}

// TestWritesGoOnWhenMessagesPassOneWayOnly: the leader, or a follower, hears
// nothing, or is not heard.
func TestWritesGoOnWhenMessagesPassOneWayOnly(t *testing.T) {
	for _, who := range []string{"leader", "follower"} {
		for _, what := range []string{"is deaf", "is dumb"} {
			t.Run(who+" "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, l, leader, others := trio(t, 2)
					defer c.stopAll()
					time.Sleep(100 * time.Millisecond)
					_, term := leader.Leader()
					victim := leader.node
					if who == "follower" {
						victim = others[0]
					}
					oneWay := func(cut bool) {
						for _, name := range c.voters {
							switch {
							case name == victim:
							case what == "is deaf":
								c.net.setCut(name, victim, cut)
							default:
								c.net.setCut(victim, name, cut)
							}
						}
					}
					oneWay(true)
					time.Sleep(4 * time.Second)
					before := l.acked()
					time.Sleep(time.Second)
					if l.acked() < before+100 {
						t.Errorf("%d writes in a second", l.acked()-before)
					}
					_, now := c.leader(0, "").Leader()
					if who == "follower" && now != term {
						t.Errorf("a follower disturbed the others: term %d, then %d", term, now)
					}
					oneWay(false)
					time.Sleep(2 * time.Second)
					l.check()
					if gap := l.longestGap(); gap > 3*time.Second {
						t.Errorf("nothing was acknowledged for %v", gap)
					}
				})
			})
		}
	}
}

// TestWhatAPausedLeaderWasAskedNeverApplies: a leader stands still, disk and
// network, for longer than all time-outs, with proposals in every stage. When it
// goes on, the messages that it had not sent yet arrive.
func TestWhatAPausedLeaderWasAskedNeverApplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, old, _ := trio(t, 2)
		defer c.stopAll()
		time.Sleep(100 * time.Millisecond)
		thaw := c.net.freeze(old.node)
		resume := make(chan struct{})
		c.disks[old.node].BeforeWrite(func(w storagetest.Write) error {
			if w.Kind == storagetest.Sync && strings.HasSuffix(w.Path, ".log") {
				<-resume
			}
			return nil
		})
		outcomes := make(chan error, 400) // more than the queue holds
		for i := range cap(outcomes) {
			go func() {
				_, err := old.Propose(t.Context(), set(t, fmt.Sprint("late", i), "v"))
				outcomes <- err
			}()
		}
		eventually(t, "another node leads", func() bool {
			for _, name := range c.voters {
				if _, leads := c.group(name, 0).IsLeader(); leads && name != old.node {
					return true
				}
			}
			return false
		})
		next := c.leader(0, old.node)
		if _, err := next.Propose(t.Context(), set(t, "k", "v")); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		if _, leads := old.IsLeader(); !leads {
			t.Error("the old leader knows of its loss already, so that it was not paused")
		}
		c.disks[old.node].BeforeWrite(nil)
		close(resume)
		thaw()
		told := map[bool]int{}
		for range cap(outcomes) {
			err := <-outcomes
			if !errors.Is(err, credential.ErrUnknownOutcome) && !errors.Is(err, credential.ErrNotOwner) {
				t.Errorf("asked of a paused leader: %v", err)
			}
			told[errors.Is(err, credential.ErrUnknownOutcome)]++
		}
		t.Logf("%d unknown, %d refused", told[true], told[false])
		eventually(t, "the old leader follows", func() bool { return read(old, "k") == "v" })
		time.Sleep(5 * time.Second)
		for _, name := range c.voters {
			for i := range cap(outcomes) {
				if got := read(c.group(name, 0), fmt.Sprint("late", i)); got == "v" {
					t.Fatalf("%s has what the paused leader was asked", name)
				}
			}
		}
		l.check()
	})
}

// TestGroupOnAHangingDiskIsClosedLater: nothing is deleted under raft's hands,
// and the group cannot be opened beside what is left of it.
func TestGroupOnAHangingDiskIsClosedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, fast, "n1")
		defer c.stopAll()
		h := c.start("n1", false).host
		g := c.leader(0, "")
		resume := make(chan struct{})
		c.disks["n1"].BeforeWrite(func(w storagetest.Write) error {
			if w.Kind == storagetest.Sync && strings.HasSuffix(w.Path, ".log") {
				<-resume
			}
			return nil
		})
		outcome := make(chan error, 1)
		go func() {
			_, err := g.Propose(context.Background(), set(t, "k", "v"))
			outcome <- err
		}()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.CloseGroup(short, 0, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closed with %v", err)
		}
		if err := <-outcome; !errors.Is(err, credential.ErrUnknownOutcome) {
			t.Errorf("what was under way: %v", err)
		}
		if _, err := h.OpenGroup(0, Start{Join: true}); !errors.Is(err, credential.ErrConflict) || h.Group(0) != nil {
			t.Errorf("opened beside raft's remains: %v", err)
		}
		close(resume)
		if ids, err := h.Resident(); !slices.Contains(ids, 0) || err != nil {
			t.Errorf("deleted under raft's hands: %v (%v)", ids, err)
		}
		if err := h.CloseGroup(t.Context(), 0, true); err != nil {
			t.Error(err)
		}
		if ids, err := h.Resident(); slices.Contains(ids, 0) || err != nil {
			t.Errorf("destroyed, and resident: %v (%v)", ids, err)
		}
	})
}

// TestJoiningNodeGetsMuchStateWhileWritesGoOn: the log is truncated, so that a
// node that joins needs the state, which is too large for one message or one
// table; writes are not held up meanwhile.
func TestJoiningNodeGetsMuchStateWhileWritesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const values, size = 600, 20_000
		c, l, leader, _ := trio(t, 2)
		defer c.stopAll()
		for i := range values {
			value := fmt.Sprintf("%0*d", size, i)
			if _, err := leader.Propose(t.Context(), set(t, fmt.Sprintf("k%06d", i), value)); err != nil {
				t.Fatal(err)
			}
		}
		_, last := leader.Progress()
		time.Sleep(2 * time.Second)
		awaitTruncated(t, leader, last-uint64(values)/2)
		joined := c.start("n4", true).host.Group(0)
		before, begun := l.acked(), time.Now()
		if err := leader.AddLearner(t.Context(), "n4", membersIndex(t, leader)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "n4 catches up", func() bool {
			applied, _ := joined.Progress()
			_, last := leader.Progress()
			return applied+20 > last
		})
		t.Logf("%d MB after %v of virtual time, %d writes meanwhile", values*size>>20, time.Since(begun), l.acked()-before)
		if log, err := joined.State().Log(); err != nil || log.FirstIndex() != 0 && log.FirstIndex() < last {
			t.Errorf("it was brought up by the log, from %d (%v)", log.FirstIndex(), err)
		}
		c.reach("n4", "n1", "n2", "n3")
		for i := range values {
			key := fmt.Sprintf("k%06d", i)
			if got, want := read(joined, key), read(leader, key); got != want {
				t.Fatalf("%s is %.20s, want %.20s", key, got, want)
			}
		}
		l.check()
		if _, _, unknown := l.outcomes(); unknown > 0 {
			t.Errorf("%d writes of unknown outcome", unknown)
		}
	})
}
