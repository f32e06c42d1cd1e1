package exchange

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/wire/rpcpb"
)

// ServerConfig is what a server is made of. Zero values of numbers mean the
// defaults.
type ServerConfig struct {
	// Handle answers a request: never nil, and an id that it sets is overwritten.
	// It is called concurrently and ends with ctx, which is a child of the
	// stream's and ends with the request's time, its cancellation or its stream.
	Handle   func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response
	Node     string // who answers
	Features []string
	// MaxPerStream and MaxTotal bound the requests that are handled at once, of
	// one stream and of all; more are answered as overloaded. Defaults 1024, 4096.
	MaxPerStream, MaxTotal int
	// MaxTimeout bounds the time of a request. Default 60 s.
	MaxTimeout time.Duration
	// HelloTimeout is how long a stream may take to say hello. Default 10 s.
	HelloTimeout time.Duration
	// Broken is told of each stream that was ended for what its client sent, or
	// failed to send; nil: nobody is. The context is the stream's, and may be over.
	Broken func(ctx context.Context, err error)
	Logger *slog.Logger
}

// Server answers the streams of many clients.
type Server struct {
	cfg      ServerConfig
	grpc     *grpc.Server
	handling atomic.Int64 // requests, of all streams
	drain    chan struct{}
	cut      chan struct{}

	mu       sync.Mutex // guards what follows
	closed   bool
	sessions int
	empty    chan struct{} // closed when closed and no session is left

	work sync.WaitGroup // readers and handlers
}

// prefaceTimeout is how long a connection may take to begin HTTP/2. Close may
// have to wait for it.
const prefaceTimeout = 3 * time.Second

// NewServer returns a server. more are options of gRPC, for credentials.
func NewServer(cfg ServerConfig, more ...grpc.ServerOption) *Server {
	if cfg.MaxPerStream == 0 {
		cfg.MaxPerStream = 1024
	}
	if cfg.MaxTotal == 0 {
		cfg.MaxTotal = 4096
	}
	if cfg.MaxTimeout == 0 {
		cfg.MaxTimeout = time.Minute
	}
	if cfg.HelloTimeout == 0 {
		cfg.HelloTimeout = 10 * time.Second
	}
	s := &Server{cfg: cfg, drain: make(chan struct{}), cut: make(chan struct{}), empty: make(chan struct{})}
	s.grpc = grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow),
		grpc.MaxConcurrentStreams(16), grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(prefaceTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}, more...)...)
	rpcpb.RegisterActorsServer(s.grpc, service{server: s})
	return s
}

// Serve accepts connections until Close. It may be called once, before Close;
// its error says why it ended where that was not Close.
func (s *Server) Serve(lis net.Listener) error { return s.grpc.Serve(lis) }

// Close takes no new requests, and returns when those under way are answered.
// When ctx ends before, they are cut off. It closes the listener, and may be
// called once.
func (s *Server) Close(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	if s.sessions == 0 {
		close(s.empty)
	}
	s.mu.Unlock()
	close(s.drain)
	select {
	case <-s.empty:
	case <-ctx.Done():
		close(s.cut)
		<-s.empty
	}
	s.hangUp(ctx)
	s.work.Wait()
}

// flushTime is what the last answers are given to leave in.
const flushTime = time.Second

// hangUp closes the connections, once what was written to them has left.
func (s *Server) hangUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	stop := context.AfterFunc(ctx, s.grpc.Stop)
	s.grpc.GracefulStop()
	if !stop() {
		s.grpc.Stop() // returns when the other call has
	}
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.sessions++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions--; s.sessions == 0 && s.closed {
		close(s.empty)
	}
}

