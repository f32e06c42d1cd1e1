package link

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestIdentitySaysWhatIsWrongWithItsFiles: an operator reads it at the start.
func TestIdentitySaysWhatIsWrongWithItsFiles(t *testing.T) {
	ca, other := authority(t), authority(t)
	sound := nodePEM(t, "n1", ca)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	with := func(c *x509.Certificate) PEM {
		pair, err := ca.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return withRoots(pair, ca)
	}
	change := func(f func(*PEM)) PEM { p := sound; f(&p); return p }
	expired := template(both, false, "grantd://node/n1")
	expired.NotAfter = time.Now().Add(-time.Minute)
	early := template(both, false, "grantd://node/n1")
	early.NotBefore = time.Now().Add(time.Minute)
	for name, c := range map[string]struct {
		pem  PEM
		err  error
		says string
	}{
		"no SAN":            {with(template(both, false)), ErrNoName, "no URI grantd://node/NAME"},
		"expired":           {with(expired), ErrExpired, "has expired"},
		"not yet valid":     {with(early), ErrExpired, "is before"},
		"another's key":     {change(func(p *PEM) { p.Key = nodePEM(t, "n1", ca).Key }), ErrBadFiles, "does not match"},
		"no key":            {change(func(p *PEM) { p.Key = nil }), ErrBadFiles, "key input"},
		"no certificate":    {change(func(p *PEM) { p.Cert = []byte("x") }), ErrBadFiles, "certificate input"},
		"other authority":   {change(func(p *PEM) { p.CA = other.Pair().Cert }), ErrUntrusted, "unknown authority"},
		"no authority":      {change(func(p *PEM) { p.CA = nil }), ErrBadFiles, "holds none"},
		"key as authority":  {change(func(p *PEM) { p.CA = ca.Pair().Key }), ErrBadFiles, "holds a EC PRIVATE KEY"},
		"for servers only":  {with(template(both[:1], false, "grantd://node/n1")), ErrUntrusted, "incompatible key usage"},
		"for clients only":  {with(template(both[1:], false, "grantd://node/n1")), ErrUntrusted, "incompatible key usage"},
		"another node's":    {nodePEM(t, "n2", ca), ErrWrongName, "it is the one of node/n2, and node/n1 is needed"},
		"a client's":        {clientPEM(t, "n1", ca), ErrWrongName, "it is the one of client/n1"},
		"an authority's":    {PEM{CA: ca.Pair().Cert, Cert: ca.Pair().Cert, Key: ca.Pair().Key}, ErrNoName, "no URI"},
		"sound, both roots": {change(func(p *PEM) { p.CA = append(other.Pair().Cert, p.CA...) }), nil, ""},
	} {
		id, err := OpenIdentity(func() (PEM, error) { return c.pem, nil }, "n1", nil)
		if !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && id.Name() != "n1" {
			t.Errorf("%s: it is %s", name, id.Name())
		}
	}
	if id, err := OpenIdentity(func() (PEM, error) { return sound, nil }, "", nil); err != nil || id.Name() != "n1" || time.Until(id.Expires()) > 20*24*time.Hour {
		t.Errorf("any name: %v", err)
	}
	if _, err := OpenIdentity(Files("a", "b", "c"), "n1", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files that do not exist: %v", err)
	}
}

