package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/time/rate"

	"github.com/grantd/grantd/cluster/link/issue"
)

// impatient makes a port's time-outs short, and its identity's long.
func impatient(c *Config) {
	c.Timing = Timing{Handshake: 200 * time.Millisecond, Raft: 200 * time.Millisecond, Reload: time.Hour}
}

func call(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // of the test, not of the port
	return c
}

// stranger is what an attacker makes of a valid configuration.
func stranger(id *Identity, protocols ...string) *tls.Config {
	c := id.clientTLS("n1", "")
	c.NextProtos, c.VerifyConnection = protocols, nil
	return c
}

// isShut waits until the other end has closed the connection, without having
// sent anything of use.
func isShut(t *testing.T, what string, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); err == nil || isLate(err) {
		t.Errorf("%s: read %d bytes, %v", what, n, err)
	}
}

// template is a certificate that [issue.Authority.Node] would not make.
func template(usage []x509.ExtKeyUsage, ca bool, uris ...string) *x509.Certificate {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage, BasicConstraintsValid: true, IsCA: ca,
	}
	for _, u := range uris {
		parsed, err := url.Parse(u)
		if err != nil {
			panic(err)
		}
		t.URIs = append(t.URIs, parsed)
	}
	return t
}

// papersOf makes an identity without looking at it.
func papersOf(t testing.TB, pair issue.Pair, trusted *issue.Authority) *Identity {
	t.Helper()
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := parseRoots(trusted.Pair().Cert)
	if err != nil {
		t.Fatal(err)
	}
	id := &Identity{}
	id.now.Store(&papers{cert: cert, roots: roots})
	return id
}

// TestStrangersDoNotGetIn: whoever cannot prove himself is shut out within the
// handshake, with a line in the log that says why and where he came from.
func TestStrangersDoNotGetIn(t *testing.T) {
	n, ca, foreign := loopback(t), authority(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), impatient)
	defer n1.stop(t)
	n1.strangers.limit.SetLimit(rate.Inf)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	signed := func(t *testing.T, by *issue.Authority, c *x509.Certificate) *Identity {
		pair, err := by.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return papersOf(t, pair, ca)
	}
	expired := template(both, false, "grantd://node/n2")
	expired.NotAfter = time.Now().Add(-time.Minute)
	node := identityOf(t, nodePEM(t, "n2", ca))
	anonymous := stranger(node, ProtocolRPC)
	anonymous.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	old := stranger(node, ProtocolRPC)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, c := range map[string]struct {
		cfg *tls.Config
		why string
	}{
		"no certificate":        {anonymous, "didn't provide a certificate"},
		"foreign authority":     {stranger(signed(t, foreign, template(both, false, "grantd://node/n2")), ProtocolRaft), ErrUntrusted.Error()},
		"client on raft":        {stranger(identityOf(t, clientPEM(t, "svc", ca)), ProtocolRaft), "client/svc asks for a raft stream"},
		"expired":               {stranger(signed(t, ca, expired), ProtocolRaft), ErrExpired.Error()},
		"for servers only":      {stranger(signed(t, ca, template(both[:1], false, "grantd://node/n2")), ProtocolRaft), "incompatible key usage"},
		"an authority's":        {stranger(signed(t, ca, template(both, true, "grantd://node/n2")), ProtocolRPC), ErrUntrusted.Error()},
		"no name":               {stranger(signed(t, ca, template(both, false)), ProtocolRPC), ErrNoName.Error()},
		"other URIs":            {stranger(signed(t, ca, template(both, false, "https://n2", "spiffe://node/n2")), ProtocolRPC), ErrNoName.Error()},
		"two names":             {stranger(signed(t, ca, template(both, false, "grantd://node/n2", "grantd://client/c")), ProtocolRPC), "has 2 grantd URIs"},
		"unknown role":          {stranger(signed(t, ca, template(both, false, "grantd://admin/n2")), ProtocolRPC), ErrNoName.Error()},
		"name with a slash":     {stranger(signed(t, ca, template(both, false, "grantd://node/n2/n3")), ProtocolRPC), ErrNoName.Error()},
		"name in disguise":      {stranger(signed(t, ca, template(both, false, "grantd://node/n%32")), ProtocolRPC), ErrNoName.Error()},
		"name with a question":  {stranger(signed(t, ca, template(both, false, "grantd://node/n2?x")), ProtocolRPC), ErrNoName.Error()},
		"empty name":            {stranger(signed(t, ca, template(both, false, "grantd://node/")), ProtocolRPC), ErrNoName.Error()},
		"TLS 1.2":               {old, "unsupported versions"},
		"HTTP/1.1":              {stranger(node, "http/1.1"), "for no protocol that is spoken here"},
		"unknown protocol":      {stranger(node, "ftp"), "unsupported application protocols"},
		"no protocol":           {stranger(node), "for no protocol that is spoken here"},
		"raft of a later world": {stranger(node, "grantd-raft/2"), "unsupported application protocols"},
	} {
		raw := call(t, n1.addr)
		secure := tls.Client(raw, c.cfg)
		err := secure.Handshake()
		if err == nil { // in TLS 1.3 a client learns of it at its first read
			_, err = secure.Read(make([]byte, 1))
		}
		if err == nil || isLate(err) {
			t.Errorf("%s: got in: %v", name, err)
		}
		n1.log.await(t, "level=WARN", "connection refused", "remote="+raw.LocalAddr().String(), c.why)
		_ = raw.Close()
	}
}

