package gossiptest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const one, two = "10.0.0.1:7946", "10.0.0.2:7946"

// inNetwork runs f with two nodes and two switches that cut the ways between
// them.
func inNetwork(t *testing.T, f func(t *testing.T, n *Network, a, b *Transport, cutAB, cutBA *atomic.Bool)) {
	synctest.Test(t, func(t *testing.T) {
		var cutAB, cutBA atomic.Bool
		n := NewNetwork(func(from, to string) bool {
			return !(from == one && to == two && cutAB.Load() || from == two && to == one && cutBA.Load())
		})
		a, b := n.Listen(one), n.Listen(two)
		f(t, n, a, b, &cutAB, &cutBA)
		for range 2 {
			if err := errors.Join(a.Shutdown(), b.Shutdown()); err != nil {
				t.Error(err)
			}
		}
	})
}

// connect returns both ends of a connection from a to b.
func connect(t *testing.T, a, b *Transport) (near, far net.Conn) {
	t.Helper()
	got := make(chan net.Conn, 1)
	go func() { got <- <-b.StreamCh() }()
	near, err := a.DialTimeout(b.addr.String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return near, <-got
}

func TestPacketsArriveUnlessTheWayIsCut(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *Network, a, b *Transport, cutAB, _ *atomic.Bool) {
		send := func(from *Transport, to string) {
			if _, err := from.WriteTo([]byte("hello"), to); err != nil {
				t.Error(err)
			}
			<-time.After(Latency)
			synctest.Wait()
		}
		send(a, two)
		if p := <-b.PacketCh(); string(p.Buf) != "hello" || p.From.String() != one || !p.Timestamp.Equal(time.Now()) {
			t.Errorf("%+v", p)
		}
		cutAB.Store(true)
		send(a, two)
		send(b, one)
		if len(b.PacketCh()) != 0 || len(a.PacketCh()) != 1 {
			t.Error("the cut is not one-way")
		}
		send(a, "10.0.0.3:7946")
	})
}

func TestConnectionsCarryBothWays(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *Network, a, b *Transport, _, _ *atomic.Bool) {
		near, far := connect(t, a, b)
		if near.RemoteAddr().String() != two || far.RemoteAddr().String() != one || near.LocalAddr().String() != one {
			t.Error("the addresses are wrong")
		}
		for _, c := range [][2]net.Conn{{near, far}, {far, near}} {
			began := time.Now()
			for _, s := range []string{"he", "llo", "", " world"} {
				if _, err := c[0].Write([]byte(s)); err != nil {
					t.Error(err)
				}
			}
			got := make([]byte, 11)
			if _, err := io.ReadFull(c[1], got); err != nil || string(got) != "hello world" || time.Since(began) != Latency {
				t.Errorf("%q, %v after %v", got, err, time.Since(began))
			}
		}
		near.Close()
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after the other end has closed: %v", err)
		}
		if _, err := far.Write([]byte("x")); err == nil {
			t.Error("one can write to a closed end")
		}
		if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing to a closed one: %v", err)
		}
	})
}

func TestCutConnectionHangsUntilItsDeadline(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *Network, a, b *Transport, cutAB, _ *atomic.Bool) {
		near, far := connect(t, a, b)
		cutAB.Store(true)
		if _, err := near.Write([]byte("lost")); err != nil {
			t.Error(err)
		}
		cutAB.Store(false)
		if _, err := near.Write([]byte("behind what is lost")); err != nil {
			t.Error(err)
		}
		near.Close()
		began := time.Now()
		if err := far.SetDeadline(began.Add(time.Minute)); err != nil {
			t.Error(err)
		}
		if _, err := far.Read(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestDialingTakesAllTheTimeWhereNothingPasses(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *Network, a, b *Transport, _, cutBA *atomic.Bool) {
		cutBA.Store(true)
		began := time.Now()
		if _, err := a.DialTimeout(two, time.Minute); err == nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		began = time.Now()
		if _, err := a.DialTimeout("10.0.0.3:7946", time.Minute); err == nil || time.Since(began) != 0 {
			t.Errorf("nobody is there: %v after %v", err, time.Since(began))
		}
		time.AfterFunc(time.Second, func() { _ = a.Shutdown() })
		began = time.Now()
		if _, err := a.DialTimeout(two, time.Minute); err == nil || time.Since(began) != time.Second {
			t.Errorf("shut down: %v after %v", err, time.Since(began))
		}
	})
}

func TestShutdownEndsConnectionsAndFreesTheAddress(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *Network, a, b *Transport, _, _ *atomic.Bool) {
		near, far := connect(t, a, b)
		if err := b.Shutdown(); err != nil {
			t.Error(err)
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the other end: %v", err)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("its own end: %v", err)
		}
		if _, err := b.DialTimeout(one, time.Second); err == nil {
			t.Error("it still connects")
		}
		if err := n.Listen(two).Shutdown(); err != nil {
			t.Error(err)
		}
		defer func() {
			if recover() == nil {
				t.Error("an address is used twice")
			}
		}()
		n.Listen(one)
	})
}
