package link

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestPeerKnowsWhoCalls: RPC connections carry both names.
func TestPeerKnowsWhoCalls(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1, n2 := n.start("n1", nodePEM(t, "n1", ca), nil), n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n1.stop(t)
	defer n2.stop(t)
	check := func(c net.Conn, want Peer) {
		t.Helper()
		if p, ok := PeerOf(c); !ok || p != want {
			t.Errorf("%v, %v instead of %v", p, ok, want)
		}
	}
	out, err := n1.DialRPC(t.Context(), "n2")
	if err != nil {
		t.Fatal(err)
	}
	check(out, Peer{RoleNode, "n2"})
	in, err := n2.RPC().Accept()
	if err != nil {
		t.Fatal(err)
	}
	check(in, Peer{RoleNode, "n1"})
	raw := call(t, n2.addr)
	defer raw.Close()
	client := tls.Client(raw, identityOf(t, clientPEM(t, "svc", ca)).clientTLS("n2", ProtocolRPC))
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if in, err = n2.RPC().Accept(); err != nil {
		t.Fatal(err)
	}
	check(in, Peer{RoleClient, "svc"})
	if _, ok := PeerOf(raw); ok {
		t.Error("a connection of no port has a peer")
	}
	if got, want := n2.RPC().Addr().String(), n2.addr; got != want {
		t.Errorf("the listener's address is %s instead of %s", got, want)
	}
}

// TestRPCIsRefusedWhenNobodyWantsIt: one name has too many, nobody accepts, the
// listener is closed.
func TestRPCIsRefusedWhenNobodyWantsIt(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), nil)
	defer n1.stop(t)
	n2 := n.start("n2", nodePEM(t, "n2", ca), func(c *Config) { impatient(c); c.Limits.RPC = 2 })
	defer n2.stop(t)
	dial := func() net.Conn {
		c, err := n1.DialRPC(t.Context(), "n2")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	kept := dial()
	if _, err := n2.RPC().Accept(); err != nil {
		t.Fatal(err)
	}
	// Which of two that come together is the one too many is left open.
	shut := make(chan struct{}, 2)
	for _, c := range []net.Conn{dial(), dial()} {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		go func() {
			isShut(t, "one too many, or one that waited", c)
			shut <- struct{}{}
		}()
	}
	<-shut
	n2.log.await(t, "peer=node/n1", ErrTooMany.Error())
	if len(shut) > 0 {
		t.Error("one that may wait was refused")
	}
	_ = n2.RPC().Close()
	<-shut
	isShut(t, "one too late", dial())
	n2.log.await(t, "peer=node/n1", ErrClosed.Error())
	if _, err := n2.RPC().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepted after Close: %v", err)
	}
	if _, err := kept.Write([]byte("x")); err != nil {
		t.Errorf("what was accepted is closed with the listener: %v", err)
	}
}

// TestQueueOfRPCIsBounded: what nobody accepts is closed in the end.
func TestQueueOfRPCIsBounded(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), nil)
	defer n1.stop(t)
	n2 := n.start("n2", nodePEM(t, "n2", ca), func(c *Config) { impatient(c) })
	defer n2.stop(t)
	for range rpcQueue + 1 {
		if _, err := n1.DialRPC(t.Context(), "n2"); err != nil {
			t.Fatal(err)
		}
	}
	n2.log.await(t, "peer=node/n1", "nobody accepts RPC connections")
}

// TestTooManyConnectionsAreRefused, those beyond the limit only.
func TestTooManyConnectionsAreRefused(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), func(c *Config) { c.Limits.Conns = 2 })
	defer n1.stop(t)
	n2 := n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n2.stop(t)
	defer echoes(n1)()
	var held []net.Conn
	for range 2 {
		c, err := n2.DialRPC(t.Context(), "n1")
		if err != nil || echo(c) != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	if _, err := n2.DialRPC(t.Context(), "n1"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("one too many: %v", err)
	}
	n1.log.await(t, "level=WARN", ErrTooMany.Error())
	for _, c := range held {
		_ = c.Close()
	}
	for { // n1 learns of the end of the others in its own time
		if c, err := n2.DialRPC(t.Context(), "n1"); err == nil {
			err = echo(c)
			_ = c.Close()
			if err == nil {
				break
			}
		}
	}
}

// TestSlowHandshakesGiveTheirPlaceBack: others wait for it, and get in.
func TestSlowHandshakesGiveTheirPlaceBack(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), func(c *Config) { impatient(c); c.Limits.Handshakes = 2 })
	defer n1.stop(t)
	n2 := n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n2.stop(t)
	defer echoes(n1)()
	for range 4 {
		defer call(t, n1.addr).Close()
	}
	c, err := n2.DialRPC(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	if err := echo(c); err != nil {
		t.Errorf("behind slow ones: %v", err)
	}
	_ = c.Close()
	if n := n1.log.count("no handshake within"); n < 2 {
		t.Errorf("%d slow handshakes ended", n)
	}
}

// TestStalestStreamMakesRoom: a node that opens more and more raft streams
// closes its own, and a new one always gets in.
func TestStalestStreamMakesRoom(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), nil)
	defer n1.stop(t)
	tr := openGroup(t, n1, 7)
	defer answering(tr, func(raft.RPC) (any, error) { return &raft.TimeoutNowResponse{}, nil })()
	open := func(id *Identity) *tls.Conn {
		s := nodeStream(t, id, n1.addr, streamVersion, 0, 7)
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return s
	}
	use := func(name string, s *tls.Conn) error {
		if _, err := s.Write(append([]byte{kindTimeoutNow}, pack(t, raft.TimeoutNowRequest{RPCHeader: header(name)})...)); err != nil {
			return err
		}
		_, err := io.ReadFull(s, make([]byte, len(pack(t, ""))+len(pack(t, raft.TimeoutNowResponse{}))))
		return err
	}
	id2 := identityOf(t, nodePEM(t, "n2", ca))
	other := open(identityOf(t, nodePEM(t, "n3", ca)))
	var streams []*tls.Conn
	for range 8 {
		s := open(id2)
		if err := use("n2", s); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	for _, s := range streams[1:] {
		if err := use("n2", s); err != nil {
			t.Fatal(err)
		}
	}
	ninth := open(id2)
	isShut(t, "the stalest", streams[0])
	for _, s := range append(streams[1:], ninth) {
		if err := use("n2", s); err != nil {
			t.Error(err)
		}
	}
	if err := use("n3", other); err != nil {
		t.Errorf("another node's stream had to make room: %v", err)
	}
	n1.log.await(t, "level=WARN", "peer=node/n2", "silent longest")
}

// TestCloseDoesNotWaitLongerThanAsked.
func TestCloseDoesNotWaitLongerThanAsked(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), nil)
	tr := openGroup(t, n1, 0)
	tr.receivers.Add(1) // one that does not end
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := n1.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	tr.receivers.Done()
	n1.stop(t)
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	if _, err := Open(Config{Limits: Limits{RPC: -1}}); err == nil ||
		!containsAll(err.Error(), []string{"no identity", "no network", "negative"}) {
		t.Errorf("%v", err)
	}
}
