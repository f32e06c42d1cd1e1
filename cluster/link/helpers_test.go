package link

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/cluster/link/issue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal collects a log, so that tests can wait for its lines.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // replaced, and closed, at every line
}

func newJournal() *journal { return &journal{more: make(chan struct{})} }

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.more)
	j.more = make(chan struct{})
	return j.text.Write(b)
}

func (j *journal) read() (string, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String(), j.more
}

// await waits for a line that holds all of words, and returns it.
func (j *journal) await(t *testing.T, words ...string) string {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		text, more := j.read()
		for line := range strings.Lines(text) {
			if containsAll(line, words) {
				return line
			}
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("no line with %q in\n%s", words, text)
		}
	}
}

func (j *journal) count(words ...string) int {
	text, _ := j.read()
	n := 0
	for line := range strings.Lines(text) {
		if containsAll(line, words) {
			n++
		}
	}
	return n
}

func containsAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

func authority(t testing.TB) *issue.Authority {
	t.Helper()
	ca, err := issue.New(time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 30))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// files is a source of an identity that a test exchanges.
type files struct {
	mu  sync.Mutex
	now PEM
	err error
}

func (f *files) read() (PEM, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, f.err
}

func (f *files) set(p PEM) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = p
}

// nodePEM is a node's identity, signed by the first authority, trusting all.
func nodePEM(t testing.TB, name string, by *issue.Authority, trusted ...*issue.Authority) PEM {
	t.Helper()
	pair, err := by.Node(name, time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 20))
	if err != nil {
		t.Fatal(err)
	}
	return withRoots(pair, append(trusted, by)...)
}

func clientPEM(t testing.TB, name string, by *issue.Authority) PEM {
	t.Helper()
	pair, err := by.Client(name, time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 20))
	if err != nil {
		t.Fatal(err)
	}
	return withRoots(pair, by)
}

func withRoots(pair issue.Pair, trusted ...*issue.Authority) PEM {
	p := PEM{Cert: pair.Cert, Key: pair.Key}
	for _, a := range trusted {
		p.CA = append(p.CA, a.Pair().Cert...)
	}
	return p
}

// identityOf makes an identity of any role, for strangers and clients.
func identityOf(t testing.TB, p PEM) *Identity {
	t.Helper()
	id := &Identity{log: slog.New(slog.DiscardHandler)}
	papers, err := parsePapers(p)
	if err != nil {
		t.Fatal(err)
	}
	id.now.Store(papers)
	return id
}

// network is where the ports of a test find each other.
type network struct {
	t      testing.TB
	listen func() net.Listener
	dial   func(ctx context.Context, addr string) (net.Conn, error)
	mu     sync.Mutex
	addrs  map[string]string
}

// loopback is a network of real TCP.
func loopback(t testing.TB) *network {
	return &network{t: t, addrs: map[string]string{},
		listen: func() net.Listener {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			return ln
		},
		dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
	}
}

func (n *network) resolve(node string) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, ok := n.addrs[node]
	return addr, ok
}

func (n *network) place(node, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[node] = addr
}

// testPort is a port and what belongs to it.
type testPort struct {
	*Port
	log   *journal
	files *files
	addr  string
}

// start opens the port of a node; change may alter its configuration.
func (n *network) start(name string, pem PEM, change func(*Config)) *testPort {
	n.t.Helper()
	p := &testPort{log: newJournal(), files: &files{now: pem}}
	id, err := OpenIdentity(p.files.read, name, p.log.logger())
	if err != nil {
		n.t.Fatal(err)
	}
	ln := n.listen()
	p.addr = ln.Addr().String()
	cfg := Config{Identity: id, Listener: ln, Dial: n.dial, Resolve: n.resolve, Logger: p.log.logger()}
	if change != nil {
		change(&cfg)
	}
	if p.Port, err = Open(cfg); err != nil {
		n.t.Fatal(err)
	}
	n.place(name, p.addr)
	return p
}

func (p *testPort) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
	if n := p.accepted.Load(); n != 0 {
		t.Errorf("%d accepted connections are left", n)
	}
}
