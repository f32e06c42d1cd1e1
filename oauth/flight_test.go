package oauth

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
)

// A connection may take until after the deadline. Nothing of the request may be
// written then, even if the context's timer has not run and the round tripper
// does not look.
func TestNothingIsWrittenAfterTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			name  string
			delay time.Duration
			late  bool
		}{{"in time", 9999 * time.Millisecond, false}, {"at the deadline", 10 * time.Second, true}, {"after it", 11 * time.Second, true}} {
			written, canceled := "", false
			rt := roundTrip(func(r *http.Request) (*http.Response, error) {
				trace := httptrace.ContextClientTrace(r.Context())
				trace.GetConn("p.example:443")
				time.Sleep(tc.delay) // virtual: the bubble's clock
				trace.GotConn(httptrace.GotConnInfo{})
				canceled = r.Context().Err() != nil
				trace.WroteHeaders()
				body, err := io.ReadAll(r.Body)
				written = string(body)
				trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
				return nil, errors.Join(err, net.ErrClosed)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err := New(rt, Options{}).Refresh(ctx, registration("https://p.example"), credential.NewSecret("r"), nil)
			cancel()
			f := failure(t, err)
			if (written == "") != tc.late || canceled != tc.late || f.Sent == tc.late {
				t.Errorf("%s: wrote %q, canceled: %v, %v (sent: %v)", tc.name, written, canceled, f, f.Sent)
			}
			if want := map[bool]credential.Class{true: credential.Transient, false: credential.Ambiguous}[tc.late]; f.Class != want {
				t.Errorf("%s: %v, want %s", tc.name, f, want)
			}
		}
	})
}

func TestRequestEndsAtItsDeadlineAndWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, life := range []time.Duration{time.Millisecond, 10 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), life)
			f, began := newFlight(ctx), time.Now()
			<-f.ctx.Done()
			if took := time.Since(began); took != life || lostCode(f, f.ctx.Err()) != codeTimeout {
				t.Errorf("of %v: it ended after %v, %s", life, took, lostCode(f, f.ctx.Err()))
			}
			f.end()
			cancel()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		f := newFlight(ctx)
		cancel()
		synctest.Wait()
		if lostCode(f, f.ctx.Err()) != codeCanceled {
			t.Errorf("given up: %v", context.Cause(f.ctx))
		}
		f.end()
	})
}

// Once a request has been called unsent, a goroutine of the round tripper that
// is about to write it must find the gate shut.
func TestWhatIsCalledUnsentIsNeverWritten(t *testing.T) {
	for range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		f := newFlight(ctx)
		f.traced.Store(true)
		f.wrote.Store(true)
		var wrote bool
		var wg sync.WaitGroup
		wg.Go(func() { wrote = f.pass() == nil })
		sent := f.sent()
		wg.Wait()
		if wrote != sent {
			t.Fatalf("written: %v, called sent: %v", wrote, sent)
		}
		cancel()
		f.end()
	}
}

func TestRoundTripperWithoutHooksCountsAsHavingSent(t *testing.T) {
	rt := roundTrip(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return nil, net.ErrClosed
	})
	_, err := New(rt, Options{}).Refresh(t.Context(), registration("https://p.example"), credential.NewSecret("r"), nil)
	wantFailure(t, err, credential.Ambiguous, "connection_lost", true)
	rt = func(*http.Request) (*http.Response, error) { return nil, net.ErrClosed }
	_, err = New(rt, Options{}).Refresh(t.Context(), registration("https://p.example"), credential.NewSecret("r"), nil)
	wantFailure(t, err, credential.Transient, "connection_lost", false)
}

// rawServer runs handle for each connection, in turn, until the test ends.
func rawServer(t *testing.T, handle func(n int, c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); handle(n, c) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return "http://" + ln.Addr().String()
}

// readRequest takes one request off a connection.
func readRequest(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

const rawToken = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n" + `{"access_token":"a"}`

// net/http repeats requests that fail on a reused connection; a refresh must
// not be among them.
func TestRefreshIsNotRepeatedOnAReusedConnection(t *testing.T) {
	var requests atomic.Int32
	base := rawServer(t, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for readRequest(r) {
			if requests.Add(1) > 1 {
				return // hung up on after the request was read
			}
			_, _ = io.WriteString(c, rawToken)
		}
	})
	tr := NewTransport(TransportOptions{Allow: loopback})
	defer tr.CloseIdleConnections()
	client, ctx := New(tr, Options{}), deadlineIn(t, 20*time.Second)
	if _, err := client.Refresh(ctx, registration(base), credential.NewSecret("r1"), nil); err != nil {
		t.Fatal(err)
	}
	_, err := client.Refresh(ctx, registration(base), credential.NewSecret("r2"), nil)
	wantFailure(t, err, credential.Ambiguous, "connection_lost", true)
	if n := requests.Load(); n != 2 {
		t.Errorf("the server read %d requests, want 2", n)
	}
}

