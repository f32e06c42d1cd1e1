package gossip

import (
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/cluster/gossip/gossiptest"
)

// TestNothingGetsThroughAClosedFence, neither out nor in.
func TestNothingGetsThroughAClosedFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := gossiptest.NewNetwork(nil)
		other := n.Listen(addr(2))
		defer other.Shutdown()
		f := overGiven(n.Listen(addr(1)), func(slog.Level, string) {})
		out, err := f.DialTimeout(addr(2), time.Second)
		_ = out
		if err == nil {
			t.Fatal("nobody takes connections at 10.0.0.2, and yet there is one")
		}
		go other.DialTimeout(addr(1), time.Second)
		in := <-f.StreamCh()
		if err := f.Shutdown(); err != nil {
			t.Error(err)
		}
		if _, err := in.Read(make([]byte, 1)); err == nil {
			t.Error("a connection is still open")
		}
		if _, err := f.WriteTo([]byte("x"), addr(2)); err == nil {
			t.Error("a packet was sent")
		}
		if _, err := f.DialTimeout(addr(2), time.Second); err == nil {
			t.Error("a connection was made")
		}
		if _, err := f.track(&net.TCPConn{}, true); err == nil {
			t.Error("a connection was taken")
		}
		if err := f.Shutdown(); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}

// TestOnlyIPAddressesAreSentTo: an address comes out of a packet, and must not
// make the node ask a name server.
func TestOnlyIPAddressesAreSentTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := overGiven(gossiptest.NewNetwork(nil).Listen(addr(1)), func(slog.Level, string) {})
		defer f.Shutdown()
		for _, bad := range []string{"?0102:80", "example.com:80", "", "10.0.0.1"} {
			if _, err := f.WriteTo([]byte("x"), bad); err == nil {
				t.Errorf("a packet was sent to %q", bad)
			}
		}
		if _, err := f.WriteTo([]byte("x"), "[2001:db8::1]:80"); err != nil {
			t.Error(err)
		}
	})
}
