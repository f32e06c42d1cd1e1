package exchange_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

// raw is a codec that lets a test put any bytes into a message.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = b; return nil }
func (raw) Name() string                    { return "proto" }

var _ encoding.Codec = raw{}

// rawStream is a stream that a test writes bytes to.
type rawStream struct {
	t  *testing.T
	cc *grpc.ClientConn
	s  grpc.ClientStream
}

func (r *rig) raw(t *testing.T) *rawStream {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	s, err := cc.NewStream(t.Context(), &rpcpb.Actors_ServiceDesc.Streams[0], rpcpb.Actors_Exchange_FullMethodName,
		grpc.ForceCodec(raw{}), grpc.MaxCallSendMsgSize(1<<30))
	if err != nil {
		t.Fatal(err)
	}
	return &rawStream{t, cc, s}
}

func (s *rawStream) send(b []byte) { _ = s.s.SendMsg(&b) } // of an end RecvMsg knows more

func (s *rawStream) sendMessage(m *rpcpb.Request) {
	b, err := proto.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.send(b)
}

func (s *rawStream) receive() (*rpcpb.Response, error) {
	var b []byte
	if err := s.s.RecvMsg(&b); err != nil {
		return nil, err
	}
	m := &rpcpb.Response{}
	return m, proto.Unmarshal(b, m)
}

func (s *rawStream) hello(oldest, newest uint32) (*rpcpb.Response, error) {
	s.sendMessage(&rpcpb.Request{Kind: &rpcpb.Request_Hello{Hello: &rpcpb.ClientHello{Oldest: oldest, Newest: newest, Features: []string{"none"}}}})
	return s.receive()
}

func TestStreamsThatDoNotBeginWellAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := make(chan error, 16)
		r := newRig(t, exchange.ServerConfig{Node: "n1", MaxPerStream: 7, Broken: func(_ context.Context, err error) { broken <- err }})
		defer r.stop(done())
		for name, c := range map[string]struct {
			begin func(*rawStream)
			code  codes.Code
		}{
			"nothing at all":         {func(*rawStream) {}, codes.DeadlineExceeded},
			"a request":              {func(s *rawStream) { s.sendMessage(ask("x")) }, codes.FailedPrecondition},
			"a newer version only":   {func(s *rawStream) { s.sendMessage(hello(2, 3)) }, codes.FailedPrecondition},
			"a version from nowhere": {func(s *rawStream) { s.sendMessage(hello(0, 0)) }, codes.FailedPrecondition},
			"no message":             {func(s *rawStream) { s.send([]byte{0xff, 0xff}) }, codes.Internal},
			"no message any more":    {func(s *rawStream) { s.sendMessage(hello(1, 1)); s.send([]byte{0xff, 0xff}) }, codes.Internal},
			"an oversized message":   {func(s *rawStream) { s.send(make([]byte, exchange.MaxMessage+1)) }, codes.ResourceExhausted},
		} {
			s := r.raw(t)
			c.begin(s)
			m, err := s.receive()
			if m.GetHello() != nil {
				_, err = s.receive()
			}
			if status.Code(err) != c.code {
				t.Errorf("%s: %v", name, err)
			}
			_ = s.cc.Close()
			if err := <-broken; status.Code(err) != c.code {
				t.Errorf("%s: the node is told of %v", name, err)
			}
		}
		s := r.raw(t)
		defer s.cc.Close()
		m, err := s.hello(1, 9)
		if h := m.GetHello(); err != nil || h.GetVersion() != 1 || h.GetNode() != "n1" || h.GetMaxInFlight() != 7 {
			t.Errorf("a newer client was told version %d of %q: %v", h.GetVersion(), h.GetNode(), err)
		}
	})
}

func hello(oldest, newest uint32) *rpcpb.Request {
	return &rpcpb.Request{Kind: &rpcpb.Request_Hello{Hello: &rpcpb.ClientHello{Oldest: oldest, Newest: newest}}}
}

