package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

// TestPortsStandStrangers: every port is tried with every certificate that is
// not good there, with garbage and with a flood, while callers ask for tokens.
// Then all nodes run, no call has failed, nothing has leaked, and the logs say
// what there was and show no secret.
func TestPortsStandStrangers(t *testing.T) {
	t.Parallel()
	c := up(t, "n1", "n2", "n3")
	c.register()
	accounts := c.connect("acme", 24)
	c.makeCerts(c.certs, "client", "billing")
	c.makeCerts(c.path("foreign"), "node", "n1", "n2", "n3")
	c.makeCerts(c.path("foreign"), "client", "billing")
	l := c.load(accounts, c.nodes, 4, never)
	l.passes(300)

	before := make([]held, len(c.nodes))
	marks := make([]int, len(c.nodes))
	for i, n := range c.nodes {
		before[i], marks[i] = n.held(t), n.log.mark()
	}
	a := &attack{t: t, c: c, host: newHost(t)}
	rounds := 1
	if long() {
		rounds = 20
	}
	for range rounds {
		var all sync.WaitGroup
		for _, n := range c.nodes {
			all.Go(func() {
				for _, way := range []func(*node) error{a.tls, a.raft, a.rpc, a.bytes, a.gossip, a.http} {
					if err := way(n); err != nil {
						t.Errorf("%s: %v", n.name, err)
					}
				}
			})
		}
		all.Wait()
	}
	a.crowd()
	a.end()
	l.passes(300)
	l.check()
	c.settled()
	c.checkGrants(t, accounts)
	for i, n := range c.nodes {
		for _, words := range [][]string{
			{"connection refused", "client didn't provide a certificate"},
			{"connection refused", "not signed by the cluster's authority"},
			{"connection refused", "client/billing asks for a raft stream"},
			{"connection refused", "no protocol that is spoken here"},
			{"stream of the actor RPC ended", "first message must be a hello"},
			{"stream of the actor RPC ended", "larger than max"},
			{"stream of the actor RPC ended", "cannot parse"},
			{"stream of the actor RPC ended", `"client"`, "billing"},
			{"raft stream of version 9"},
			{"group 77 is not open here"},
			{"message cannot be accepted"},
			{"gossip", "could decrypt"},
			{"gossip", "not encrypted"},
		} {
			n.says(marks[i], words...)
		}
		c.eventually(n.name+" holds what it held before", func() error {
			now := n.held(t)
			if now.files > before[i].files+20 || now.goroutines > before[i].goroutines+40 {
				return fmt.Errorf("it holds %+v, and held %+v", now, before[i])
			}
			return nil
		})
	}
}

// held is what a process has open.
type held struct{ files, goroutines int }

var goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)

func (n *node) held(t *testing.T) held {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.proc.PID()))
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.http()+"/metrics", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+n.c.admin.Reveal())
	res, err := n.c.http.Do(req)
	must(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	found := goroutines.FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s: no go_goroutines in /metrics", n.name)
	}
	count, err := strconv.Atoi(string(found[1]))
	must(t, err)
	return held{len(files), count}
}

// attack is one who can reach the ports. What it opens stays open until end.
type attack struct {
	t    *testing.T
	c    *cluster
	host string
	mu   sync.Mutex
	open []io.Closer
}

func (a *attack) keep(c io.Closer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = append(a.open, c)
}

func (a *attack) end() {
	for _, c := range a.open {
		_ = c.Close()
	}
}

// within bounds one try.
func (a *attack) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 5*time.Second)
}

// refusedTLS fails the test if a connection can be used, and returns why not.
func (a *attack) refusedTLS(n *node, what string, p papers, alpn ...string) {
	a.t.Helper()
	ctx, cancel := a.within()
	defer cancel()
	conn, err := n.connection(ctx, p, alpn...)
	if err != nil {
		return // by the handshake
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = conn.Write([]byte{1, 0, 0})
	if _, err = io.ReadFull(conn, make([]byte, 1)); err == nil || os.IsTimeout(err) {
		a.t.Errorf("%s: %s was let in: %v", n.name, what, err)
	}
}

// tls tries certificates and protocols that do not go together.
func (a *attack) tls(n *node) error {
	foreign, own := a.c.path("foreign"), a.c.certs
	for _, alpn := range []string{alpnRaft, alpnRPC} {
		a.refusedTLS(n, "nobody for "+alpn, papers{}, alpn)
		a.refusedTLS(n, "a foreign node for "+alpn, papers{foreign, "n2"}, alpn)
		a.refusedTLS(n, "a foreign client for "+alpn, papers{foreign, "client-billing"}, alpn)
	}
	a.refusedTLS(n, "a client for raft", papers{own, "client-billing"}, alpnRaft)
	a.refusedTLS(n, "a node for nothing", papers{own, "n2"})
	a.refusedTLS(n, "a node for HTTP/1.1", papers{own, "n2"}, "http/1.1")
	old := &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true, NextProtos: []string{alpnRPC}}
	if conn, err := tls.Dial("tcp", n.rpc(), old); err == nil {
		a.keep(conn)
		return errors.New("it speaks TLS 1.2")
	}
	return nil
}

