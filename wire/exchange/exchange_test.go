package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server on connections in memory.
type rig struct {
	t      testing.TB
	lis    *bufconn.Listener
	server *exchange.Server
	served sync.WaitGroup
	dials  atomic.Int64
	down   atomic.Bool // dialling fails

	mu    sync.Mutex
	conns []net.Conn // the clients' ends
}

func newRig(t testing.TB, cfg exchange.ServerConfig) *rig {
	r := &rig{t: t}
	r.start(cfg)
	return r
}

func (r *rig) start(cfg exchange.ServerConfig) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Handle == nil {
		cfg.Handle = echo
	}
	r.lis = bufconn.Listen(64 << 10)
	r.server = exchange.NewServer(cfg)
	lis, srv := r.lis, r.server
	r.served.Go(func() { _ = srv.Serve(lis) })
}

// stop ends the server, which has until ctx ends to answer what it began.
func (r *rig) stop(ctx context.Context) {
	r.server.Close(ctx)
	r.served.Wait()
}

func (r *rig) dial(ctx context.Context) (net.Conn, error) {
	r.dials.Add(1)
	if r.down.Load() {
		return nil, errors.New("connection refused")
	}
	conn, err := r.lis.DialContext(ctx)
	if err == nil {
		r.mu.Lock()
		r.conns = append(r.conns, conn)
		r.mu.Unlock()
	}
	return conn, err
}

// cut breaks all connections that there were.
func (r *rig) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

func (r *rig) client(cfg exchange.ClientConfig) *exchange.Client {
	cfg.Dial = r.dial
	return exchange.NewClient(cfg)
}

// ask is a request that names an attempt; echo answers with it.
func ask(attempt string) *rpcpb.Request {
	return &rpcpb.Request{Kind: &rpcpb.Request_Fate{Fate: &rpcpb.FateRequest{Attempt: attempt}}}
}

func echo(_ context.Context, req *rpcpb.Request) *rpcpb.Response {
	return &rpcpb.Response{Kind: &rpcpb.Response_Fate{Fate: &rpcpb.Fate{Entry: []byte(req.GetFate().GetAttempt())}}}
}

func said(resp *rpcpb.Response) string { return string(resp.GetFate().GetEntry()) }

func done() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestAnswersFindTheirRequestsInAnyOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := map[string]chan struct{}{}
		for i := range 50 {
			gates[fmt.Sprint(i)] = make(chan struct{})
		}
		r := newRig(t, exchange.ServerConfig{Handle: func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
			<-gates[req.GetFate().GetAttempt()]
			return echo(ctx, req)
		}})
		defer r.stop(t.Context())
		c := r.client(exchange.ClientConfig{})
		defer c.Close()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if resp, err := c.Do(t.Context(), ask(fmt.Sprint(i))); err != nil || said(resp) != fmt.Sprint(i) {
					t.Errorf("%d: %q %v", i, said(resp), err)
				}
			})
		}
		synctest.Wait()
		for i := 49; i >= 0; i-- {
			close(gates[fmt.Sprint(i)])
			synctest.Wait()
		}
		wg.Wait()
		if n := r.dials.Load(); n != 1 {
			t.Errorf("%d connections were made", n)
		}
	})
}

func TestDeadlineAndCancellationReachTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		left := make(chan time.Duration, 1)
		r := newRig(t, exchange.ServerConfig{Handle: func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
			at, _ := ctx.Deadline()
			left <- time.Until(at)
			<-ctx.Done()
			ended <- ctx.Err()
			return echo(ctx, req)
		}})
		defer r.stop(done())
		c := r.client(exchange.ClientConfig{})
		defer c.Close()

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if resp, err := c.Do(ctx, ask("a")); err != nil || said(resp) != "a" {
			t.Errorf("the answer of a server whose time is up: %v %v", resp, err)
		}
		if d := <-left; d > 10*time.Second || d < 9*time.Second {
			t.Errorf("the handler had %v", d)
		}
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the handler ended with %v", err)
		}

		ctx, cancel = context.WithCancel(t.Context())
		go func() {
			<-left
			cancel()
		}()
		if _, err := c.Do(ctx, ask("b")); !errors.Is(err, exchange.ErrLost) || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler ended with %v", err)
		}
	})
}

