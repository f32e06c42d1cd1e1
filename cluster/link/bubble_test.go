package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/cluster/raftlog"
)

// pipes is a network of net.Pipe, for a bubble.
func pipes(t testing.TB) *network {
	var mu sync.Mutex
	listeners := map[string]*pipeListener{}
	n := &network{t: t, addrs: map[string]string{}}
	n.listen = func() net.Listener {
		mu.Lock()
		defer mu.Unlock()
		l := &pipeListener{calls: make(chan net.Conn), closed: make(chan struct{}), name: fmt.Sprintf("pipe-%d", len(listeners))}
		listeners[l.name] = l
		return l
	}
	n.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		mu.Lock()
		l := listeners[addr]
		mu.Unlock()
		if l == nil {
			return nil, errors.New("nobody listens")
		}
		ours, theirs := net.Pipe()
		select {
		case l.calls <- theirs:
			return ours, nil
		case <-l.closed:
			return nil, errors.New("connection refused")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return n
}

type pipeListener struct {
	calls  chan net.Conn
	once   sync.Once
	closed chan struct{}
	name   string
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.calls:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return nodeAddr(l.name) }

// counter is a state machine that counts what it applies.
type counter struct{ n int }

func (c *counter) Apply(*raft.Log) any                 { c.n++; return c.n }
func (c *counter) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("none") }
func (c *counter) Restore(r io.ReadCloser) error       { return r.Close() }

// lead waits until one of the rafts, but for one, leads.
func lead(rafts map[string]*raft.Raft, not string) string {
	for range 1000 {
		for name, r := range rafts {
			if name != not && r.State() == raft.Leader {
				return name
			}
		}
		time.Sleep(10 * time.Millisecond) // virtual
	}
	return ""
}

// TestRealRaftElectsAndFailsOverInVirtualTime: whole groups over the port, in a
// bubble; the leader's port is torn away.
func TestRealRaftElectsAndFailsOverInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ca := pipes(t), authority(t)
		var members raft.Configuration
		for _, name := range []string{"n1", "n2", "n3"} {
			members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(name)})
		}
		ports, groups := map[string]*testPort{}, []map[string]*raft.Raft{{}, {}}
		for _, s := range members.Servers {
			name := string(s.ID)
			ports[name] = n.start(name, nodePEM(t, name, ca), nil)
			for id, group := range groups {
				group[name] = startRaft(t, ports[name], uint16(id), members)
			}
		}
		apply := func(r *raft.Raft) {
			t.Helper()
			if err := r.Apply([]byte("x"), time.Second).Error(); err != nil {
				t.Error(err)
			}
		}
		first := lead(groups[0], "")
		for id, group := range groups {
			name := lead(group, "")
			if name == "" {
				t.Fatalf("nobody leads group %d", id)
			}
			for range 50 {
				apply(group[name])
			}
		}
		if err := groups[0][first].LeadershipTransfer().Error(); err != nil {
			t.Errorf("transfer: %v", err)
		}
		second := lead(groups[0], first)
		apply(groups[0][second])
		ports[second].stop(t)
		started := time.Now()
		third := lead(groups[0], second)
		if third == "" {
			t.Fatal("nobody leads after the leader's end")
		}
		if took := time.Since(started); took > 3*time.Second {
			t.Errorf("fail-over took %s", took)
		}
		apply(groups[0][third])
		if addr, _ := groups[0][third].LeaderWithID(); addr != raft.ServerAddress(third) {
			t.Errorf("the leader's address is %q", addr)
		}
		for _, group := range groups {
			for _, r := range group {
				if err := r.Shutdown().Error(); err != nil {
					t.Error(err)
				}
			}
		}
		for name, p := range ports {
			if name != second {
				p.stop(t)
			}
		}
	})
}

func startRaft(t *testing.T, p *testPort, group uint16, members raft.Configuration) *raft.Raft {
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(p.Name())
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = 400*time.Millisecond, 400*time.Millisecond, 300*time.Millisecond
	cfg.Logger = raftlog.New(slog.New(slog.DiscardHandler), group, false)
	store, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	tr := openGroup(t, p, group)
	if err := raft.BootstrapCluster(cfg, store, store, snaps, tr, members); err != nil {
		t.Fatal(err)
	}
	r, err := raft.NewRaft(cfg, &counter{}, store, store, snaps, tr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestHeartbeatsOfAllGroupsGoOutTogether: so that a silent node wakes once for
// all of them, and not once for each. Each still goes out in every beat.
func TestHeartbeatsOfAllGroupsGoOutTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ca := pipes(t), authority(t)
		beat := func(c *Config) { c.Timing.Beat = 100 * time.Millisecond }
		n1, n2 := n.start("n1", nodePEM(t, "n1", ca), beat), n.start("n2", nodePEM(t, "n2", ca), beat)
		defer n1.stop(t)
		defer n2.stop(t)
		started := time.Now()
		const groups, beats = 5, 20
		var mu sync.Mutex
		heard := map[time.Duration]int{}
		var all sync.WaitGroup
		for id := range uint16(groups) {
			a, b := openGroup(t, n1, id), openGroup(t, n2, id)
			b.SetHeartbeatHandler(func(c raft.RPC) {
				mu.Lock()
				heard[time.Since(started)]++
				mu.Unlock()
				c.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
			})
			all.Go(func() {
				req := &raft.AppendEntriesRequest{RPCHeader: header("n1"), Term: 1}
				for i := range beats {
					time.Sleep(time.Duration(40+int(id)*7+i%3) * time.Millisecond) // as raft does
					if err := a.AppendEntries("n2", "n2", req, new(raft.AppendEntriesResponse)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if len(heard) != beats {
			t.Errorf("%d heartbeats came at %d moments, want %d", groups*beats, len(heard), beats)
		}
		for at, count := range heard {
			if count != groups {
				t.Errorf("after %v came %d heartbeats, want one of each of %d groups", at, count, groups)
			}
		}
	})
}