// session is a server's end of one stream.
type session struct {
	server  *Server
	stream  grpc.BidiStreamingServer[rpcpb.Request, rpcpb.Response]
	ctx     context.Context // ends with the session
	out     chan *rpcpb.Response
	greeted chan struct{} // closed when the hellos are exchanged
	read    chan error    // why reading ended
	idle    chan struct{} // the last request was answered

	mu    sync.Mutex // guards what follows
	calls map[uint64]context.CancelFunc
	away  bool // no request is begun any more
}

// service is the gRPC service.
type service struct {
	rpcpb.UnimplementedActorsServer
	server *Server
}

// Exchange serves one stream.
func (v service) Exchange(stream grpc.BidiStreamingServer[rpcpb.Request, rpcpb.Response]) error {
	s := v.server
	if !s.enter() {
		return status.Error(codes.Unavailable, "the node is stopping")
	}
	defer s.leave()
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	x := &session{
		server: s, stream: stream, ctx: ctx, out: make(chan *rpcpb.Response, 64), greeted: make(chan struct{}),
		read: make(chan error, 1), idle: make(chan struct{}, 1), calls: make(map[uint64]context.CancelFunc),
	}
	s.work.Go(func() {
		err := x.receive()
		x.blame(err)
		x.read <- err
	})
	return x.answer()
}

// blame tells of an end of the stream that is the client's fault.
func (x *session) blame(err error) {
	if fn := x.server.cfg.Broken; fn != nil && blamesClient(err) {
		fn(x.ctx, err)
	}
}

// blamesClient tells what a client did wrong from connections that ended, and
// from a node that stops.
func blamesClient(err error) bool {
	switch status.Code(err) {
	case codes.Internal, codes.ResourceExhausted, codes.FailedPrecondition, codes.DeadlineExceeded:
		return true
	default:
		return false
	}
}

// answer writes what is to be told until the stream ends.
func (x *session) answer() error {
	s := x.server
	hello := time.NewTimer(s.cfg.HelloTimeout)
	defer hello.Stop()
	drain, greeted := s.drain, x.greeted
	for {
		if drain == nil && x.answered() {
			return nil
		}
		var m *rpcpb.Response
		select {
		case m = <-x.out:
		case <-x.idle:
		case <-greeted:
			hello.Stop()
			greeted = nil
		case <-hello.C:
			err := status.Error(codes.DeadlineExceeded, "no hello came")
			x.blame(err)
			return err
		case <-drain:
			drain = nil
			x.stop()
			m = &rpcpb.Response{Kind: &rpcpb.Response_GoAway{GoAway: &rpcpb.GoAway{}}}
		case err := <-x.read:
			return err // those who asked are gone
		case <-s.cut:
			return status.Error(codes.Unavailable, "the node stopped")
		}
		if m != nil {
			if err := x.stream.Send(m); err != nil {
				return err
			}
		}
	}
}

// stop has no request begun any more.
func (x *session) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.away = true
}

// answered reports whether nothing is left to answer.
func (x *session) answered() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.calls) == 0 && len(x.out) == 0
}

// receive reads requests until the stream ends.
func (x *session) receive() error {
	if err := x.greet(); err != nil {
		return err
	}
	for {
		req, err := x.stream.Recv()
		if blamesClient(err) {
			return err // what it sends cannot be read
		}
		if err != nil {
			return nil // it has gone
		}
		switch req.GetKind().(type) {
		case *rpcpb.Request_Cancel:
			x.mu.Lock()
			cancel := x.calls[req.GetId()]
			x.mu.Unlock()
			if cancel != nil {
				cancel()
			}
			continue
		case *rpcpb.Request_Ping:
			x.tell(&rpcpb.Response{Kind: &rpcpb.Response_Pong{Pong: &rpcpb.Pong{}}})
			continue
		case *rpcpb.Request_Hello:
			continue
		}
		if req.GetId() != 0 { // else something of the stream itself that a newer version knows
			x.begin(req)
		}
	}
}

