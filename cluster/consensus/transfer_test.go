package consensus

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage/storagetest"
)

// trio is a cluster of three whose leader is known, under load.
func trio(t *testing.T, callers int) (c *cluster, l *load, leader *Group, others []string) {
	t.Helper()
	c = newCluster(t, fast, "n1", "n2", "n3")
	c.net.setDelay(time.Millisecond)
	c.startAll()
	leader = c.leader(0, "")
	for _, name := range c.voters {
		if name != leader.node {
			others = append(others, name)
		}
	}
	return c, c.startLoad(callers), leader, others
}

// TestTransferUnderLoadLosesNothing: none of the writes is lost, doubled, or of
// unknown outcome, and the gap is a few messages long, not a time-out.
func TestTransferUnderLoadLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, leader, others := trio(t, 16)
		defer c.stopAll()
		for i := range 40 {
			to := append(others, leader.node)[i%3]
			time.Sleep(50 * time.Millisecond)
			leader = c.leader(0, "")
			if err := leader.Transfer(t.Context(), to); err != nil {
				t.Fatalf("transfer %d, from %s to %s: %v", i, leader.node, to, err)
			}
			if at, _ := leader.Leader(); at != to {
				t.Errorf("transfer %d to %s: it went to %s", i, to, at)
			}
		}
		l.check()
		acked, _, unknown := l.outcomes()
		if unknown > 0 || acked < 1000 {
			t.Errorf("%d writes of unknown outcome, %d acknowledged", unknown, acked)
		}
		if gap := l.longestGap(); gap > 50*time.Millisecond {
			t.Errorf("nothing was acknowledged for %v", gap)
		}
	})
}

// TestTransferInABurstOfProposalsLosesNone: raft's own queue is full of them
// when the transfer begins, and it would drop them without a word.
func TestTransferInABurstOfProposalsLosesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, leader, others := trio(t, 1)
		defer c.stopAll()
		for _, disk := range c.disks { // raft's loop is slower than those who propose
			disk.BeforeWrite(func(storagetest.Write) error {
				for range 200 {
					runtime.Gosched()
				}
				return nil
			})
		}
		for i := range 20 {
			to := append(others, leader.node)[i%3]
			now := c.leader(0, "")
			outcomes := make(chan error, 300)
			for range cap(outcomes) {
				go func() {
					_, err := now.Propose(t.Context(), set(t, "k", "v"))
					outcomes <- err
				}()
			}
			for tries := 0; len(now.queue) < 100 && tries < 100_000; tries++ {
				runtime.Gosched()
			}
			if err := now.Transfer(t.Context(), to); err != nil {
				t.Fatal(err)
			}
			for range cap(outcomes) {
				if err := <-outcomes; err != nil && !errors.Is(err, credential.ErrNotOwner) {
					t.Errorf("in transfer %d: %v", i, err)
				}
			}
		}
		l.check()
	})
}

// TestTransferThatFailsLetsWritesGoOn: to a node that is down, and to one that
// does not answer, for which raft itself gives up long after it has said so.
func TestTransferThatFailsLetsWritesGoOn(t *testing.T) {
	for name, fail := range map[string]func(c *cluster, target string){
		"down":   func(c *cluster, target string) { c.crash(target, 1) },
		"silent": func(c *cluster, target string) { c.cut(target, true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, l, leader, others := trio(t, 8)
				defer c.stopAll()
				time.Sleep(100 * time.Millisecond)
				before := l.acked()
				term, _ := leader.IsLeader()
				fail(c, others[0])
				for range 2 {
					if err := leader.Transfer(t.Context(), others[0]); !errors.Is(err, credential.ErrNoQuorum) {
						t.Errorf("transfer to a node that is %s: %v", name, err)
					}
				}
				if now, ok := leader.IsLeader(); !ok || now != term {
					t.Errorf("it leads in term %d (%v), after term %d", now, ok, term)
				}
				time.Sleep(10 * time.Second)
				if l.acked() == before {
					t.Error("nothing is written any more")
				}
				if err := leader.Transfer(t.Context(), others[1]); err != nil {
					t.Errorf("transfer to the other: %v", err)
				}
				c.cut(others[0], false)
				l.check()
				if _, _, unknown := l.outcomes(); unknown > 0 {
					t.Errorf("%d writes of unknown outcome", unknown)
				}
			})
		})
	}
}