// A pooled connection that the server closed meanwhile must not be mistaken
// for a request that was lost.
func TestPooledConnectionThatDiedIsNotAmbiguous(t *testing.T) {
	closed := make(chan struct{}, 1)
	base := rawServer(t, func(_ int, c net.Conn) {
		if readRequest(bufio.NewReader(c)) {
			_, _ = io.WriteString(c, rawToken)
			_ = c.Close()
			closed <- struct{}{}
		}
	})
	tr := NewTransport(TransportOptions{Allow: loopback, IdleTimeout: time.Minute})
	defer tr.CloseIdleConnections()
	client, ctx := New(tr, Options{}), deadlineIn(t, 20*time.Second)
	failed := 0
	for range 50 {
		_, err := client.Refresh(ctx, registration(base), credential.NewSecret("r"), nil)
		if err == nil {
			<-closed
			continue
		}
		// The close and the write may cross; then it is unknown indeed.
		if f := failure(t, err); f.Sent != (f.Class == credential.Ambiguous) {
			t.Fatalf("%v (sent: %v)", f, f.Sent)
		}
		failed++
	}
	if failed == 50 {
		t.Error("no request came through")
	}
}

func TestAnswersThatBreakOffAreJudgedByTheirStatus(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		class        credential.Class
		code         string
	}{
		{"nothing", "", credential.Ambiguous, "connection_lost"},
		{"garbage", "\x16\x03\x01hunter2\r\n\r\n", credential.Ambiguous, "connection_lost"},
		{"head", "HTTP/1.1 200 OK\r\nContent-Le", credential.Ambiguous, "connection_lost"},
		{"endless head", "HTTP/1.1 200 OK\r\nX: " + string(make([]byte, 200<<10)), credential.Ambiguous, "connection_lost"},
		{"body of 200", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"access_token\":\"a\"}", credential.Ambiguous, "connection_lost"},
		{"body of 400", "HTTP/1.1 400 Bad\r\nContent-Length: 50\r\n\r\n{\"error\":\"invalid_grant\"}", credential.Unrecognised, "connection_lost"},
		{"body of 503", "HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nContent-Length: 50\r\n\r\n{", credential.Transient, "connection_lost"},
		{"redirect to nowhere", "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/hunter2\r\nContent-Length: 0\r\n\r\n", credential.Misconfigured, "redirect"},
		{"redirect without an address", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", credential.Misconfigured, "redirect"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base := rawServer(t, func(_ int, c net.Conn) {
				readRequest(bufio.NewReader(c))
				_, _ = io.WriteString(c, tc.answer)
			})
			tr := NewTransport(TransportOptions{Allow: loopback})
			defer tr.CloseIdleConnections()
			_, err := New(tr, Options{}).Refresh(deadlineIn(t, 20*time.Second), registration(base), credential.NewSecret("r"), nil)
			f := wantFailure(t, err, tc.class, tc.code, true)
			if s := f.Error(); len(s) > 300 || containsAny(s, "hunter2", "\x16") {
				t.Errorf("%q shows content", s)
			}
		})
	}
}

func TestSlowAnswersEndWithTheContext(t *testing.T) {
	for _, head := range []string{"", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"} {
		stop := make(chan struct{})
		base := rawServer(t, func(_ int, c net.Conn) {
			readRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, head)
			<-stop
		})
		tr := NewTransport(TransportOptions{Allow: loopback})
		_, err := New(tr, Options{Timeout: 100 * time.Millisecond}).Refresh(t.Context(), registration(base), credential.NewSecret("r"), nil)
		close(stop)
		wantFailure(t, err, credential.Ambiguous, "timeout", true)
		tr.CloseIdleConnections()
	}
}

// net/http tries again where a pooled connection had died and nothing was
// written. What the first attempt said must not count for the second.
func TestAttemptThatWroteNothingDoesNotCountAsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, second := range map[string]func(*http.Request, *httptrace.ClientTrace) error{
			"no new connection": func(*http.Request, *httptrace.ClientTrace) error { return net.ErrClosed },
			"too late for the body": func(r *http.Request, trace *httptrace.ClientTrace) error {
				body, err := r.GetBody()
				if err != nil {
					return err
				}
				trace.GotConn(httptrace.GotConnInfo{})
				trace.WroteHeaders()
				time.Sleep(time.Minute) // virtual: the bubble's clock
				_, err = io.ReadAll(body)
				return err
			},
		} {
			rt := roundTrip(func(r *http.Request) (*http.Response, error) {
				trace := httptrace.ContextClientTrace(r.Context())
				trace.GetConn("p.example:443")
				trace.GotConn(httptrace.GotConnInfo{Reused: true})
				trace.WroteHeaders()
				_, err := io.ReadAll(r.Body)
				trace.WroteRequest(httptrace.WroteRequestInfo{Err: net.ErrClosed})
				trace.GetConn("p.example:443")
				return nil, errors.Join(err, second(r, trace))
			})
			_, err := New(rt, Options{}).Refresh(t.Context(), registration("https://p.example"), credential.NewSecret("r"), nil)
			if f := failure(t, err); f.Sent || f.Class != credential.Transient {
				t.Errorf("%s: %v (sent: %v)", name, f, f.Sent)
			}
		}
	})
}