// raft says what no node says on streams of raft, with a node's certificate.
func (a *attack) raft(n *node) error {
	open := func(want byte, header ...byte) (*tls.Conn, error) {
		ctx, cancel := a.within()
		defer cancel()
		conn, err := n.connection(ctx, papers{a.c.certs, "n2"}, alpnRaft)
		if err != nil {
			return nil, err
		}
		a.keep(conn)
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = conn.Write(header)
		var answer [1]byte
		if _, err := io.ReadFull(conn, answer[:]); err == nil && answer[0] != want {
			return nil, fmt.Errorf("the header %v was answered with %d instead of %d", header, answer[0], want)
		}
		return conn, nil
	}
	for _, header := range [][]byte{{2, 9, 0, 0}, {1, 1, 0, 77}, {0, 1}} { // the last one and no more
		if _, err := open(header[0], header[1:]...); err != nil {
			return err
		}
	}
	huge := append([]byte{0, 0xc6}, binary.BigEndian.AppendUint32(nil, 1<<31)...)
	for _, message := range [][]byte{
		{0xee}, // of no kind
		append([]byte{0}, bytes.Repeat([]byte{0xff}, 1<<20)...), // no MessagePack
		append(huge, make([]byte, 8<<20)...),                    // 2 GB, of which 8 MB come
		append([]byte{0}, bytes.Repeat([]byte{0x91}, 1<<16)...), // lists in lists
		{1, 0x80}, {2, 0x80}, {3, 0x80}, {4, 0x80}, {0, 0xdd, 0xff, 0xff, 0xff, 0xff}, // empty ones, and a list that does not end
	} {
		conn, err := open(0, 1, 0xff, 0xff) // every node has the meta group
		if err != nil {
			return err
		}
		_, _ = conn.Write(message)
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, conn) // it is closed, or says no
	}
	return nil
}

// rawCodec lets any bytes be a message.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(b []byte, v any) error { *v.(*[]byte) = b; return nil }
func (rawCodec) Name() string                    { return "proto" }

// rpc says what no client says on streams of the actor RPC, with a node's
// certificate and with a client's one.
func (a *attack) rpc(n *node) error {
	ctx, cancel := a.within()
	defer cancel()
	hello := []byte{0x22, 4, 8, 1, 16, 1}
	for _, name := range []string{"n2", "client-billing"} {
		for what, messages := range map[string][][]byte{
			"no hello":     {{8, 1}},
			"a version":    {{0x22, 4, 8, 7, 16, 9}},
			"garbage":      {hello, {0xff, 0xff, 0xff}},
			"oversized":    {hello, make([]byte, exchange.MaxMessage+1)},
			"a newer kind": {hello, {8, 1, 0xba, 0x3e, 3, 'n', 'e', 'w'}},
			"id 0":         {hello, {0x82, 1, 0}},
			"an id twice":  {hello, {8, 5, 0x8a, 2, 0}, {8, 5, 0x8a, 2, 0}},
			"two hellos":   {hello, hello},
		} {
			cc, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					return n.connection(ctx, papers{a.c.certs, name}, alpnRPC)
				}))
			if err != nil {
				return err
			}
			a.keep(cc)
			s, err := cc.NewStream(ctx, &rpcpb.Actors_ServiceDesc.Streams[0], rpcpb.Actors_Exchange_FullMethodName,
				grpc.ForceCodec(rawCodec{}), grpc.MaxCallSendMsgSize(1<<30))
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			for _, m := range messages {
				_ = s.SendMsg(&m)
			}
			_ = s.CloseSend()
			for {
				var b []byte
				if s.RecvMsg(&b) != nil {
					break
				}
			}
		}
		// Nor HTTP/2, but under its name.
		conn, err := n.connection(ctx, papers{a.c.certs, name}, alpnRPC)
		if err != nil {
			return err
		}
		a.keep(conn)
		_, _ = conn.Write(noise(64 << 10))
	}
	return nil
}

// noise is the same garbage every time.
func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// say sends bytes to an address and lets the other end hang up.
func (a *attack) say(network, addr string, b []byte) error {
	conn, err := net.Dial(network, addr)
	if err != nil {
		return err
	}
	a.keep(conn)
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = conn.Write(b)
	if half, ok := conn.(*net.TCPConn); ok {
		_ = half.CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	}
	return nil
}

