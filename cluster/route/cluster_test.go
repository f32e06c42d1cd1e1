package route_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/grantd/grantd/cluster/route"
	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire/exchange"
)

// cluster is two nodes with routers, RPC servers and real streams between them.
type cluster struct {
	mu     sync.Mutex
	leader string // as both know it
	term   uint64
	lis    map[string]*bufconn.Listener
	nodes  map[string]*member
}

type member struct {
	*node
	router *route.Router
	server *rpc.Server
	peers  *rpc.Peers
	served sync.WaitGroup
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{leader: "n2", term: 1, lis: map[string]*bufconn.Listener{}, nodes: map[string]*member{}}
	knows := func(int) (string, uint64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.leader, c.term
	}
	for _, name := range []string{"n1", "n2"} {
		m := &member{node: &node{}}
		m.peers = rpc.NewPeers(rpc.PeersConfig{Dial: func(ctx context.Context, node string) (net.Conn, error) {
			c.mu.Lock()
			lis := c.lis[node]
			c.mu.Unlock()
			if lis == nil {
				return nil, errors.New("connection refused")
			}
			return lis.DialContext(ctx)
		}})
		m.router = route.New(route.Config{
			Self: name, Shards: 1, ShardOf: func(credential.Ref) int { return 0 }, Local: m.node, Peers: m.peers,
			Leader: knows, Replicas: func(int) []string { return []string{"n1", "n2"} }, LocalReplica: func(int) bool { return true },
		})
		m.server = rpc.NewServer(rpc.ServerConfig{Node: name, Logger: slog.New(slog.DiscardHandler),
			Identify: func(context.Context) (string, string, bool) { return rpc.RoleNode, "peer", true }})
		m.server.Provide(rpc.Services{Owned: m.node, Routed: m.router, Leader: func(credential.Ref) (string, uint64) { return knows(0) }})
		lis := bufconn.Listen(64 << 10)
		c.lis[name], c.nodes[name] = lis, m
		m.served.Go(func() { _ = m.server.Serve(lis) })
		t.Cleanup(func() {
			m.peers.Close()
			c.kill(name)
		})
	}
	return c
}

// kill ends a node's server, and all that it was doing.
func (c *cluster) kill(name string) {
	c.mu.Lock()
	was := c.lis[name]
	c.lis[name] = nil
	c.mu.Unlock()
	if was == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.nodes[name].server.Close(ctx)
	c.nodes[name].served.Wait()
}

func (c *cluster) leads(name string, term uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader, c.term = name, term
}

func TestAnyNodeAnswersAnyRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.nodes["n2"].act = owns
		for name, m := range c.nodes {
			for what, call := range every {
				if err := call(t.Context(), &rig{Router: m.router}); err != nil {
					t.Errorf("%s asked of %s: %v", what, name, err)
				}
			}
		}
	})
}

func TestANodeForwardsNothingThatWasForwarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.nodes["n1"].act = owns // but both think that n2 does
		_, err := c.nodes["n1"].peers.Account(t.Context(), "n2", crm)
		if n, ok := errors.AsType[*rpc.NotOwner](err); !ok || n.Leader != "n2" || n.Term != 1 {
			t.Errorf("answered %v", err)
		}
		if n := c.nodes["n1"].total(); n != 0 {
			t.Errorf("it was forwarded: %v", c.nodes["n1"].asked)
		}
	})
}

func TestARefreshOutlivesItsOwner(t *testing.T) {
	for what, want := range map[string]error{"refresh": nil, "refresh anyhow": credential.ErrUnknownOutcome, "import": credential.ErrUnknownOutcome, "disconnect": credential.ErrUnknownOutcome} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				began := make(chan struct{}, 1)
				c.nodes["n2"].act = func(ctx context.Context, _ string) error {
					began <- struct{}{}
					<-ctx.Done()
					return ctx.Err()
				}
				var story sync.WaitGroup
				story.Go(func() {
					<-began
					c.kill("n2")
					time.Sleep(2 * time.Second) // the election
					c.nodes["n1"].become(owns)
					c.leads("n1", 2)
				})
				start := time.Now()
				if err := every[what](t.Context(), &rig{Router: c.nodes["n1"].router}); !errors.Is(err, want) || time.Since(start) > 4*time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				story.Wait()
			})
		})
	}
}

func TestATokenIsReadOnWhileTheOwnerIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.nodes["n2"].act = owns
		if tok, err := c.nodes["n1"].router.Token(t.Context(), crm, 0); err != nil || tok.Replica {
			t.Fatalf("%+v %v", tok, err)
		}
		c.kill("n2")
		c.nodes["n1"].copy = true
		for range 20 {
			start := time.Now()
			if tok, err := c.nodes["n1"].router.Token(t.Context(), crm, 0); err != nil || !tok.Replica || time.Since(start) > 0 {
				t.Fatalf("%+v %v after %v", tok, err, time.Since(start))
			}
			time.Sleep(100 * time.Millisecond)
		}
		if _, err := c.nodes["n1"].peers.Account(t.Context(), "n2", crm); !errors.Is(err, exchange.ErrNotSent) {
			t.Errorf("asked directly: %v", err)
		}
	})
}