func TestIdentityIsReadFromFiles(t *testing.T) {
	dir, want := t.TempDir(), nodePEM(t, "n1", authority(t))
	name := func(f string) string { return filepath.Join(dir, f) }
	for f, data := range map[string][]byte{"ca": want.CA, "cert": want.Cert, "key": want.Key} {
		if err := os.WriteFile(name(f), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Files(name("ca"), name("cert"), name("key"))(); err != nil || got.digest() != want.digest() {
		t.Error(err)
	}
}

// TestBrokenFilesAreLoggedOnce, and what was in use stays in use.
func TestBrokenFilesAreLoggedOnce(t *testing.T) {
	ca := authority(t)
	log, source := newJournal(), &files{now: nodePEM(t, "n1", ca)}
	id, err := OpenIdentity(source.read, "n1", log.logger())
	if err != nil {
		t.Fatal(err)
	}
	look := func(want int) {
		t.Helper()
		for range 3 {
			id.refresh()
		}
		if n := log.count("level=WARN", "cannot be used"); n != want {
			t.Errorf("%d warnings instead of %d", n, want)
		}
	}
	first := id.now.Load()
	look(0)
	broken := source.now
	broken.Key = nodePEM(t, "n1", ca).Key
	source.set(broken)
	look(1)
	broken.Cert = nil
	source.set(broken)
	look(2)
	source.err = os.ErrPermission
	look(3)
	if id.now.Load() != first {
		t.Error("what is broken is in use")
	}
	source.err = nil
	source.set(nodePEM(t, "n1", ca))
	look(3)
	if id.now.Load() == first {
		t.Error("what is sound is not in use")
	}
	log.await(t, "level=INFO", "exchanged")
}

func TestExpiryIsWarnedOfInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := authority(t)
		pair, err := ca.Node("n1", time.Now(), time.Now().Add(20*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		log, source := newJournal(), &files{now: withRoots(pair, ca)}
		id, err := OpenIdentity(source.read, "n1", log.logger())
		if err != nil {
			t.Fatal(err)
		}
		for hour := range 30 {
			want := 1 // within three days of its end
			if hour > 20 {
				want = 2 // and at its end
			}
			id.refresh()
			if n := log.count("certificate expires"); n != want {
				t.Errorf("%d warnings instead of %d at hour %d", n, want, hour)
			}
			time.Sleep(time.Hour)
		}
	})
}

// traffic calls without a pause, by raft and by RPC, over old and new
// connections, until stopped; every call must succeed.
func traffic(t *testing.T, from, to *testPort, a *transport) (calls func(int), stop func()) {
	var wg sync.WaitGroup
	end, done := make(chan struct{}), make(chan struct{}, 1000)
	repeat := func(call func() error) {
		wg.Go(func() {
			for {
				if err := call(); err != nil {
					t.Error(err)
					return
				}
				select {
				case done <- struct{}{}:
				case <-end:
					return
				}
			}
		})
	}
	node := to.Name()
	repeat(func() error {
		return a.RequestVote(raft.ServerID(node), raft.ServerAddress(node), &raft.RequestVoteRequest{RPCHeader: header(from.Name())}, &raft.RequestVoteResponse{})
	})
	lasting, err := from.DialRPC(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	repeat(func() error { return echo(lasting) })
	repeat(func() error {
		c, err := from.DialRPC(t.Context(), node)
		if err != nil {
			return err
		}
		defer c.Close()
		return echo(c)
	})
	calls = func(n int) {
		for range n {
			<-done
		}
	}
	return calls, func() { close(end); wg.Wait(); _ = lasting.Close() }
}

func echo(c net.Conn) error {
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// echoes answers RPC connections with what they send.
func echoes(p *testPort) (stop func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := p.RPC().Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	return func() { _ = p.RPC().Close(); wg.Wait() }
}

// TestCertificatesAndAuthorityAreExchangedUnderTraffic: no call fails in any
// step, and in the end the old authority is worth nothing.
func TestCertificatesAndAuthorityAreExchangedUnderTraffic(t *testing.T) {
	n, old, fresh := loopback(t), authority(t), authority(t)
	often := func(c *Config) { c.Timing.Reload = 5 * time.Millisecond }
	n1, n2 := n.start("n1", nodePEM(t, "n1", old), often), n.start("n2", nodePEM(t, "n2", old), often)
	a, b := openGroup(t, n1, 1), openGroup(t, n2, 1)
	stopRaft := answering(b, func(raft.RPC) (any, error) { return &raft.RequestVoteResponse{}, nil })
	stopEchoes := echoes(n2)
	calls, stop := traffic(t, n1, n2, a)
	steps := 0
	exchange := func(p *testPort, pem PEM) {
		p.files.set(pem)
		for p.id.now.Load().digest != pem.digest() {
			calls(1)
		}
		steps++
		calls(50)
	}
	bundled := func(p *testPort) {
		pem := p.files.now
		pem.CA = append(fresh.Pair().Cert, pem.CA...)
		exchange(p, pem)
	}
	exchange(n1, nodePEM(t, "n1", old)) // a certificate alone
	exchange(n2, nodePEM(t, "n2", old))
	bundled(n1) // then the authority: trust both,
	bundled(n2)
	exchange(n1, nodePEM(t, "n1", fresh, old)) // be signed by the new one,
	exchange(n2, nodePEM(t, "n2", fresh, old))
	exchange(n1, nodePEM(t, "n1", fresh)) // trust the new one only.
	exchange(n2, nodePEM(t, "n2", fresh))
	stop()
	if steps != 8 {
		t.Error(steps)
	}
	late := n.start("n3", nodePEM(t, "n3", old, fresh), nil)
	if c, err := late.DialRPC(t.Context(), "n2"); err == nil {
		if err := echo(c); err == nil {
			t.Error("the old authority still lets in")
		}
		_ = c.Close()
	}
	n2.log.await(t, "level=WARN", ErrUntrusted.Error())
	stopRaft()
	late.stop(t)
	n1.stop(t)
	n2.stop(t)
	stopEchoes()
}
