package exchange_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

func askToken() *rpcpb.Request {
	return &rpcpb.Request{Kind: &rpcpb.Request_Token{Token: &rpcpb.TokenRequest{Ref: &rpcpb.Ref{Tenant: "acme", Id: "crm-00000001"}, MinTtlMs: 30_000}}}
}

func tokenAnswer(context.Context, *rpcpb.Request) *rpcpb.Response {
	return &rpcpb.Response{Kind: &rpcpb.Response_Token{Token: &rpcpb.Token{
		Kind: "oauth2", Secret: make([]byte, 200), TokenType: "Bearer", ExpiresAt: timestamppb.New(time.Unix(1e9, 0)),
		Scopes: []string{"read", "write"}, Generation: 7,
	}}}
}

// BenchmarkExchange counts requests of 64 callers over loopback.
func BenchmarkExchange(b *testing.B) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := exchange.NewServer(exchange.ServerConfig{Handle: tokenAnswer})
	go func() { _ = srv.Serve(lis) }()
	defer srv.Close(context.Background())
	c := exchange.NewClient(exchange.ClientConfig{Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", lis.Addr().String())
	}})
	defer c.Close()
	callers(b, func(ctx context.Context) error {
		_, err := c.Do(ctx, askToken())
		return err
	})
}

// BenchmarkUnary is the same as one gRPC call for each request.
func BenchmarkUnary(b *testing.B) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := grpc.NewServer()
	srv.RegisterService(&grpc.ServiceDesc{ServiceName: "bench", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Ask",
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			req := &rpcpb.Request{}
			if err := decode(req); err != nil {
				return nil, err
			}
			return tokenAnswer(ctx, req), nil
		},
	}}}, nil)
	go func() { _ = srv.Serve(lis) }()
	defer srv.Stop()
	cc, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer cc.Close()
	callers(b, func(ctx context.Context) error {
		return cc.Invoke(ctx, "/bench/Ask", askToken(), &rpcpb.Response{})
	})
}

func callers(b *testing.B, call func(context.Context) error) {
	b.ReportAllocs()
	b.SetParallelism(32) // 64 on two cores
	b.RunParallel(func(pb *testing.PB) {
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		defer cancel()
		for pb.Next() {
			if err := call(ctx); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