// TestNoiseIsShutOut: bytes that are no TLS, and silence.
func TestNoiseIsShutOut(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), impatient)
	defer n1.stop(t)
	for what, data := range map[string][]byte{
		"HTTP":              []byte("GET / HTTP/1.1\r\nHost: n1\r\n\r\n"),
		"zeros":             make([]byte, 5000),
		"an endless record": append([]byte{22, 3, 1, 0xff, 0xff}, make([]byte, 1<<16)...),
		"a cut hello":       {22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3},
		"silence":           nil,
	} {
		c := call(t, n1.addr)
		_, _ = c.Write(data)
		for {
			if _, err := c.Read(make([]byte, 512)); err != nil {
				if isLate(err) {
					t.Errorf("%s: not shut out", what)
				}
				break
			}
		}
		n1.log.await(t, "level=WARN", "connection refused", "remote="+c.LocalAddr().String())
		_ = c.Close()
	}
	n1.log.await(t, "no handshake within 200ms")
}

// TestScannerDoesNotFloodTheLog, nor does it keep others out.
func TestScannerDoesNotFloodTheLog(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), func(c *Config) { c.Limits.Handshakes = 4 })
	defer n1.stop(t)
	n2 := n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n2.stop(t)
	for range 300 {
		c := call(t, n1.addr)
		_, _ = c.Write([]byte("HELP\r\n"))
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	c, err := n2.DialRPC(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n := n1.log.count("connection refused"); n < 10 || n > 60 {
		t.Errorf("%d lines of 300 attacks", n)
	}
}

// TestOtherNodeIsNotTakenForTheOneThatWasCalled: addresses may be wrong or
// taken over.
func TestOtherNodeIsNotTakenForTheOneThatWasCalled(t *testing.T) {
	n, ca, foreign := loopback(t), authority(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), nil)
	defer n1.stop(t)
	n2 := n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n2.stop(t)
	impostor := n.start("n4", nodePEM(t, "n4", foreign), nil)
	defer impostor.stop(t)
	n.place("n3", n2.addr)
	pair, err := ca.Client("n5", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	n.place("n5", serveTLS(t, papersOf(t, pair, ca)))
	for node, want := range map[string]error{"n3": ErrWrongName, "n4": ErrUntrusted, "n5": ErrUntrusted, "n9": ErrUnreachable} {
		if _, err := n1.DialRPC(t.Context(), node); !errors.Is(err, want) || !errors.Is(err, ErrUnreachable) {
			t.Errorf("called %s: %v", node, err)
		}
	}
}

// serveTLS accepts one connection with an identity that no port would take.
func serveTLS(t *testing.T, id *Identity) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := ln.Accept(); err == nil {
			_ = tls.Server(c, id.serverTLS()).Handshake()
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

// TestSilentNodeDoesNotHoldUpTheCaller: one that accepts and says nothing.
func TestSilentNodeDoesNotHoldUpTheCaller(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), impatient)
	defer n1.stop(t)
	ln := n.listen()
	defer ln.Close()
	n.place("n2", ln.Addr().String())
	if _, err := n1.DialRPC(t.Context(), "n2"); !errors.Is(err, ErrUnreachable) || !isLate(err) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n1.DialRPC(ctx, "n2"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has given up: %v", err)
	}
}

