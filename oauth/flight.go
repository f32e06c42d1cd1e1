package oauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// errTooLate ends a request that was not written before its deadline.
var errTooLate = errors.New("oauth: the deadline passed before the request was written")

// flight watches one request from the dial to the answer. It knows two things
// that an error of net/http does not tell: whether the request may have reached
// the server, and it sees to it that none of it is written after the deadline.
//
// A token request takes effect by its body only, which holds the grant. The
// body is read through a [gate], and net/http reads it right before it writes:
// head and body go through one buffer. So the gate is the last place where the
// deadline can be checked. A context alone would not do: net/http looks at it
// before it has a connection, and may then wait for a goroutine to run.
//
// Why the body is never written twice: net/http repeats a request that failed
// on a reused connection if nothing of it was written, or if it is idempotent,
// which a POST without an Idempotency-Key is not. HTTP/2, which would repeat
// what a server claims not to have worked off, is off in [NewTransport].
type flight struct {
	given    context.Context // by the caller
	ctx      context.Context // of the request: see follow
	cancel   context.CancelCauseFunc
	end      func()    // gives back what the flight holds; called once, when the answer was read
	deadline time.Time // of given; zero: none

	state  atomic.Int32
	traced atomic.Bool // the round tripper calls the hooks
	wrote  atomic.Bool // it says that it wrote
	noTLS  atomic.Bool // the last handshake failed
}

// States of a flight's gate.
const (
	gateWaiting int32 = iota // nobody has read the body
	gatePassed               // the body was handed out in time
	gateShut                 // it will not be handed out any more
)

func newFlight(ctx context.Context) *flight {
	f := &flight{given: ctx}
	f.deadline, _ = ctx.Deadline()
	ctx = f.follow()
	f.ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// A second GetConn means that the attempt before it wrote nothing.
		GetConn:          func(string) { f.traced.Store(true); f.wrote.Store(false) },
		GotConn:          func(httptrace.GotConnInfo) { f.traced.Store(true); _ = f.inTime() },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) { f.noTLS.Store(err != nil) },
		WroteHeaders:     func() { f.wrote.Store(true) },
		WroteRequest:     func(httptrace.WroteRequestInfo) { f.wrote.Store(true) },
	})
	_ = f.inTime() // ends one that is begun too late
	return f
}

// inTime says why the request must not be written any more, and ends it then.
func (f *flight) inTime() error {
	switch { // what ends the context by itself may not have run yet
	case f.ctx.Err() != nil:
	case !f.deadline.IsZero() && !time.Now().Before(f.deadline):
		f.cancel(errTooLate)
	case f.given.Err() != nil:
		f.cancel(context.Cause(f.given))
	}
	return context.Cause(f.ctx)
}

// pass opens the gate, unless it is too late.
func (f *flight) pass() error {
	if err := f.inTime(); err != nil {
		f.state.CompareAndSwap(gateWaiting, gateShut)
		return err
	}
	if f.state.CompareAndSwap(gateWaiting, gatePassed) || f.state.Load() == gatePassed {
		return nil
	}
	return errTooLate
}

// rewind puts the gate back for an attempt after one that wrote nothing.
func (f *flight) rewind() { f.state.CompareAndSwap(gatePassed, gateWaiting) }

// sent shuts the gate and tells whether the request may have reached the
// server. After it has said no, nothing of the body is written any more, even
// if a goroutine of the round tripper is about to.
//
// A head without its body does not count: it holds no grant.
func (f *flight) sent() bool {
	if f.state.CompareAndSwap(gateWaiting, gateShut) || f.state.Load() == gateShut {
		return false
	}
	return f.wrote.Load() || !f.traced.Load()
}

// gate is the body of a request; it is handed out only in time.
type gate struct {
	flight *flight
	r      *bytes.Reader
	open   bool
}

// Read asks the flight before the first byte.
func (g *gate) Read(b []byte) (int, error) {
	if !g.open {
		if err := g.flight.pass(); err != nil {
			return 0, err
		}
		g.open = true
	}
	return g.r.Read(b)
}
