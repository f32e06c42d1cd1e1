package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/grantd/grantd/wire/rpcpb"
)

// stream is a client's end of one stream, over a connection of its own. One
// goroutine writes to it, one reads, one watches that something is heard.
type stream struct {
	client *Client
	conn   net.Conn
	cc     *grpc.ClientConn
	grpc   grpc.BidiStreamingClient[rpcpb.Request, rpcpb.Response]
	cancel context.CancelFunc
	most   int // requests in flight

	heard  atomic.Uint64 // messages that came
	served atomic.Bool   // something was answered

	cancels chan uint64   // ids whose callers have left; lossy
	pings   chan struct{} // a ping is wanted
	room    chan struct{} // there is room for one more request
	away    chan struct{} // closed when the server takes no new requests
	over    chan struct{} // closed when the stream has ended

	mu      sync.Mutex // guards what follows; never held across I/O
	pending map[uint64]*call
	lastID  uint64
	ended   error // nil: not yet
}

// connect opens a connection and a stream on it and exchanges hellos.
func (c *Client) connect() (*stream, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.ConnectTimeout)
	defer cancel()
	conn, err := c.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	st := &stream{
		client: c, conn: conn, pending: make(map[uint64]*call),
		cancels: make(chan uint64, c.cfg.MaxInFlight), pings: make(chan struct{}, 1), room: make(chan struct{}, 1),
		away: make(chan struct{}), over: make(chan struct{}),
	}
	if err := st.open(ctx); err != nil {
		st.release()
		return nil, err
	}
	c.streams.Go(st.read)
	c.streams.Go(st.watch)
	return st, nil
}

// open makes gRPC of the connection, and says hello.
func (st *stream) open(ctx context.Context) (err error) {
	cfg := &st.client.cfg
	var dialled atomic.Bool
	st.cc, err = grpc.NewClient("passthrough:///peer",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if dialled.Swap(true) {
				return nil, net.ErrClosed // reconnecting is ours
			}
			return st.conn, nil
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // Dial brings its own
		grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithIdleTimeout(0), grpc.WithNoProxy(),
	)
	if err != nil {
		return err
	}
	var life context.Context
	life, st.cancel = context.WithCancel(st.client.ctx)
	stop := context.AfterFunc(ctx, st.cancel)
	st.grpc, err = rpcpb.NewActorsClient(st.cc).Exchange(life)
	if err != nil {
		return err
	}
	hello := &rpcpb.ClientHello{Oldest: OldestVersion, Newest: NewestVersion, Features: cfg.Features}
	if err := st.grpc.Send(&rpcpb.Request{Kind: &rpcpb.Request_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return err // of an EOF Recv knows more
	}
	first, err := st.grpc.Recv()
	if err != nil {
		return err
	}
	answer := first.GetHello()
	if v := answer.GetVersion(); v < OldestVersion || v > NewestVersion {
		return fmt.Errorf("peer speaks version %d of the protocol, this is version %d", v, NewestVersion)
	}
	st.most = cfg.MaxInFlight
	if n := int(answer.GetMaxInFlight()); n > 0 {
		st.most = min(st.most, n)
	}
	if !stop() {
		return context.Cause(ctx)
	}
	return nil
}

// release closes what open opened.
func (st *stream) release() {
	if st.cancel != nil {
		st.cancel()
	}
	if st.cc != nil {
		_ = st.cc.Close()
	}
	_ = st.conn.Close()
}

// send gives a call to the stream; false: the stream is over, and the call is
// as it was. A call whose caller has left is dropped.
func (st *stream) send(cl *call) bool {
	st.mu.Lock()
	if st.ended != nil {
		st.mu.Unlock()
		return false
	}
	st.lastID++
	cl.stream, cl.id = st, st.lastID
	if !cl.state.CompareAndSwap(callQueued, callSent) {
		st.mu.Unlock()
		<-st.client.slots
		return true
	}
	st.pending[cl.id] = cl
	st.mu.Unlock()
	cl.req.Id, cl.req.TimeoutMs = cl.id, timeoutMs(cl.deadline, time.Now())
	st.write(cl.req)
	return true
}

// timeoutMs is the time that the server is given: a little less than the caller
// has, so that the server's own answer to its end arrives in time.
func timeoutMs(deadline, now time.Time) uint32 {
	if deadline.IsZero() {
		return 0
	}
	left := deadline.Sub(now)
	left -= min(left/10, 50*time.Millisecond)
	return uint32(min(max(left.Milliseconds(), 1), 1<<31))
}

// write sends a message. Where it fails the stream is over, and the reader
// tells why.
func (st *stream) write(m *rpcpb.Request) {
	if err := st.grpc.Send(m); err != nil {
		st.cancel()
	}
}

// full reports whether no more requests may be in flight. Once there is room, st.room tells.
func (st *stream) full() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.pending) >= st.most
}

