package kill

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/tests/process"
	"github.com/grantd/grantd/wire"
)

const (
	// startTimeout bounds the start of a node on a busy machine, answerTimeout
	// its answer to a request.
	startTimeout  = time.Minute
	answerTimeout = 30 * time.Second

	shards = 4
)

// configuration has short times, so that claims of a killed process end soon
// and accounts are due all the time.
const configuration = `
node: {name: n1, data_dir: ./data}
http: {listen: "127.0.0.1:0"}
auth: {admin_key_file: ./admin.key}
cluster: {shards: 4}
log: {level: debug, format: json}
outgoing: {allow: [127.0.0.1]}
refresh:
  margin_min: 500ms
  margin_max: 1s
  short_lifetime: 2s
  call_timeout: 400ms
  commit_timeout: 400ms
  backoff_min: 10ms
  backoff_max: 100ms
  uncertain_hold: 1s
  passivate_after: 1s
`

// node is grantd with its data folder, through all its lives.
type node struct {
	dir     string
	binary  string
	log     *os.File // all that it ever printed
	http    *http.Client
	admin   wire.Secret
	callers wire.Secret // API key of the callers; empty: not made yet

	proc *process.Process // of the newest life
	base string
}

// newNode builds grantd, with the points at which it kills itself.
func newNode(t *testing.T) *node {
	t.Helper()
	must(t, process.DependsOn("../.."))
	dir := t.TempDir()
	n := &node{dir: dir, binary: filepath.Join(dir, "grantd"), http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: answerTimeout,
	}}
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-tags", "failpoints", "-o", n.binary, "../../cmd/node")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build grantd: %v\n%s", err, out)
	}
	must(t, os.WriteFile(filepath.Join(dir, "grantd.yaml"), []byte(configuration), 0o600))
	var err error
	n.log, err = os.Create(filepath.Join(dir, "log"))
	must(t, err)
	t.Cleanup(func() {
		if n.proc != nil {
			_ = n.proc.Stop(os.Kill)
			if t.Failed() {
				t.Logf("the last output of grantd:\n%s", n.proc.Output())
			}
		}
		n.http.CloseIdleConnections()
		must(t, n.log.Close())
	})
	return n
}

// start begins a life. Where ctx ends before the node is ready, it is killed.
func (n *node) start(ctx context.Context, env ...string) error {
	n.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("the node did not start within its time"))
	defer cancel()
	cmd := exec.Command(n.binary, "serve", "--config", "grantd.yaml")
	cmd.Dir, cmd.Env, cmd.Stdout = n.dir, slices.Concat(os.Environ(), env), n.log
	p, err := process.Start(ctx, cmd, servingAddr)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	n.proc, n.base = p, "http://"+p.Ready
	return nil
}

// servingAddr finds the line of the log by which a node says that it serves.
func servingAddr(line string) (string, bool) {
	var entry struct {
		Message string `json:"msg"`
		Addr    string `json:"addr"`
	}
	if json.Unmarshal([]byte(line), &entry) != nil || entry.Message != "serving" {
		return "", false
	}
	return entry.Addr, true
}

// wasKilled tells an end by SIGKILL from others.
func wasKilled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// as returns a client of the API that presents key.
func (n *node) as(t *testing.T, key wire.Secret) *client.Client {
	t.Helper()
	c, err := client.New(n.base, key, client.Options{HTTP: n.http})
	must(t, err)
	return c
}

func (n *node) readAdminKey(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "admin.key"))
	must(t, err)
	n.admin = wire.Secret(strings.TrimSpace(string(b)))
}

// dataDir is the folder that holds everything that the node stores.
func (n *node) dataDir() string { return filepath.Join(n.dir, "data") }

// metrics scrapes the node.
func (n *node) metrics(t *testing.T) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.base+"/metrics", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+n.admin.Reveal())
	res, err := n.http.Do(req)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("GET /metrics: HTTP %d", res.StatusCode)
	}
	return b
}