// nodeStream makes a raft stream as a broken node would: proven, and free to
// send anything.
func nodeStream(t *testing.T, id *Identity, addr string, head ...byte) *tls.Conn {
	t.Helper()
	raw := call(t, addr)
	c := tls.Client(raw, id.clientTLS("n1", ProtocolRaft))
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(head); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	return c
}

// TestBrokenHeadersAreRefused: cut short, of another version, for a group that
// is not open.
func TestBrokenHeadersAreRefused(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), impatient)
	defer n1.stop(t)
	openGroup(t, n1, 7)
	id := identityOf(t, nodePEM(t, "n2", ca))
	for _, c := range []struct {
		head   []byte
		answer byte
		why    string
	}{
		{[]byte{streamVersion, 0, 8}, answerNotOpen, "group 8 is not open"},
		{[]byte{9, 0, 7}, answerVersion, "raft stream of version 9"},
		{[]byte{streamVersion, 0}, 0, "i/o timeout"},
		{nil, 0, "i/o timeout"},
	} {
		s := nodeStream(t, id, n1.addr, c.head...)
		if c.answer != 0 {
			var b [1]byte
			if _, err := io.ReadFull(s, b[:]); err != nil || b[0] != c.answer {
				t.Errorf("header %v: answer %v, %v", c.head, b, err)
			}
		}
		isShut(t, "header", s)
		n1.log.await(t, "level=WARN", "peer=node/n2", "remote="+s.LocalAddr().String(), c.why)
	}
	s := nodeStream(t, id, n1.addr, streamVersion)
	_ = s.NetConn().Close()
	n1.log.await(t, "header of a raft stream", "remote="+s.LocalAddr().String())
}

// TestBrokenMessagesEndTheirStreamOnly: raft never sees them, and another
// stream of the same peer goes on.
func TestBrokenMessagesEndTheirStreamOnly(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), func(c *Config) {
		c.Timing = Timing{Raft: 300 * time.Millisecond, Reload: time.Hour}
	})
	defer n1.stop(t)
	tr := openGroup(t, n1, 7)
	defer answering(tr, func(c raft.RPC) (any, error) {
		if _, ok := c.Command.(*raft.TimeoutNowRequest); !ok {
			t.Errorf("raft got %+v", c.Command)
		}
		return &raft.TimeoutNowResponse{}, nil
	})()
	n1.peers.limit.SetLimit(rate.Inf)
	id := identityOf(t, nodePEM(t, "n2", ca))
	open := func() *tls.Conn {
		s := nodeStream(t, id, n1.addr, binary.BigEndian.AppendUint16([]byte{streamVersion}, 7)...)
		var answer [1]byte
		if _, err := io.ReadFull(s, answer[:]); err != nil || answer[0] != answerOpen {
			t.Fatal(answer, err)
		}
		return s
	}
	sound := open()
	kind := func(k byte, data ...byte) []byte { return append([]byte{k}, data...) }
	for name, c := range map[string]struct {
		data []byte
		why  string
	}{
		"unknown kind":        {kind(9), "kind 9 is not known"},
		"garbage":             {kind(kindAppendEntries, bytes.Repeat([]byte{0xc1}, 100)...), "no value begins"},
		"another shape":       {kind(kindAppendEntries, pack(t, "a text")...), ErrBadMessage.Error()},
		"a claim":             {kind(kindRequestVote, u32(0xc6, 0xFFFFFFFF)...), "more than 41943040 bytes"},
		"entries without end": {kind(kindAppendEntries, append([]byte{0x81, 0xa7, 'E', 'n', 't', 'r', 'i', 'e', 's'}, u32(0xdd, 1<<31)...)...), "more than"},
		"too many entries":    {kind(kindAppendEntries, append([]byte{0x81, 0xa7, 'E', 'n', 't', 'r', 'i', 'e', 's'}, u32(0xdd, 2000)...)...), "2000 items"},
		"half a message":      {kind(kindAppendEntries, u32(0xc6, 1000)...), "i/o timeout"},
		"another's name":      {kind(kindRequestVote, pack(t, raft.RequestVoteRequest{RPCHeader: header("n3")})...), "in the name of"},
		"no entry": {kind(kindAppendEntries, pack(t, raft.AppendEntriesRequest{RPCHeader: header("n2"), Entries: []*raft.Log{nil}})...),
			"entry 0 is missing"},
		"snapshot of nobody": {kind(kindInstallSnapshot, pack(t, raft.InstallSnapshotRequest{RPCHeader: header("n2"), SnapshotVersion: 1, Size: 10})...),
			"list of members"},
	} {
		s := open()
		_, _ = s.Write(c.data)
		isShut(t, name, s)
		n1.log.await(t, "level=WARN", "raft stream closed", "peer=node/n2", "group=7", "remote="+s.LocalAddr().String(), c.why)
	}
	for range 3 {
		if _, err := sound.Write(kind(kindTimeoutNow, pack(t, raft.TimeoutNowRequest{RPCHeader: header("n2")})...)); err != nil {
			t.Fatal(err)
		}
		answer := append(pack(t, ""), pack(t, raft.TimeoutNowResponse{})...)
		if _, err := io.ReadFull(sound, make([]byte, len(answer))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOversizedMessageIsLeftAtTheBound: parts that may each be, and together not.
func TestOversizedMessageIsLeftAtTheBound(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), func(c *Config) { c.Timing.Raft = time.Minute })
	defer n1.stop(t)
	openGroup(t, n1, 7)
	s := nodeStream(t, identityOf(t, nodePEM(t, "n2", ca)), n1.addr, streamVersion, 0, 7)
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(time.Minute))
	_, _ = s.Write(append([]byte{kindAppendEntries}, u32(0xdd, 1000)...))
	part, sent := append(u32(0xc6, 1<<20), make([]byte, 1<<20)...), 0
	for ; sent < 1000; sent++ {
		if _, err := s.Write(part); err != nil {
			break
		}
	}
	if sent < maxMessage>>20-1 || sent > maxMessage>>20+20 { // the rest is on its way, or lies in buffers
		t.Errorf("%d parts were taken", sent)
	}
	n1.log.await(t, "level=WARN", "raft stream closed", "more than 41943040 bytes")
	if len(n1.large) != 0 {
		t.Error("a place for a large message is still taken")
	}
}