// giveUp tells the server that nobody waits for the answer. The call stays
// pending, and so bounds what is in flight, until it is answered.
func (st *stream) giveUp(id uint64) {
	select {
	case st.cancels <- id:
	default: // its time-out ends it
	}
}

// take removes the call of an answer; nil: there is none.
func (st *stream) take(id uint64) *call {
	st.mu.Lock()
	defer st.mu.Unlock()
	cl := st.pending[id]
	if cl == nil {
		return nil
	}
	delete(st.pending, id)
	if len(st.pending) == st.most-1 {
		signal(st.room)
	}
	return cl
}

// signal leaves word in a channel of capacity 1.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// read hands out answers until the stream ends, and then ends it here.
func (st *stream) read() {
	gone := false
	for {
		resp, err := st.grpc.Recv()
		if err != nil {
			st.end(err, gone)
			return
		}
		st.heard.Add(1)
		if resp.GetId() == 0 {
			if resp.GetGoAway() != nil && !gone {
				gone = true
				close(st.away)
			}
			continue
		}
		cl := st.take(resp.GetId())
		if cl == nil {
			continue
		}
		st.served.Store(true)
		r := result{resp: resp}
		if e := resp.GetError(); e.GetCode() == rpcpb.Code_CODE_UNAVAILABLE {
			r = result{err: notSent(errUnavailable)}
		}
		cl.reply <- r
		<-st.client.slots
	}
}

var errUnavailable = errors.New("peer is starting or stopping")

// end ends the stream and every call in it. A server that had said that it goes
// away, and then ended the stream in order, has answered all that it began.
func (st *stream) end(err error, gone bool) {
	notBegun := gone && errors.Is(err, io.EOF)
	st.mu.Lock()
	if st.ended == nil {
		st.ended = err
	}
	err = st.ended
	left := st.pending
	st.pending = nil
	st.mu.Unlock()
	if st.client.ctx.Err() != nil {
		err = ErrClosed
	}
	st.release()
	for _, cl := range left {
		if notBegun {
			cl.reply <- result{err: notSent(errUnavailable)}
		} else {
			cl.reply <- result{err: lost(err)}
		}
		<-st.client.slots
	}
	close(st.over)
}

// err is why the stream ended.
func (st *stream) err() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ended
}

// useful reports whether the stream did any good: then the next may be opened
// without a pause.
func (st *stream) useful() bool {
	select {
	case <-st.away:
		return st.served.Load()
	default:
		return st.served.Load() || st.err() == nil
	}
}

// finish waits for the last answers of a stream that takes no new requests.
func (st *stream) finish() {
	t := time.NewTicker(st.client.cfg.PingEvery)
	defer t.Stop()
	for {
		st.mu.Lock()
		n := len(st.pending)
		st.mu.Unlock()
		if n == 0 {
			st.cancel()
			return
		}
		select {
		case id := <-st.cancels:
			st.write(&rpcpb.Request{Id: id, Kind: &rpcpb.Request_Cancel{Cancel: &rpcpb.Cancel{}}})
		case <-st.pings:
			st.write(&rpcpb.Request{Kind: &rpcpb.Request_Ping{Ping: &rpcpb.Ping{}}})
		case <-st.over:
			return
		case <-t.C:
		}
	}
}

// watch gives the stream up when requests wait and nothing is heard, not even
// the answer to a ping. It counts its own ticks rather than the clock, so that
// a process that was paused does not take its own silence for the peer's.
func (st *stream) watch() {
	cfg := &st.client.cfg
	t := time.NewTicker(cfg.PingEvery)
	defer t.Stop()
	var heard uint64
	silent := 0
	for {
		select {
		case <-t.C:
		case <-st.over:
			return
		}
		st.mu.Lock()
		waiting := len(st.pending) > 0
		st.mu.Unlock()
		if now := st.heard.Load(); now != heard || !waiting {
			heard, silent = now, 0
			continue
		}
		if silent++; time.Duration(silent)*cfg.PingEvery > cfg.DeadAfter {
			st.mu.Lock()
			if st.ended == nil {
				st.ended = ErrSilent
			}
			st.mu.Unlock()
			st.cancel()
			return
		}
		signal(st.pings)
	}
}
