package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/tests/process"
	"github.com/grantd/grantd/wire"
)

// binary is grantd, built once for all tests that want it.
var binary struct {
	once sync.Once
	dir  string
	err  error
}

// grantdBinary builds grantd where that was not done yet, and returns its path.
// [TestMain] removes it.
func grantdBinary(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.err = process.DependsOn(".."); binary.err != nil {
			return
		}
		if binary.dir, binary.err = os.MkdirTemp("", "grantd-tests-"); binary.err != nil {
			return
		}
		args := slices.Concat([]string{"build"}, buildFlags, []string{"-o", binary.dir, modulePath + "/cmd/node"})
		out, err := exec.Command("go", args...).CombinedOutput()
		if err == nil {
			err = os.Rename(filepath.Join(binary.dir, "node"), filepath.Join(binary.dir, "grantd"))
		}
		if err != nil {
			binary.err = fmt.Errorf("build grantd: %w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return filepath.Join(binary.dir, "grantd")
}

// grantd is a running node, spoken to by plain HTTP.
type grantd struct {
	t    *testing.T
	dir  string   // its working directory
	env  []string // overrides of its configuration
	proc *process.Process
	base string
	key  string
	http *http.Client
}

// startTimeout bounds the start of a node, on a busy machine.
const startTimeout = time.Minute

// startGrantd runs a production node with a data folder of its own until t
// ends. env overrides its configuration.
func startGrantd(t *testing.T, env ...string) *grantd {
	t.Helper()
	g := &grantd{t: t, dir: t.TempDir(), env: env, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 256},
		Timeout:   time.Minute,
	}}
	const config = `
node: {name: n1, data_dir: ./data}
http: {listen: "127.0.0.1:0"}
log: {level: info, format: json}
outgoing: {allow: [127.0.0.1]}
`
	if err := os.WriteFile(filepath.Join(g.dir, "grantd.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start()
	key, err := os.ReadFile(filepath.Join(g.dataDir(), "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	g.key = strings.TrimSpace(string(key))
	t.Cleanup(func() {
		g.http.CloseIdleConnections()
		if err := g.proc.Stop(syscall.SIGTERM); err != nil {
			t.Errorf("grantd did not end well after SIGTERM: %v", err)
		}
		if t.Failed() {
			t.Logf("the last output of grantd:\n%s", g.proc.Output())
		}
	})
	return g
}

// dataDir is the node's data folder.
func (g *grantd) dataDir() string {
	for _, v := range g.env {
		if dir, ok := strings.CutPrefix(v, "GRANTD_NODE_DATA_DIR="); ok {
			return dir
		}
	}
	return filepath.Join(g.dir, "data")
}

func (g *grantd) start() {
	g.t.Helper()
	cmd := exec.Command(grantdBinary(g.t), "serve", "--config", "grantd.yaml")
	cmd.Dir, cmd.Env = g.dir, append(os.Environ(), g.env...)
	ctx, cancel := context.WithTimeout(g.t.Context(), startTimeout)
	defer cancel()
	p, err := process.Start(ctx, cmd, servingAddr)
	if err != nil {
		g.t.Fatalf("start grantd: %v", err)
	}
	g.proc, g.base = p, "http://"+p.Ready
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

// killAndRestart ends the node as a power cut does, and starts it again.
func (g *grantd) killAndRestart() {
	g.t.Helper()
	_ = g.proc.Stop(os.Kill) // that it did not end well is the point
	g.http.CloseIdleConnections()
	g.start()
}

// call makes a request and reads the answer into out, where that is not nil. An
// answer that is a problem becomes a [refusal].
func (g *grantd) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, g.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+g.key)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		r := refusal{call: method + " " + path, status: resp.StatusCode}
		if err := json.Unmarshal(answer, &r.problem); err != nil {
			return fmt.Errorf("%s: HTTP %d without a problem document: %w", r.call, r.status, err)
		}
		return r
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// must makes a request that has to succeed.
func (g *grantd) must(method, path string, in, out any) {
	g.t.Helper()
	if err := g.call(g.t.Context(), method, path, in, out); err != nil {
		g.t.Fatal(err)
	}
}

// refusal is a problem document that came as the answer.
type refusal struct {
	call    string
	status  int
	problem wire.Problem
}

// Error says what was refused and why.
func (r refusal) Error() string {
	return fmt.Sprintf("%s: HTTP %d %s: %s", r.call, r.status, r.problem.Code, r.problem.Detail)
}