// TestTransferThatNobodyWaitsForIsSeenToItsEnd: the intake goes on afterwards.
func TestTransferThatNobodyWaitsForIsSeenToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, leader, others := trio(t, 4)
		defer c.stopAll()
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if err := leader.Transfer(over, others[0]); !errors.Is(err, credential.ErrNoQuorum) && !errors.Is(err, credential.ErrUnknownOutcome) {
			t.Errorf("with a context that is over: %v", err)
		}
		c.cut(others[0], true)
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := leader.Transfer(short, others[0]); !errors.Is(err, credential.ErrUnknownOutcome) {
			t.Errorf("time-out during a transfer: %v", err)
		}
		again, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := leader.Transfer(again, others[1]); !errors.Is(err, credential.ErrNoQuorum) {
			t.Errorf("while the first one is not over: %v", err)
		}
		before := l.acked()
		time.Sleep(10 * time.Second)
		if after := l.acked(); after < before+100 {
			t.Errorf("%d writes in 10 s", after-before)
		}
		c.cut(others[0], false)
		l.check()
	})
}

// TestLeaderThatComesBackDuringATransferServes: raft drops proposals without a
// word because of a transfer that it began in an earlier term, until the request
// for it has failed. The node must not be told that it leads before, and must be
// told then.
func TestLeaderThatComesBackDuringATransferServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, leader, others := trio(t, 2)
		defer c.stopAll()
		target, behind := others[0], others[1]
		c.cut(behind, true)
		time.Sleep(100 * time.Millisecond) // it lacks entries now, and cannot win
		c.net.lose(func(_, _ string, command any) bool { _, ok := command.(*raft.TimeoutNowRequest); return ok })
		ended := make(chan error, 1)
		begun := time.Now()
		go func() { ended <- leader.Transfer(t.Context(), target) }()
		time.Sleep(50 * time.Millisecond)
		c.cut(target, true)
		eventually(t, "it steps down", func() bool { _, ok := leader.IsLeader(); return !ok })
		c.net.setCut(leader.node, behind, false)
		c.net.setCut(behind, leader.node, false)
		if err := <-ended; !errors.Is(err, credential.ErrConflict) {
			t.Errorf("the transfer ended with %v", err)
		}
		if leader.raft.State() != raft.Leader || c.leader(0, "") != leader {
			t.Fatal("another node leads, which the test is not about")
		}
		if took := time.Since(begun); took < 10*rpcLimit || took > 10*rpcLimit+barrierPauseMax+time.Second {
			t.Errorf("it serves again after %v", took)
		}
		before := l.acked()
		eventually(t, "writes go on", func() bool { return l.acked() > before })
		c.cut(target, false)
		l.check()
		if _, _, unknown := l.outcomes(); unknown > 0 {
			t.Errorf("%d writes of unknown outcome", unknown)
		}
	})
}

// TestClosingDuringATransferEndsIt: nothing waits for ever.
func TestClosingDuringATransferEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, leader, others := trio(t, 4)
		defer c.stopAll()
		c.cut(others[0], true)
		ended := make(chan error, 1)
		go func() { ended <- leader.Transfer(context.Background(), others[0]) }()
		time.Sleep(20 * time.Millisecond)
		begun := time.Now()
		if err := c.nodes[leader.node].host.CloseGroup(t.Context(), 0, false); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > drainLimit+time.Second {
			t.Errorf("closing took %v", took)
		}
		if err := <-ended; err == nil {
			t.Error("the transfer is said to have worked")
		}
		c.cut(others[0], false)
		l.check()
	})
}