// TestSenderOfASnapshotThatStopsIsNotWaitedFor.
func TestSenderOfASnapshotThatStopsIsNotWaitedFor(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), impatient)
	defer n1.stop(t)
	tr, ended := openGroup(t, n1, 7), make(chan error, 1)
	defer answering(tr, func(c raft.RPC) (any, error) {
		_, err := io.Copy(io.Discard, c.Reader)
		ended <- err
		return &raft.InstallSnapshotResponse{}, err
	})()
	members := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}}})
	s := nodeStream(t, identityOf(t, nodePEM(t, "n2", ca)), n1.addr, streamVersion, 0, 7)
	if _, err := s.Write(append([]byte{kindInstallSnapshot}, pack(t, raft.InstallSnapshotRequest{
		RPCHeader: header("n2"), SnapshotVersion: 1, Size: 1000, Configuration: members,
	})...)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !isLate(err) {
		t.Errorf("half a snapshot: %v", err)
	}
}

// TestAnswersAreBounded: a broken node that answers without end is left, in
// bounded memory.
func TestAnswersAreBounded(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), nil)
	defer n1.stop(t)
	for name, answer := range map[string][]byte{
		"without end": append(u32(0xdb, 0xFFFFFFF0), make([]byte, 1<<20)...),
		"garbage":     bytes.Repeat([]byte{0xc1}, 100),
		"cut":         u32(0xdb, 100),
	} {
		ln := n.listen()
		n.place("n2", ln.Addr().String())
		done := make(chan struct{})
		go func() {
			defer close(done)
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			defer raw.Close()
			s := tls.Server(raw, identityOf(t, nodePEM(t, "n2", ca)).serverTLS())
			_, _ = io.ReadFull(s, make([]byte, headerLen))
			_, _ = s.Write([]byte{answerOpen})
			_, _ = s.Read(make([]byte, 1000))
			_, _ = s.Write(answer)
		}()
		tr := openGroup(t, n1, 7)
		if err := tr.TimeoutNow("n2", "n2", &raft.TimeoutNowRequest{RPCHeader: header("n1")}, &raft.TimeoutNowResponse{}); err == nil {
			t.Errorf("%s: no error", name)
		}
		_ = tr.Close()
		_ = ln.Close()
		<-done
	}
}