// greet reads the client's hello and answers it.
func (x *session) greet() error {
	first, err := x.stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	switch {
	case hello == nil:
		return status.Error(codes.FailedPrecondition, "the first message must be a hello")
	case hello.GetOldest() > NewestVersion || hello.GetNewest() < OldestVersion:
		return status.Errorf(codes.FailedPrecondition, "this node speaks versions %d to %d of the protocol, the client %d to %d",
			OldestVersion, NewestVersion, hello.GetOldest(), hello.GetNewest())
	}
	cfg := &x.server.cfg
	x.tell(&rpcpb.Response{Kind: &rpcpb.Response_Hello{Hello: &rpcpb.ServerHello{
		Version: min(hello.GetNewest(), NewestVersion), Features: cfg.Features, Node: cfg.Node, MaxInFlight: uint32(cfg.MaxPerStream),
	}}})
	close(x.greeted)
	return nil
}

// tell queues a message for the client. It blocks while the client does not
// read, which bounds what it can have us remember.
func (x *session) tell(m *rpcpb.Response) {
	select {
	case x.out <- m:
	case <-x.ctx.Done():
	}
}

// begin handles a request, or says why not.
func (x *session) begin(req *rpcpb.Request) {
	s, id := x.server, req.GetId()
	if code, why := x.admit(id); code != 0 {
		m := ErrorOf(code, why)
		m.Id = id
		x.tell(m)
		return
	}
	timeout := s.cfg.MaxTimeout
	if ms := req.GetTimeoutMs(); ms != 0 {
		timeout = min(timeout, time.Duration(ms)*time.Millisecond)
	}
	ctx := newCallContext(x.ctx, time.Now().Add(timeout))
	x.mu.Lock()
	x.calls[id] = ctx.end
	x.mu.Unlock()
	s.work.Go(func() {
		defer x.finished(id)
		defer ctx.end()
		m := s.handle(ctx, req)
		m.Id = id
		x.tell(m)
	})
}

// admit says whether one more request can be handled; code 0: it can, and is
// counted. The caller is the one reader, so that nothing is admitted meanwhile.
func (x *session) admit(id uint64) (code rpcpb.Code, why string) {
	s := x.server
	x.mu.Lock()
	defer x.mu.Unlock()
	switch _, twice := x.calls[id]; {
	case twice:
		return rpcpb.Code_CODE_INVALID, "a request of this id is under way"
	case x.away:
		return rpcpb.Code_CODE_UNAVAILABLE, "the node is stopping"
	case len(x.calls) >= s.cfg.MaxPerStream:
		return rpcpb.Code_CODE_OVERLOADED, "too many requests on this stream"
	case s.handling.Add(1) > int64(s.cfg.MaxTotal):
		s.handling.Add(-1)
		return rpcpb.Code_CODE_OVERLOADED, "too many requests on this node"
	}
	x.calls[id] = nil // taken
	return 0, ""
}

func (x *session) finished(id uint64) {
	x.server.handling.Add(-1)
	x.mu.Lock()
	delete(x.calls, id)
	last := len(x.calls) == 0
	x.mu.Unlock()
	if last {
		signal(x.idle)
	}
}

// handle answers a request, whatever its handler does. The value of a panic may
// hold anything, so that only what the runtime says is logged.
func (s *Server) handle(ctx context.Context, req *rpcpb.Request) (m *rpcpb.Response) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		what := fmt.Sprintf("panic with a %T", v)
		if re, ok := v.(runtime.Error); ok {
			what = re.Error()
		}
		s.cfg.Logger.Error("handler of the actor RPC panicked", "panic", what, "stack", string(debug.Stack()))
		m = ErrorOf(rpcpb.Code_CODE_INTERNAL, "the request failed; the node's log tells more")
	}()
	m = s.cfg.Handle(ctx, req)
	if proto.Size(m) > MaxMessage-maxOwnFields {
		return ErrorOf(rpcpb.Code_CODE_INTERNAL, "the answer is too large")
	}
	return m
}
