package grpclink_test

import (
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/grantd/grantd/cluster/link"
	"github.com/grantd/grantd/cluster/link/grpclink"
	"github.com/grantd/grantd/cluster/link/issue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// greeter answers only if it knows who calls.
type greeter struct {
	grpc_health_v1.UnimplementedHealthServer
	callers chan link.Peer
}

func (g greeter) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	p, ok := grpclink.PeerFrom(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "who is it?")
	}
	g.callers <- p
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

func open(t *testing.T, ca *issue.Authority, name string, addrs map[string]string) *link.Port {
	t.Helper()
	id, err := link.OpenIdentity(func() (link.PEM, error) {
		pair, err := ca.Node(name, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		return link.PEM{CA: ca.Pair().Cert, Cert: pair.Cert, Key: pair.Key}, err
	}, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addrs[name] = ln.Addr().String()
	p, err := link.Open(link.Config{
		Identity: id, Listener: ln,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		Resolve: func(node string) (string, bool) { a, ok := addrs[node]; return a, ok },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return p
}

// TestHandlersKnowWhoCalls, and callers whom they have called, with no second
// handshake.
func TestHandlersKnowWhoCalls(t *testing.T) {
	ca, err := issue.New(time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	addrs := map[string]string{}
	n1, n2 := open(t, ca, "n1", addrs), open(t, ca, "n2", addrs)
	g, server := greeter{callers: make(chan link.Peer, 1)}, grpc.NewServer(grpclink.Server())
	grpc_health_v1.RegisterHealthServer(server, g)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(n2.RPC()) }()
	defer func() {
		server.GracefulStop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	client, err := grpc.NewClient(grpclink.Target("n2"), grpclink.Client(n1)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := grpc_health_v1.NewHealthClient(client).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if p := <-g.callers; p != (link.Peer{Role: link.RoleNode, Name: "n1"}) {
		t.Errorf("the handler takes the caller for %v", p)
	}
	nobody, err := grpc.NewClient(grpclink.Target("n3"), grpclink.Client(n1)...)
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	if _, err := grpc_health_v1.NewHealthClient(nobody).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a node that nobody knows: %v", err)
	}
}

// TestForeignConnectionsAreRefused: a server that was given another listener by
// mistake lets nobody in.
func TestForeignConnectionsAreRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpclink.Server())
	grpc_health_v1.RegisterHealthServer(server, greeter{})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	client, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := grpc_health_v1.NewHealthClient(client).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("without TLS: %v", err)
	}
	_ = client.Close()
	server.Stop()
	<-ended
}
