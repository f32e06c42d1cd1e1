package gossip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// real is the configuration of a node on this machine's network.
func real(name string, join ...string) Config {
	return Config{
		Name: name, Bind: "127.0.0.1:0", Join: join, Meta: Meta{Boot: "boot of " + name},
		// This machine may be busy.
		Timing: Timing{ProbeTimeout: 250 * time.Millisecond, Stream: 2 * time.Second},
	}
}

// startReal starts a node, and returns it and its address.
func startReal(t *testing.T, c Config) (*Gossip, string) {
	t.Helper()
	g, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, g) })
	return g, member(t, g, c.Name).Addr
}

func TestNodesOnARealNetwork(t *testing.T) {
	for name, ring := range map[string]func() ([][]byte, error){"plaintext": nil, "encrypted": keys(keyA)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := real("n1")
			c.Keyring = ring
			one, at := startReal(t, c)
			// The one's own address, and one where nobody is, do no harm.
			c = real("n2", "localhost:1", at)
			c.Keyring = ring
			two, _ := startReal(t, c)
			c.Name, c.Meta.Boot = "n3", "3"
			three, _ := startReal(t, c)
			for _, g := range []*Gossip{one, two, three} {
				await(t, g, 20*time.Second, "n1 alive, n2 alive, n3 alive")
			}
			if err := two.Leave(t.Context()); err != nil {
				t.Error(err)
			}
			mustClose(t, two)
			await(t, one, 20*time.Second, "n1 alive, n2 left, n3 alive")
			mustClose(t, three)
			await(t, one, 20*time.Second, "n1 alive, n2 left, n3 dead")
		})
	}
}

func TestAddressIsFreeAfterAFailedStart(t *testing.T) {
	_, at := startReal(t, real("n1"))
	c := real("n2")
	c.Bind = at
	if g, err := Start(c); err == nil {
		mustClose(t, g)
		t.Fatal("two nodes listen at one address")
	}
	// A bind that works, and an address to advertise that does not.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Bind = l.Addr().String()
	l.Close()
	c.Advertise = "nowhere.invalid:1"
	if g, err := Start(c); err == nil {
		mustClose(t, g)
		t.Fatal("an unknown name is advertised")
	}
	c.Advertise = ""
	g, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, g)
}

// rubbish is what a stranger may send: what no version of the protocol knows,
// and what looks like it for a few bytes.
func rubbish() [][]byte {
	r := rand.New(rand.NewPCG(1, 1))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	all := [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: n1\r\n\r\n"),
		{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc}, // TLS
		random(60000),
		bytes.Repeat([]byte{7, 1, 255, 255}, 10000),              // compounds of compounds, cut off
		append([]byte{10, 0xff, 0xff, 0xff, 0xff}, random(9)...), // 4 GB, encrypted
		append([]byte{10, 0, 0, 0, 4}, random(4)...),
		append([]byte{1}, random(100)...),                       // encrypted, as packets are
		{244, 0}, {244, 255, 'x'}, {244, 4, 'a', 'b', 'c', 'd'}, // labels
	}
	for kind := range 256 {
		all = append(all, []byte{byte(kind)}, append([]byte{byte(kind)}, random(40)...))
	}
	return all
}

func TestRubbishIsDroppedWithALine(t *testing.T) {
	for name, ring := range map[string]func() ([][]byte, error){"plaintext": nil, "encrypted": keys(keyA)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := newLogbook()
			c := real("n1")
			c.Keyring, c.Logger = ring, out.logger()
			c.Timing.Stream = 300 * time.Millisecond
			one, at := startReal(t, c)
			packets, err := net.Dial("udp", at)
			if err != nil {
				t.Fatal(err)
			}
			defer packets.Close()
			for _, b := range rubbish() {
				if _, err := packets.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			awaitLine(t, out, "from="+packets.LocalAddr().String())
			for i, b := range rubbish() {
				if i%16 != 0 && i > 10 {
					continue
				}
				s, err := net.Dial("tcp", at)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = s.Write(b)
				if err := s.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) { // hung up on already
					t.Error(err)
				}
				// It is answered with an error or hung up on.
				_ = s.SetDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.Copy(io.Discard, s); err != nil && strings.Contains(err.Error(), "timeout") {
					t.Errorf("%.20q: %v", b, err)
				}
				s.Close()
			}
			awaitLine(t, out, "from=127.0.0.1:")
			// It still does what it is for.
			c = real("n2", at)
			c.Keyring = ring
			two, _ := startReal(t, c)
			await(t, one, 20*time.Second, "n1 alive, n2 alive")
			await(t, two, 20*time.Second, "n1 alive, n2 alive")
			if n := len(out.String()); n > 30000 {
				t.Errorf("%d bytes were logged", n)
			}
		})
	}
}

