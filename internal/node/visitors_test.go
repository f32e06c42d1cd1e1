package node

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhoHasConnectedIsAnsweredBeforeTheServerEnds: one that has connected and
// not asked yet, when the listener closes, and one that never does.
func TestWhoHasConnectedIsAnsweredBeforeTheServerEnds(t *testing.T) {
	v := newVisitors()
	s := &http.Server{ConnState: v.note, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "answer")
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	var conns [2]net.Conn // the second one stays silent
	for i := range conns {
		if conns[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conns[i].Close() }()
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for noted := 0; noted < len(conns); <-tick.C {
		v.mu.Lock()
		noted = len(v.conns)
		v.mu.Unlock()
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	began, ended := time.Now(), make(chan time.Duration, 1)
	go func() {
		v.wait(context.Background(), 0)
		ended <- time.Since(began)
		_ = s.Shutdown(context.Background())
	}()
	if _, err := conns[0].Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conns[0]); err != nil || len(b) < 6 || string(b[len(b)-6:]) != "answer" {
		t.Errorf("who had connected got %q, %v", b, err)
	}
	if took := <-ended; took < freshFor/2 || took > 10*freshFor {
		t.Errorf("one who stays silent was waited for for %v", took)
	}
}

func TestIdleConnectionsAreWaitedForNoLongerThanAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVisitors()
		one, two := &net.TCPConn{}, &net.TCPConn{}
		v.note(one, http.StateIdle)
		v.note(two, http.StateActive)
		time.AfterFunc(5*time.Second, func() { v.note(two, http.StateIdle) })
		began := time.Now()
		v.wait(t.Context(), time.Second) // an answer is owed for longer than that
		if took := time.Since(began).Round(time.Second); took != 5*time.Second {
			t.Errorf("with a request under way it waited for %v", took)
		}
		began = time.Now()
		v.wait(t.Context(), 3*time.Second)
		if took := time.Since(began).Round(time.Second); took != 3*time.Second {
			t.Errorf("with idle connections it waited for %v", took)
		}
		v.note(one, http.StateClosed)
		v.note(two, http.StateHijacked)
		began = time.Now()
		v.wait(t.Context(), time.Hour)
		if took := time.Since(began); took > time.Second {
			t.Errorf("without a connection it waited for %v", took)
		}
	})
}
