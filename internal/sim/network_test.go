package sim

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// ends are two stations and both ends of a connection between them.
type ends struct {
	*Network
	a, b      *station
	near, far net.Conn
}

// connected runs f in a bubble with two stations that are connected.
func connected(t *testing.T, f func(t *testing.T, e *ends)) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(func(string, string) time.Duration { return time.Millisecond })
		e := &ends{Network: n, a: n.station(hostName(1)), b: n.station(hostName(2))}
		var err error
		if e.near, err = e.a.Dial(t.Context(), e.b.addr); err != nil {
			t.Fatal(err)
		}
		if e.far, err = e.b.Accept(); err != nil {
			t.Fatal(err)
		}
		f(t, e)
		e.a.crash(false)
		e.b.crash(false)
	})
}

// send writes to the near end.
func (e *ends) send(t *testing.T, s string) {
	t.Helper()
	if _, err := e.near.Write([]byte(s)); err != nil {
		t.Error(err)
	}
}

// arrives reads from the far end, and says how long that took.
func (e *ends) arrives(t *testing.T, s string) time.Duration {
	t.Helper()
	began := time.Now()
	got := make([]byte, len(s))
	if _, err := io.ReadFull(e.far, got); err != nil || string(got) != s {
		t.Errorf("read %q, %v; want %q", got, err, s)
	}
	return time.Since(began)
}

func TestNetworkKeepsWhatIsSentUntilTheWayIsOpen(t *testing.T) {
	for name, block := range map[string]func(e *ends){
		"cut":               func(e *ends) { e.Cut(hostName(1), hostName(2)); time.AfterFunc(time.Minute, e.Mend) },
		"the sender held":   func(e *ends) { e.Hold(hostName(1), time.Now().Add(time.Minute)) },
		"the receiver held": func(e *ends) { e.Hold(hostName(2), time.Now().Add(time.Minute)) },
	} {
		t.Run(name, func(t *testing.T) {
			connected(t, func(t *testing.T, e *ends) {
				e.send(t, "on its way when the way closes, ")
				block(e)
				e.send(t, "sent while it is")
				if took := e.arrives(t, "on its way when the way closes, sent while it is"); took != time.Minute {
					t.Errorf("it took %v", took)
				}
				e.send(t, "and on")
				if took := e.arrives(t, "and on"); took != time.Millisecond {
					t.Errorf("afterwards it took %v", took)
				}
				if len(e.Troubles()) != 1 {
					t.Errorf("troubles %v", e.Troubles())
				}
			})
		})
	}
}

func TestNetworkIsCutOneWay(t *testing.T) {
	connected(t, func(t *testing.T, e *ends) {
		e.Cut(hostName(2), hostName(1))
		e.send(t, "there")
		e.arrives(t, "there")
		if _, err := e.far.Write([]byte("back")); err != nil {
			t.Error(err)
		}
		_ = e.near.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := e.near.Read(make([]byte, 4)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := e.a.Dial(ctx, e.b.addr); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial: %v", err)
		}
	})
}

func TestNetworkTellsOfAKilledProcessAtOnce(t *testing.T) {
	connected(t, func(t *testing.T, e *ends) {
		e.send(t, "x")
		e.a.crash(false)
		e.arrives(t, "x")
		if _, err := e.far.Read(make([]byte, 1)); !errors.Is(err, errReset) {
			t.Errorf("read: %v", err)
		}
		if _, err := e.far.Write([]byte("x")); !errors.Is(err, errReset) {
			t.Errorf("write: %v", err)
		}
		if _, err := e.b.Dial(t.Context(), e.a.addr); !errors.Is(err, errRefused) {
			t.Errorf("dial: %v", err)
		}
		if _, err := e.near.Write([]byte("x")); err == nil {
			t.Error("the dead process still writes")
		}
		if _, err := e.a.Dial(t.Context(), e.b.addr); err == nil {
			t.Error("the dead process still dials")
		}
	})
}

func TestNetworkIsSilentAboutAPowerCutUntilTheHostIsBack(t *testing.T) {
	connected(t, func(t *testing.T, e *ends) {
		e.a.crash(true)
		back := make(chan *station, 1)
		time.AfterFunc(time.Minute, func() { back <- e.station(hostName(1)) })
		began := time.Now()
		if _, err := e.far.Read(make([]byte, 1)); !errors.Is(err, errReset) || time.Since(began) != time.Minute {
			t.Errorf("read: %v after %v", err, time.Since(began))
		}
		e.a = <-back
		c, err := e.b.Dial(t.Context(), e.a.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	})
}

func TestNetworkEndsAConnectionAfterAllThatWasSent(t *testing.T) {
	connected(t, func(t *testing.T, e *ends) {
		e.send(t, "last words")
		_ = e.near.Close()
		e.arrives(t, "last words")
		if _, err := e.far.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read: %v", err)
		}
		if _, err := e.near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading at the closed end: %v", err)
		}
	})
}