// TestConnectionsOfStrangersAreBounded: in number and in time.
func TestConnectionsOfStrangersAreBounded(t *testing.T) {
	out := newLogbook()
	c := real("n1")
	c.Keyring, c.Logger = keys(keyA), out.logger()
	_, at := startReal(t, c)
	var open []net.Conn
	for range 3 * maxStreams {
		s, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		open = append(open, s)
	}
	awaitLine(t, out, "a connection was refused: "+errTooMany.Error())
	for i, s := range open {
		_ = s.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := s.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("connection %d is kept: %v", i, err)
		}
	}
}

// TestNotMoreIsReadThanAPeerHasToSay, where memberlist would read 20 MB before
// it asks for a key.
func TestNotMoreIsReadThanAPeerHasToSay(t *testing.T) {
	out := newLogbook()
	c := real("n1")
	c.Keyring, c.Logger = keys(keyA), out.logger()
	_, at := startReal(t, c)
	s, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_ = s.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := s.Write(binary.BigEndian.AppendUint32([]byte{10}, 16<<20)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write(make([]byte, 16<<20)); err == nil {
		_, err = s.Read(make([]byte, 1))
		t.Errorf("%d bytes were taken, then %v", n, err)
	}
	awaitLine(t, out, errTooLong.Error())
}

// TestRandomPacketsDoNoHarm to a node that has no keys and so decodes all of
// them.
func TestRandomPacketsDoNoHarm(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		all := l.trio()
		stranger := l.net.Listen(addr(9))
		defer stranger.Shutdown()
		r := rand.New(rand.NewPCG(2, 2))
		for range 200 {
			for range 50 {
				b := make([]byte, 1+r.IntN(60))
				for i := range b {
					b[i] = byte(r.Uint32())
				}
				b[0] %= 14
				if r.IntN(2) == 0 && len(b) > 2 {
					b[1] = 0x80 | b[1]&0x0f // a map, as each message is
				}
				if _, err := stranger.WriteTo(b, addr(1+r.IntN(3))); err != nil {
					t.Fatal(err)
				}
			}
			<-time.After(2 * time.Millisecond)
		}
		for _, g := range all {
			stays(t, g, 20*time.Second, "n1 alive, n2 alive, n3 alive")
		}
	})
}

// odd is a memberlist that is not one of ours.
type odd struct{ meta []byte }

func (o odd) NodeMeta(int) []byte             { return o.meta }
func (odd) NotifyMsg([]byte)                  {}
func (odd) GetBroadcasts(int, int) [][]byte   { return nil }
func (odd) LocalState(bool) []byte            { return []byte("no notes") }
func (odd) MergeRemoteState(b []byte, _ bool) {}

// startOdd starts one at the place of node i, and joins it to node 1.
func (l *lab) startOdd(i int, name string, meta []byte) *memberlist.Memberlist {
	l.t.Helper()
	c := memberlist.DefaultLANConfig()
	c.Name, c.Transport, c.Delegate, c.Logger = name, l.net.Listen(addr(i)), odd{meta}, log.New(io.Discard, "", 0)
	m, err := memberlist.Create(c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = m.Shutdown()
		<-time.After(time.Minute) // it does not wait for its probes
	})
	if _, err := m.Join([]string{addr(1)}); err != nil {
		l.t.Fatal(err)
	}
	return m
}

func TestPeersThatMakeNoSenseAreNoMembers(t *testing.T) {
	for _, c := range []struct{ name, meta string }{
		{"n4", ""}, {"n4", "\x02something new"}, {"n4", "\x01\x01\x05b"}, {"n4", "\x01\x02\x03abc"},
		{"a name with spaces", "\x01\x01\x01b"}, {strings.Repeat("long", 100), "\x01\x01\x01b"},
	} {
		inLab(t, func(t *testing.T, l *lab) {
			out := newLogbook()
			conf := l.config(1)
			conf.Logger = out.logger()
			one := l.start(conf)
			m := l.startOdd(4, c.name, []byte(c.meta))
			stays(t, one, time.Minute, "n1 alive")
			awaitLine(t, out, "ignoring alive message")
			awaitLine(t, out, errBadNotes.Error())
			for _, msg := range []string{"", "\x01\xff", "\x02", strings.Repeat("x", 1000)} {
				to := &memberlist.Node{Name: "n1", Addr: net.IPv4(10, 0, 0, 1), Port: 7946}
				if err := m.SendBestEffort(to, []byte(msg)); err != nil {
					t.Error(err)
				}
				if err := m.SendReliable(to, []byte(msg)); err != nil {
					t.Error(err)
				}
			}
			stays(t, one, time.Minute, "n1 alive")
		})
	}
}

// TestPeerOfANewerVersionIsAMember: its metadata has a field more.
func TestPeerOfANewerVersionIsAMember(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		one := l.node(1)
		l.startOdd(4, "n4", []byte("\x01\x01\x04boot\x2a\x05newer\x02\x05a:123"))
		await(t, one, 10*time.Second, "n1 alive, n4 alive")
		if got := member(t, one, "n4").Meta; got != (Meta{Boot: "boot", RPC: "a:123"}) {
			t.Errorf("%+v", got)
		}
	})
}
