package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/tests/process"
	"github.com/grantd/grantd/wire"
)

// startTimeout bounds the start of a node on a busy machine.
const startTimeout = 90 * time.Second

// node is one grantd, through all its lives.
type node struct {
	name, space, addr string
	binary            string
	env               []string
	dir               string // of this node: its configuration, data, log, and what a fault tells it
	http              *http.Client

	mu   sync.Mutex
	log  *os.File
	proc *process.Process // of the newest life; nil: none yet
	life int
}

// start begins a life; it returns when the node serves. Where ctx ends before,
// it is killed.
func (n *node) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("node %s did not start within %v", n.name, startTimeout))
	defer cancel()
	// ip becomes the node: the process is the same.
	cmd := exec.Command("ip", "netns", "exec", n.space, n.binary, "serve", "--config", filepath.Join(n.dir, "grantd.yaml"))
	cmd.Dir, cmd.Stdout = n.dir, n.log
	cmd.Env = append(append(os.Environ(), "GRANTD_TEST_CONTROL="+n.control("")), n.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p, err := process.Start(ctx, cmd, servingAddr)
	if err != nil {
		return errors.Join(fmt.Errorf("node %s: %w", n.name, err), context.Cause(ctx))
	}
	n.http.CloseIdleConnections()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proc, n.life = p, n.life+1
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

// control is the name of a file by which a running node is told of a fault.
func (n *node) control(file string) string { return filepath.Join(n.dir, "control", file) }

// tell writes such a file, whole or not at all.
func (n *node) tell(file, what string) error {
	if err := os.WriteFile(n.control(".new"), []byte(what), 0o600); err != nil {
		return err
	}
	return os.Rename(n.control(".new"), n.control(file))
}

// untell ends the faults that the node was told of.
func (n *node) untell() error {
	return errors.Join(removed(n.control("kill")), removed(n.control("disk")))
}

func removed(file string) error {
	if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// process returns the newest life, and its number.
func (n *node) process() (*process.Process, int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc, n.life
}

// runs reports whether the node's process lives.
func (n *node) runs() bool {
	p, _ := n.process()
	if p == nil {
		return false
	}
	select {
	case <-p.Ended():
		return false
	default:
		return true
	}
}

// signal sends a signal to the node.
func (n *node) signal(s syscall.Signal) error {
	p, _ := n.process()
	return p.Signal(s)
}

// kill kills the node and waits until it is gone.
func (n *node) kill() error {
	p, _ := n.process()
	if err := p.Stop(os.Kill); !wasKilled(err) {
		return fmt.Errorf("node %s was to be killed, and ended: %w", n.name, err)
	}
	return nil
}

// dies waits until the process ends by itself, and returns how.
func (n *node) dies(ctx context.Context) error {
	p, _ := n.process()
	select {
	case <-p.Ended():
		return p.Stop()
	case <-ctx.Done():
		return fmt.Errorf("node %s goes on: %w", n.name, context.Cause(ctx))
	}
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

// exitStatus returns the status of a process that ended by itself; -1: it did not.
func exitStatus(err error) int {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return -1
	}
	return exit.ExitCode()
}

// url is where the node's API is.
func (n *node) url() string { return "http://" + n.addr + ":8420" }

// as returns a client of the node's API that presents key.
func (n *node) as(key wire.Secret) (*client.Client, error) {
	return client.New(n.url(), key, client.Options{HTTP: n.http})
}

// ready asks the node whether it should get requests.
func (n *node) ready(ctx context.Context) error {
	res, err := n.get(ctx, "/readyz", "")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz of %s: HTTP %d", n.name, res.StatusCode)
	}
	return nil
}

func (n *node) get(ctx context.Context, path string, key wire.Secret) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url()+path, nil)
	if err != nil {
		return nil, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key.Reveal())
	}
	return n.http.Do(req)
}

// metrics reads the node's counters of refreshing, by name and labels as they
// are printed.
func (n *node) metrics(ctx context.Context, admin wire.Secret) (map[string]float64, error) {
	res, err := n.get(ctx, "/metrics", admin)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics of %s: HTTP %d", n.name, res.StatusCode)
	}
	found := map[string]float64{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil && strings.HasPrefix(name, "grantd_") {
			found[name] = v
		}
	}
	return found, lines.Err()
}
