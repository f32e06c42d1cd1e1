package link

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// Raft ceases to read the answers of a pipeline after the first that is not as
// it should be, and may send more meanwhile. It must not wait for ever then:
// what waits is one of the goroutines that its shutdown waits for.
func TestPipelineEndsWithTheFirstAnswerThatEndsRaftsReading(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1, n2 := n.start("n1", nodePEM(t, "n1", ca), nil), n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n1.stop(t)
	defer n2.stop(t)
	group := uint16(0)
	for what, bad := range map[string]*raft.AppendEntriesResponse{
		"newer term": {Term: 8, Success: true}, "refused": {Term: 7}, "an error": nil,
	} {
		group++
		t.Run(what, func(t *testing.T) {
			a, b := openGroup(t, n1, group), openGroup(t, n2, group)
			var answers atomic.Int32
			defer answering(b, func(raft.RPC) (any, error) {
				switch {
				case answers.Add(1) < 3:
					return &raft.AppendEntriesResponse{Term: 7, Success: true}, nil
				case bad == nil:
					return &raft.AppendEntriesResponse{}, errors.New("no")
				}
				return bad, nil
			})()
			p, err := a.AppendEntriesPipeline("n2", "n2")
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			req := &raft.AppendEntriesRequest{RPCHeader: header("n1"), Term: 7, PrevLogEntry: 4, PrevLogTerm: 1}
			read := make(chan int, 1)
			go func() { // as raft does it
				for n := 1; ; n++ {
					if f := <-p.Consumer(); f.Error() != nil || f.Response().Term > 7 || !f.Response().Success {
						read <- n
						return
					}
				}
			}()
			ended := make(chan error, 1)
			go func() {
				for {
					if _, err := p.AppendEntries(req, new(raft.AppendEntriesResponse)); err != nil {
						ended <- err
						return
					}
				}
			}()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Error("it still waits to send")
			}
			if n := <-read; n != 3 {
				t.Errorf("answer %d was the last that raft read", n)
			}
		})
	}
}

// The same with a whole raft: it leads, under load, until the other node knows
// of a newer term, and is shut down then.
func TestRaftThatLostItsLeadershipUnderLoadStops(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1, n2 := n.start("n1", nodePEM(t, "n1", ca), nil), n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n1.stop(t)
	defer n2.stop(t)
	for group := range uint16(10) { // a race: each of them may win or lose it
		var newer atomic.Bool
		b := openGroup(t, n2, group)
		answer := func(c raft.RPC) (any, error) {
			switch cmd := c.Command.(type) {
			case *raft.RequestVoteRequest:
				return &raft.RequestVoteResponse{Term: cmd.Term, Granted: true}, nil
			case *raft.RequestPreVoteRequest:
				return &raft.RequestPreVoteResponse{Term: cmd.Term, Granted: true}, nil
			case *raft.AppendEntriesRequest:
				if newer.Load() {
					return &raft.AppendEntriesResponse{Term: cmd.Term + 1}, nil
				}
				return &raft.AppendEntriesResponse{Term: cmd.Term, Success: true, LastLog: cmd.PrevLogEntry + uint64(len(cmd.Entries))}, nil
			}
			return nil, errors.New("not now")
		}
		b.SetHeartbeatHandler(func(c raft.RPC) {
			c.Respond(&raft.AppendEntriesResponse{Term: c.Command.(*raft.AppendEntriesRequest).Term, Success: true}, nil)
		})
		stop := answering(b, answer)
		r := leadPair(t, openGroup(t, n1, group))
		flood := applying(t, r)
		newer.Store(true)
		stopped := make(chan error, 1)
		go func() { stopped <- r.Shutdown().Error() }()
		select {
		case <-stopped:
		case <-time.After(15 * time.Second):
			t.Fatalf("raft of group %d does not stop", group)
		}
		flood.Wait()
		stop()
	}
}

// leadPair starts a raft of n1 and n2 that leads.
func leadPair(t *testing.T, tr *transport) *raft.Raft {
	t.Helper()
	c := raft.DefaultConfig()
	c.LocalID, c.LogLevel = "n1", "off"
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
	leads := make(chan bool, 10)
	c.NotifyCh = leads
	store, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	founders := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}, {ID: "n2", Address: "n2"}}}
	if err := raft.BootstrapCluster(c, store, store, snaps, tr, founders); err != nil {
		t.Fatal(err)
	}
	r, err := raft.NewRaft(c, &raft.MockFSM{}, store, store, snaps, tr)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-leads:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not lead")
	}
	return r
}

// applying has entries applied, and returns when some are, and while it goes on
// until raft is shut down. Nobody waits for raft's futures: after a shutdown they
// may never be answered.
func applying(t *testing.T, r *raft.Raft) (ended *sync.WaitGroup) {
	t.Helper()
	ended = new(sync.WaitGroup)
	some, late := make(chan struct{}), time.Now().Add(20*time.Second)
	ended.Go(func() {
		for once := false; r.State() != raft.Shutdown; {
			r.ApplyLog(raft.Log{Data: []byte("x")}, 0)
			if !once && (r.AppliedIndex() > 500 || time.Now().After(late)) {
				once = true
				close(some)
			}
		}
	})
	<-some
	if n := r.AppliedIndex(); n <= 500 {
		t.Errorf("only %d entries were applied", n)
	}
	return ended
}