// bytes sends garbage to all ports over TCP.
func (a *attack) bytes(n *node) error {
	for _, b := range [][]byte{
		nil, {0}, {0x16, 3, 1, 0xff, 0xff}, noise(1 << 10), noise(1 << 20), bytes.Repeat([]byte{0xff}, 1<<20),
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 4096)),
	} {
		for _, addr := range []string{n.rpc(), n.gossip(), n.http()} {
			if err := a.say("tcp", addr, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// gossip sends packets of all kinds and sizes, and joins with another key and
// with none.
func (a *attack) gossip(n *node) error {
	for i := range 300 {
		b := noise(1 + i*199%1400)
		b[0] = byte(i) // the kinds of memberlist's messages are small numbers
		if err := a.say("udp", n.gossip(), b); err != nil {
			return err
		}
	}
	err := errors.Join(a.say("udp", n.gossip(), noise(60<<10)),
		a.say("tcp", n.gossip(), append([]byte{6, 0x83}, noise(5<<20)...))) // a push and pull of too much
	if err != nil {
		return err
	}
	keys, err := os.ReadFile(filepath.Join(a.c.path("foreign"), "gossip.key"))
	if err != nil {
		return err
	}
	for _, keyring := range []func() ([][]byte, error){nil, func() ([][]byte, error) { return [][]byte{bytes.TrimSpace(keys)[:32]}, nil }} {
		g, err := gossip.Start(gossip.Config{
			Name: "evil", Bind: a.host + ":0", Join: []string{n.gossip()}, Keyring: keyring,
			Meta: gossip.Meta{Boot: "evil", RPC: "127.0.0.1:1", Cluster: "mine"},
		})
		if err != nil {
			return err
		}
		a.keep(closer(func() error {
			ctx, cancel := a.within()
			defer cancel()
			for _, m := range g.Members() {
				if m.Name != "evil" {
					a.t.Errorf("%s gossips with a stranger of %s", m.Name, n.name)
				}
			}
			return g.Close(ctx)
		}))
	}
	return nil
}

type closer func() error

// Close implements io.Closer.
func (c closer) Close() error { return c() }

// http asks the API what nobody should.
func (a *attack) http(n *node) error {
	base := "http://" + n.http()
	for _, tc := range []struct {
		method, path, key string
		body              io.Reader
		status            int
	}{
		{"GET", "/v1/accounts/acme/a0/token", "", nil, 401},
		{"GET", "/v1/accounts/acme/a0/token", "gk_nobody-has-made-this-key-at-all-000000000", nil, 401},
		{"GET", "/v1/cluster", "x", nil, 401},
		{"GET", "/v1/../../etc/passwd", a.c.admin.Reveal(), nil, 404},
		{"POST", "/v1/accounts", a.c.admin.Reveal(), bytes.NewReader(make([]byte, 32<<20)), 413},
		{"POST", "/v1/accounts", a.c.admin.Reveal(), bytes.NewReader(noise(4096)), 400},
		{"TRACE", "/v1/accounts", a.c.admin.Reveal(), nil, 405},
	} {
		req, err := http.NewRequestWithContext(a.t.Context(), tc.method, base+tc.path, tc.body)
		if err != nil {
			return err
		}
		if tc.key != "" {
			req.Header.Set("Authorization", "Bearer "+tc.key)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := a.c.http.Do(req)
		if err != nil {
			if tc.status != 413 { // the node may hang up before all is sent
				a.t.Errorf("%s: %s %s: %v", n.name, tc.method, tc.path, err)
			}
			continue
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != tc.status {
			a.t.Errorf("%s: %s %s: HTTP %d instead of %d", n.name, tc.method, tc.path, res.StatusCode, tc.status)
		}
	}
	return a.say("tcp", n.http(), []byte("GET / HTTP/1.1\r\nX: "+strings.Repeat("x", 2<<20)+"\r\n\r\n"))
}

// crowd opens many connections to each port at once, which say nothing, or
// little and slowly, or go away at once.
func (a *attack) crowd() {
	var all sync.WaitGroup
	for _, n := range a.c.nodes {
		for _, addr := range []string{n.rpc(), n.gossip(), n.http()} {
			for i := range 200 {
				all.Go(func() {
					conn, err := net.Dial("tcp", addr)
					if err != nil {
						return // it is full
					}
					switch i % 4 {
					case 0:
						a.keep(conn)
					case 1:
						_, _ = conn.Write([]byte{0x16})
						a.keep(conn)
					case 2:
						_, _ = conn.Write([]byte("GET /"))
						a.keep(conn)
					default:
						_ = conn.Close()
					}
				})
			}
		}
	}
	all.Wait()
}