func TestMessagesOfANewerVersionDoNotEndTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, exchange.ServerConfig{})
		defer r.stop(done())
		s := r.raw(t)
		defer s.cc.Close()
		if _, err := s.hello(1, 1); err != nil {
			t.Fatal(err)
		}
		unknown := protowire.AppendBytes(protowire.AppendTag(nil, 4000, protowire.BytesType), []byte("what is this"))
		s.send(unknown) // of the stream itself
		s.sendMessage(hello(1, 1))
		s.sendMessage(&rpcpb.Request{Id: 99, Kind: &rpcpb.Request_Cancel{Cancel: &rpcpb.Cancel{}}})
		s.sendMessage(&rpcpb.Request{Kind: &rpcpb.Request_Ping{Ping: &rpcpb.Ping{}}})
		if m, err := s.receive(); err != nil || m.GetPong() == nil {
			t.Fatalf("a ping was answered with %T, %v", m.GetKind(), err)
		}
		known := ask("x")
		known.Id = 1
		b, err := proto.Marshal(known)
		if err != nil {
			t.Fatal(err)
		}
		s.send(append(b, unknown...))
		if m, err := s.receive(); err != nil || m.GetId() != 1 || said(m) != "x" {
			t.Errorf("a request with an unknown field: %q %v", said(m), err)
		}
		s.send(append(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 2), unknown...))
		if m, err := s.receive(); err != nil || m.GetId() != 2 {
			t.Errorf("an unknown request is the handler's to refuse: %v", err)
		}
	})
}

func TestAnIdThatIsInUseIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := newRig(t, exchange.ServerConfig{Handle: func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
			<-gate
			return echo(ctx, req)
		}})
		defer r.stop(done())
		s := r.raw(t)
		defer s.cc.Close()
		if _, err := s.hello(1, 1); err != nil {
			t.Fatal(err)
		}
		twice := ask("x")
		twice.Id = 1
		s.sendMessage(twice)
		s.sendMessage(twice)
		if m, err := s.receive(); err != nil || m.GetError().GetCode() != rpcpb.Code_CODE_INVALID {
			t.Errorf("the second: %v", err)
		}
		close(gate)
		if m, err := s.receive(); err != nil || said(m) != "x" {
			t.Errorf("the first: %v", err)
		}
	})
}

func TestAClientThatDoesNotReadHoldsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, exchange.ServerConfig{MaxPerStream: 8, Handle: func(context.Context, *rpcpb.Request) *rpcpb.Response {
			return &rpcpb.Response{Kind: &rpcpb.Response_Fate{Fate: &rpcpb.Fate{Entry: make([]byte, 64<<10)}}}
		}})
		defer r.stop(done())
		s := r.raw(t)
		if _, err := s.hello(1, 1); err != nil {
			t.Fatal(err)
		}
		sent := make(chan int, 1)
		go func() {
			n := 0
			for ; n < 1_000_000; n++ {
				m := ask("x")
				m.Id = uint64(n + 1)
				b, _ := proto.Marshal(m)
				if s.s.SendMsg(&b) != nil {
					break
				}
			}
			sent <- n
		}()
		synctest.Wait()
		_ = s.cc.Close()
		if n := <-sent; n >= 1_000_000 {
			t.Error("nothing held the client up")
		}
	})
}

// TestGarbageEndsItsConnectionOnly is run under the race detector, too.
func TestGarbageEndsItsConnectionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, exchange.ServerConfig{})
		defer r.stop(done())
		c := r.client(exchange.ClientConfig{})
		defer c.Close()
		draw := rand.New(rand.NewPCG(1, 2))
		noise := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(draw.Uint32())
			}
			return b
		}
		for i := range 40 {
			conn, err := r.lis.DialContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			head := []byte{}
			if i%2 == 0 {
				head = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			garbage := append(head, noise(i*17)...)
			go func() {
				_, _ = conn.Write(garbage)
				for err := error(nil); err == nil; {
					_, err = conn.Read(make([]byte, 1024))
				}
				_ = conn.Close()
			}()
			s := r.raw(t)
			if _, err := s.hello(1, 1); err != nil {
				t.Fatal(err)
			}
			s.send(noise(i * 13))
			s.sendMessage(ask("x"))
			_ = s.s.CloseSend()
			for err := error(nil); err == nil; {
				_, err = s.receive()
			}
			_ = s.cc.Close()
			if resp, err := c.Do(t.Context(), ask("y")); err != nil || said(resp) != "y" {
				t.Fatalf("after garbage %d: %v", i, err)
			}
		}
		if n := r.dials.Load(); n != 1 {
			t.Errorf("the good client needed %d connections", n)
		}
	})
}

// TestAServerThatSpeaksNonsenseHarmsNobody dials something that is no server.
func TestAServerThatSpeaksNonsenseHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := exchange.NewClient(exchange.ClientConfig{Dial: func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				b := make([]byte, 4096)
				for {
					if _, err := theirs.Read(b); err != nil {
						return
					}
					if _, err := theirs.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); err != nil {
						return
					}
				}
			}()
			return ours, nil
		}})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, err := c.Do(ctx, ask("x")); !errors.Is(err, exchange.ErrNotSent) {
			t.Error(err)
		}
	})
}
