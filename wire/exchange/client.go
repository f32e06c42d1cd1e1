package exchange

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/wire/rpcpb"
)

// ClientConfig says how a client reaches its server. Zero values mean the
// defaults.
type ClientConfig struct {
	// Dial opens a connection on which gRPC begins at once; it ends with ctx.
	Dial     func(ctx context.Context) (net.Conn, error)
	Features []string
	// MaxInFlight bounds the requests that wait for an answer; more callers
	// block. Default 1024; the server may ask for fewer.
	MaxInFlight int
	// ConnectTimeout bounds one try to connect, with its hello. Default 3 s.
	ConnectTimeout time.Duration
	// After a try that failed, requests fail at once for a while that doubles
	// from BackoffMin to BackoffMax, the upper half drawn. Defaults 50 ms, 2 s.
	BackoffMin, BackoffMax time.Duration
	// While requests wait and nothing is heard, a ping is sent every PingEvery,
	// and after DeadAfter of silence the stream is given up. Defaults 300 ms and
	// 1.5 s.
	PingEvery, DeadAfter time.Duration
}

func (c ClientConfig) withDefaults() ClientConfig {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 1024
	}
	set(&c.ConnectTimeout, 3*time.Second)
	set(&c.BackoffMin, 50*time.Millisecond)
	set(&c.BackoffMax, 2*time.Second)
	set(&c.PingEvery, 300*time.Millisecond)
	set(&c.DeadAfter, 1500*time.Millisecond)
	return c
}

// Client is one server's client. It connects when the first request comes, and
// again when one comes after the stream broke. Its methods may be called
// concurrently.
type Client struct {
	cfg ClientConfig
	// slots holds an element for each request that is queued or in flight.
	slots chan struct{}
	queue chan *call // has room for every slot

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	done    chan struct{}  // closed when run has ended
	streams sync.WaitGroup // streams that are not over yet
}

// What became of a call. It leaves callQueued once.
const (
	callQueued = iota
	callSent   // given to a stream, which answers it or fails it
	callGone   // its caller left before it was sent
)

// call is one request on its way.
type call struct {
	req      *rpcpb.Request
	deadline time.Time   // of the caller; zero: none
	reply    chan result // has room for the one result
	state    atomic.Int32
	stream   *stream // set before state is callSent
	id       uint64  // in that stream
}

type result struct {
	resp *rpcpb.Response
	err  error
}

// NewClient returns a client. Close it.
func NewClient(cfg ClientConfig) *Client {
	c := &Client{cfg: cfg.withDefaults(), done: make(chan struct{})}
	c.slots = make(chan struct{}, c.cfg.MaxInFlight)
	c.queue = make(chan *call, c.cfg.MaxInFlight)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.run()
	return c
}

// Do sends a request and returns its answer, which may be an error of the
// server's. It sets id and time-out; the request belongs to the client from here
// on. An error of its own is ErrNotSent or ErrLost, with its cause.
func (c *Client) Do(ctx context.Context, req *rpcpb.Request) (*rpcpb.Response, error) {
	if proto.Size(req) > MaxMessage-maxOwnFields {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, ErrTooLarge)
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, notSent(context.Cause(ctx))
	case <-c.ctx.Done():
		return nil, notSent(ErrClosed)
	}
	cl := &call{req: req, reply: make(chan result, 1)}
	cl.deadline, _ = ctx.Deadline()
	c.queue <- cl
	select {
	case r := <-cl.reply:
		return r.resp, r.err
	case <-ctx.Done():
		if cl.state.CompareAndSwap(callQueued, callGone) {
			return nil, notSent(context.Cause(ctx))
		}
		if cl.state.Load() == callGone { // refused in the same instant
			r := <-cl.reply
			return r.resp, r.err
		}
		cl.stream.giveUp(cl.id)
		return nil, lost(context.Cause(ctx))
	case <-c.done:
		if cl.state.CompareAndSwap(callQueued, callGone) {
			return nil, notSent(ErrClosed)
		}
		r := <-cl.reply // all streams have ended, and their calls with them
		return r.resp, r.err
	}
}

// maxOwnFields is room for the id and the time-out, which Do's size check does
// not see yet.
const maxOwnFields = 32

func notSent(cause error) error { return fmt.Errorf("%w: %w", ErrNotSent, cause) }
func lost(cause error) error    { return fmt.Errorf("%w: %w", ErrLost, cause) }

// Close ends all requests and returns when nothing of the client runs any more.
func (c *Client) Close() {
	c.cancel()
	<-c.done
}

// run connects when there is something to send, and sends it, until Close.
func (c *Client) run() {
	defer close(c.done)
	defer c.streams.Wait()
	defer c.cancel()
	failures := 0
	var next *call
	for {
		if next == nil {
			select {
			case next = <-c.queue:
			case <-c.ctx.Done():
				return
			}
		}
		st, err := c.connect()
		if err == nil {
			next = c.send(st, next)
			if st.useful() {
				failures = 0
				continue
			}
			if err = st.err(); err == nil {
				err = errUnavailable
			}
		}
		failures++
		c.refuse(next, err)
		next = nil
		if !c.pause(failures, err) {
			return
		}
	}
}

// pause lets a while pass in which every request fails at once; false: the
// client is closed.
func (c *Client) pause(failures int, err error) bool {
	t := time.NewTimer(c.cfg.backoff(failures, rand.Float64()))
	defer t.Stop()
	for {
		select {
		case cl := <-c.queue:
			c.refuse(cl, err)
		case <-t.C:
			return true
		case <-c.ctx.Done():
			return false
		}
	}
}

// backoff is how long to wait after the nth failure in a row, for a draw r of
// [0,1): it doubles, and the upper half of each step is drawn.
func (c *ClientConfig) backoff(n int, r float64) time.Duration {
	d := c.BackoffMin
	for i := 1; i < n && d < c.BackoffMax; i++ {
		d *= 2
	}
	d = min(d, c.BackoffMax)
	return d/2 + time.Duration(r*float64(d/2))
}

// refuse ends a call that was not sent; nil: there is none.
func (c *Client) refuse(cl *call, err error) {
	if cl == nil {
		return
	}
	if cl.state.CompareAndSwap(callQueued, callGone) {
		cl.reply <- result{err: notSent(err)}
	}
	<-c.slots
}

// send writes what is queued to the stream, beginning with next, until the
// stream takes no more. It returns a call that it could not send.
func (c *Client) send(st *stream, next *call) (unsent *call) {
	for {
		if next != nil && !st.send(next) {
			return next
		}
		next = nil
		queue := c.queue
		if st.full() {
			queue = nil
		}
		select {
		case next = <-queue:
		case id := <-st.cancels:
			st.write(&rpcpb.Request{Id: id, Kind: &rpcpb.Request_Cancel{Cancel: &rpcpb.Cancel{}}})
		case <-st.pings:
			st.write(&rpcpb.Request{Kind: &rpcpb.Request_Ping{Ping: &rpcpb.Ping{}}})
		case <-st.room:
		case <-st.away:
			c.streams.Go(st.finish)
			return nil
		case <-st.over:
			return nil
		}
	}
}
