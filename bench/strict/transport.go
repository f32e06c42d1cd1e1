package strict

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"syscall"
)

// maxBody is the longest body of a request that is read.
const maxBody = 2 << 20

// RoundTripper returns a transport that brings requests to the provider
// without a socket, whatever host they name. Closing the provider ends it.
//
// It behaves as net/http's transport does over a network: a request whose
// context ends is given up by the client while the provider goes on with it,
// a dropped connection is an error, redirects are left to the client, and the
// hooks of net/http/httptrace are called: GetConn and GotConn before anything
// is sent, WroteHeaders and WroteRequest before the provider sees the request,
// GotFirstResponseByte when it has answered. Nothing is sent if the context
// has ended when GotConn returns. A request that no fault delays is worked off
// in the caller's own goroutine.
func (p *Provider) RoundTripper() http.RoundTripper { return &transport{p} }

type transport struct{ p *Provider }

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	ctx := req.Context()
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.GetConn != nil {
		trace.GetConn(req.URL.Host)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !t.p.enter() {
		return nil, refusedError()
	}
	handle, refused := t.p.prepare(ctx, req, body)
	if refused {
		t.p.visits.Done()
		return nil, refusedError()
	}
	if trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	if err := ctx.Err(); err != nil {
		t.p.visits.Done()
		return nil, err
	}
	traceWritten(trace)
	a, err := t.do(ctx, handle)
	if err != nil {
		return nil, err
	}
	if a.drop {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: sysError(syscall.ECONNRESET)}
	}
	if trace != nil && trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	return a.response(req), nil
}

// pending is a request that was read, and how to work it off.
type pending struct {
	run   func() answer
	waits bool
	hand  *handover
}

// handover settles who came first, the answer or a client that gave up, so
// that the record and the client never disagree about it.
type handover struct{ settled atomic.Bool }

// first reports whether the caller is the first to call it.
func (h *handover) first() bool { return h.settled.CompareAndSwap(false, true) }

// prepare finds out who works a request off, and whether a fault refuses it.
func (p *Provider) prepare(ctx context.Context, req *http.Request, body []byte) (h pending, refused bool) {
	ep, ok := route(req.URL.Path)
	if !ok {
		return pending{run: func() answer { return p.other(req, body) }}, false
	}
	v := p.admit(ctx, p.closed, ep, req, body)
	v.hand = &handover{}
	return pending{run: v.run, waits: v.waits(), hand: v.hand}, v.refused()
}

// do works a request off, in a goroutine of its own if that may take time. It
// ends the count that enter began.
func (t *transport) do(ctx context.Context, h pending) (answer, error) {
	if !h.waits {
		defer t.p.visits.Done()
		return h.run(), nil
	}
	done := make(chan answer, 1)
	go func() {
		defer t.p.visits.Done()
		done <- h.run()
	}()
	select {
	case a := <-done:
		return a, nil
	case <-ctx.Done():
		if h.hand.first() {
			return answer{}, context.Cause(ctx)
		}
		return <-done, nil // it is being sent at this moment
	}
}

func readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	defer func() { _ = req.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("strict: the body of the request is longer than %d bytes", maxBody)
	}
	return body, nil
}

func traceWritten(trace *httptrace.ClientTrace) {
	if trace == nil {
		return
	}
	if trace.WroteHeaders != nil {
		trace.WroteHeaders()
	}
	if trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
}

func refusedError() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: sysError(syscall.ECONNREFUSED)}
}

// sysError gives an error of the system the form in which package net returns it.
func sysError(e syscall.Errno) error { return fmt.Errorf("connect: %w", e) }

// response gives an answer the form of an HTTP response.
func (a answer) response(req *http.Request) *http.Response {
	res := &http.Response{
		Status:        strconv.Itoa(a.status) + " " + http.StatusText(a.status),
		StatusCode:    a.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        a.header,
		ContentLength: int64(len(a.body)),
		Request:       req,
	}
	if a.endless {
		res.ContentLength = -1
		res.Body = &endless{ctx: req.Context(), chunk: a.body}
		return res
	}
	res.Body = io.NopCloser(bytes.NewReader(a.body))
	return res
}

// endless is a body without an end.
type endless struct {
	ctx    context.Context // of the request, as for every response body
	chunk  []byte
	sent   int
	closed bool
}

var errBodyClosed = errors.New("strict: read on a closed response body")

// Read fills b with the chunk, again and again.
func (e *endless) Read(b []byte) (int, error) {
	if e.closed {
		return 0, errBodyClosed
	}
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	if e.sent >= endlessLimit {
		return 0, io.ErrUnexpectedEOF
	}
	n := 0
	for n < len(b) {
		m := copy(b[n:], e.chunk[(e.sent+n)%len(e.chunk):])
		n += m
	}
	e.sent += n
	return n, nil
}

// Close ends the body.
func (e *endless) Close() error {
	e.closed = true
	return nil
}