func TestABrokenStreamTellsWhatMayHaveBeenCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := make(chan struct{}, 10)
		r := newRig(t, exchange.ServerConfig{Handle: func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
			if req.GetFate().GetAttempt() == "slow" {
				began <- struct{}{}
				<-ctx.Done()
			}
			return echo(ctx, req)
		}})
		defer r.stop(done())
		c := r.client(exchange.ClientConfig{})
		defer c.Close()
		slow := make(chan error, 1)
		go func() {
			_, err := c.Do(t.Context(), ask("slow"))
			slow <- err
		}()
		<-began
		r.down.Store(true)
		r.cut()
		if err := <-slow; !errors.Is(err, exchange.ErrLost) || errors.Is(err, exchange.ErrNotSent) {
			t.Errorf("under way when the stream broke: %v", err)
		}
		// Now nobody answers: the request fails at once, and as surely not sent.
		start := time.Now()
		if _, err := c.Do(t.Context(), ask("x")); !errors.Is(err, exchange.ErrNotSent) || errors.Is(err, exchange.ErrLost) {
			t.Errorf("while the server is away: %v", err)
		}
		dials := r.dials.Load()
		if _, err := c.Do(t.Context(), ask("x")); !errors.Is(err, exchange.ErrNotSent) || time.Since(start) != 0 || r.dials.Load() != dials {
			t.Errorf("while it backs off: %v after %v and %d dials", err, time.Since(start), r.dials.Load())
		}
		r.down.Store(false)
		time.Sleep(time.Second)
		if resp, err := c.Do(t.Context(), ask("x")); err != nil || said(resp) != "x" {
			t.Errorf("after it came back: %v", err)
		}
	})
}

func TestAServerThatIsSilentIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		var accepted atomic.Int64
		r := newRig(t, exchange.ServerConfig{})
		defer r.stop(done())
		// A connection that takes everything and, after the hello, says nothing.
		c := exchange.NewClient(exchange.ClientConfig{Dial: func(ctx context.Context) (net.Conn, error) {
			conn, err := r.dial(ctx)
			return &muted{Conn: conn, from: accepted.Add(1), stuck: stuck}, err
		}})
		defer c.Close()
		if _, err := c.Do(t.Context(), ask("a")); err != nil {
			t.Fatal(err)
		}
		close(stuck)
		start := time.Now()
		if _, err := c.Do(t.Context(), ask("b")); !errors.Is(err, exchange.ErrLost) || !errors.Is(err, exchange.ErrSilent) {
			t.Errorf("a silent server: %v", err)
		}
		if took := time.Since(start); took > 3*time.Second || took < time.Second {
			t.Errorf("given up after %v", took)
		}
		if resp, err := c.Do(t.Context(), ask("c")); err != nil || said(resp) != "c" {
			t.Errorf("on a new connection: %v", err)
		}
	})
}

// muted is a connection whose first one loses what comes once stuck is closed.
type muted struct {
	net.Conn
	from  int64
	stuck chan struct{}
}

func (m *muted) Read(b []byte) (int, error) {
	for {
		n, err := m.Conn.Read(b)
		if err != nil || m.from != 1 {
			return n, err
		}
		select {
		case <-m.stuck:
		default:
			return n, err
		}
	}
}

func TestALongRequestIsNotTakenForSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, exchange.ServerConfig{Handle: func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
			time.Sleep(30 * time.Second)
			return echo(ctx, req)
		}})
		defer r.stop(t.Context())
		c := r.client(exchange.ClientConfig{})
		defer c.Close()
		if resp, err := c.Do(t.Context(), ask("a")); err != nil || said(resp) != "a" {
			t.Error(err)
		}
	})
}

func TestAStoppingServerAnswersWhatItBeganAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, gate := make(chan struct{}), make(chan struct{})
		r := newRig(t, exchange.ServerConfig{Handle: func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
			if req.GetFate().GetAttempt() == "slow" {
				close(began)
				<-gate
			}
			return echo(ctx, req)
		}})
		c := r.client(exchange.ClientConfig{})
		defer c.Close()
		slow := make(chan error, 1)
		go func() {
			resp, err := c.Do(t.Context(), ask("slow"))
			if err == nil && said(resp) != "slow" {
				err = errors.New(said(resp))
			}
			slow <- err
		}()
		<-began
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			r.stop(t.Context())
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Do(ctx, ask("late")); !errors.Is(err, exchange.ErrNotSent) {
			t.Errorf("a request to a stopping server: %v", err)
		}
		close(gate)
		if err := <-slow; err != nil {
			t.Errorf("the request under way: %v", err)
		}
		<-stopped
	})
}

func TestAServerThatMustStopCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := make(chan struct{})
		r := newRig(t, exchange.ServerConfig{Handle: func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
			close(began)
			<-ctx.Done()
			return echo(ctx, req)
		}})
		c := r.client(exchange.ClientConfig{})
		defer c.Close()
		slow := make(chan error, 1)
		go func() {
			_, err := c.Do(t.Context(), ask("slow"))
			slow <- err
		}()
		<-began
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		r.stop(ctx)
		if err := <-slow; !errors.Is(err, exchange.ErrLost) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestWhatIsInFlightIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		gate := make(chan struct{})
		handle := func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
			most.Store(max(most.Load(), now.Add(1)))
			<-gate
			now.Add(-1)
			return echo(ctx, req)
		}
		r := newRig(t, exchange.ServerConfig{Handle: handle, MaxPerStream: 4, MaxTotal: 6})
		defer r.stop(t.Context())
		many, few := r.client(exchange.ClientConfig{}), r.client(exchange.ClientConfig{MaxInFlight: 3})
		defer many.Close()
		defer few.Close()
		var overloaded atomic.Int64
		var wg sync.WaitGroup
		call := func(c *exchange.Client) {
			resp, err := c.Do(t.Context(), ask("x"))
			switch {
			case err != nil:
				t.Error(err)
			case resp.GetError().GetCode() == rpcpb.Code_CODE_OVERLOADED:
				overloaded.Add(1)
			case said(resp) != "x":
				t.Errorf("answered %v", resp.GetError().GetCode())
			}
		}
		for range 10 {
			wg.Go(func() { call(many) })
		}
		synctest.Wait()
		if n := now.Load(); n != 4 {
			t.Errorf("%d in flight, the server asked for 4", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := many.Do(ctx, ask("y")); !errors.Is(err, exchange.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while there is no room: %v", err)
		}
		for range 3 {
			wg.Go(func() { call(few) })
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if most.Load() != 6 || overloaded.Load() != 1 {
			t.Errorf("%d at once, %d refused", most.Load(), overloaded.Load())
		}
	})
}

func TestNothingThatAHandlerDoesEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, exchange.ServerConfig{Handle: func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
			switch req.GetFate().GetAttempt() {
			case "panic":
				panic("a secret")
			case "large":
				return &rpcpb.Response{Kind: &rpcpb.Response_Fate{Fate: &rpcpb.Fate{Entry: make([]byte, exchange.MaxMessage)}}}
			}
			return echo(ctx, req)
		}})
		defer r.stop(t.Context())
		c := r.client(exchange.ClientConfig{})
		defer c.Close()
		for _, what := range []string{"panic", "large"} {
			if resp, err := c.Do(t.Context(), ask(what)); err != nil || resp.GetError().GetCode() != rpcpb.Code_CODE_INTERNAL {
				t.Errorf("%s: %v", what, err)
			}
		}
		big := ask("")
		big.ApiKey = make([]byte, exchange.MaxMessage)
		if _, err := c.Do(t.Context(), big); !errors.Is(err, exchange.ErrTooLarge) || !errors.Is(err, exchange.ErrNotSent) {
			t.Errorf("a request that is too large: %v", err)
		}
		if resp, err := c.Do(t.Context(), ask("x")); err != nil || said(resp) != "x" || r.dials.Load() != 1 {
			t.Errorf("afterwards: %v on connection %d", err, r.dials.Load())
		}
	})
}

func TestClosingAClientEndsItsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, exchange.ServerConfig{Handle: func(ctx context.Context, req *rpcpb.Request) *rpcpb.Response {
			<-ctx.Done()
			return echo(ctx, req)
		}})
		defer r.stop(done())
		c := r.client(exchange.ClientConfig{MaxInFlight: 2})
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := c.Do(t.Context(), ask("x"))
				errs <- err
			}()
		}
		synctest.Wait()
		c.Close()
		lost := 0
		for range 3 {
			err := <-errs
			if !errors.Is(err, exchange.ErrClosed) {
				t.Error(err)
			}
			if errors.Is(err, exchange.ErrLost) {
				lost++
			}
		}
		if lost != 2 {
			t.Errorf("%d requests were under way, there was room for 2", lost)
		}
		if _, err := c.Do(t.Context(), ask("x")); !errors.Is(err, exchange.ErrClosed) || !errors.Is(err, exchange.ErrNotSent) {
			t.Errorf("after closing: %v", err)
		}
		c.Close()
	})
}
