package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/tests/process"
	"github.com/grantd/grantd/wire"
)

const (
	// startTimeout bounds what nodes may take for anything, on a busy machine.
	startTimeout = time.Minute
	// shutdownTimeout is that of the nodes.
	shutdownTimeout = 20 * time.Second
)

// node is grantd with its data folder, through all its lives. Before it starts,
// its fields may be set to anything that a person could get wrong.
type node struct {
	c          *cluster
	name, host string
	binary     string

	alone         bool // without a section on the cluster
	join          []string
	expect        int
	shards        int
	kek           string
	ca, cert, key string // of the cluster's TLS
	gossipKey     string
	dataDir       string
	more          string   // lines at the end of the configuration
	env           []string // more variables of its environment

	log  *logbook
	proc *process.Process // of the newest life; nil: there was none
}

func (n *node) gossip() string { return n.host + ":7946" }
func (n *node) rpc() string    { return n.host + ":7947" }
func (n *node) http() string   { return n.host + ":8420" }

// configuration has short times, so that accounts are due all the time.
const configuration = `node: {name: %s, data_dir: %q}
http: {listen: %q, shutdown_timeout: %s}
log: {level: info, format: json}
seal: {kek: %q}
auth: {admin_key_file: %q}
outgoing: {allow: [127.0.0.1]}
refresh:
  margin_min: 2s
  margin_max: 4s
  short_lifetime: 8s
  call_timeout: 2s
  commit_timeout: 2s
  backoff_min: 50ms
  backoff_max: 500ms
  uncertain_hold: 2s
`

const clusterSection = `cluster:
  gossip: %q
  rpc: %q
  join: [%s]
  bootstrap_expect: %d
  shards: %d
  gossip_key: %q
  tls: {ca: %q, cert: %q, key: %q}
`

func (n *node) configuration() string {
	text := fmt.Sprintf(configuration, n.name, n.dataDir, n.http(), shutdownTimeout, "file://"+n.kek, n.c.path("admin.key"))
	if n.alone {
		text += fmt.Sprintf("cluster: {shards: %d}\n", n.shards)
	} else {
		text += fmt.Sprintf(clusterSection, n.gossip(), n.rpc(), strings.Join(n.join, ", "), n.expect, n.shards, n.gossipKey, n.ca, n.cert, n.key)
	}
	return text + n.more
}

func (n *node) command(args ...string) *exec.Cmd {
	n.c.t.Helper()
	file := n.c.path(n.name + ".yaml")
	must(n.c.t, os.WriteFile(file, []byte(n.configuration()), 0o600))
	cmd := exec.Command(n.binary, append([]string{"serve", "--config", file}, args...)...)
	cmd.Dir = n.c.dir
	cmd.Env = append(os.Environ(), n.env...)
	return cmd
}

// start begins a life of the node. It may wait for others before it serves.
func (n *node) start() {
	n.c.t.Helper()
	n.c.http.CloseIdleConnections()
	cmd := n.command()
	cmd.Stdout = n.log
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	p, err := process.Start(ctx, cmd, func(string) (string, bool) { return "", true })
	if err != nil {
		n.c.t.Fatalf("%s: %v", n.name, err)
	}
	n.proc = p
}

// refusal is a node that is expected to end by itself.
type refusal struct {
	n    *node
	cmd  *exec.Cmd
	errs bytes.Buffer
}

// refused starts the node, which has to end with exit status 1.
func (n *node) refused() *refusal {
	n.c.t.Helper()
	r := &refusal{n: n, cmd: n.command()}
	r.cmd.Stderr = &r.errs
	must(n.c.t, r.cmd.Start())
	return r
}

// why waits for the end, and returns the one line by which the node says why.
func (r *refusal) why() string {
	t := r.n.c.t
	t.Helper()
	late := time.AfterFunc(startTimeout, func() { _ = r.cmd.Process.Kill() })
	defer late.Stop()
	err := r.cmd.Wait()
	_, _ = r.n.log.Write(r.errs.Bytes())
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%s ended with %v, want exit status 1", r.n.name, err)
	}
	var said []string
	for line := range strings.Lines(r.errs.String()) {
		if !strings.HasPrefix(line, "{") { // not of the log
			said = append(said, strings.TrimSpace(line))
		}
	}
	if len(said) != 1 {
		t.Errorf("%s: it took %d lines to say why:\n%s", r.n.name, len(said), strings.Join(said, "\n"))
	}
	return strings.Join(said, "\n")
}

// check runs serve --check and returns its exit status and what it said.
func (n *node) check() (status int, said string) {
	n.c.t.Helper()
	out, err := n.command("--check").CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.c.t.Fatal(err)
	}
	if exit != nil {
		status = exit.ExitCode()
	}
	return status, string(out)
}

// ready says why the node should get no requests.
func (n *node) ready() error {
	res, err := n.c.http.Get("http://" + n.http() + "/readyz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return fmt.Errorf("%s: readyz is %d", n.name, res.StatusCode)
	}
	return nil
}

// runs says whether the newest life goes on.
func (n *node) runs() bool {
	if n.proc == nil {
		return false
	}
	select {
	case <-n.proc.Ended():
		return false
	default:
		return true
	}
}

// stop is SIGTERM, after which the node has to end well.
func (n *node) stop() {
	n.c.t.Helper()
	if err := n.proc.Stop(syscall.SIGTERM); err != nil {
		n.c.t.Errorf("%s did not end well after SIGTERM: %v", n.name, err)
	}
}

// kill is kill -9.
func (n *node) kill() { _ = n.proc.Stop(os.Kill) }

// pause is SIGSTOP, resume SIGCONT.
func (n *node) pause()  { must(n.c.t, n.proc.Signal(syscall.SIGSTOP)) }
func (n *node) resume() { must(n.c.t, n.proc.Signal(syscall.SIGCONT)) }

// says waits until the log holds a line with all the words, after a mark.
func (n *node) says(from int, words ...string) {
	n.c.t.Helper()
	n.c.eventually(fmt.Sprintf("%s says %q", n.name, words), func() error {
		if n.log.count(from, words...) == 0 {
			return errors.New("it does not")
		}
		return nil
	})
}

// api is the node's HTTP API, as its administrator sees it.
func (n *node) api() *client.Client { return n.as(n.c.admin) }

func (n *node) as(key wire.Secret) *client.Client {
	api, err := client.New("http://"+n.http(), key, client.Options{HTTP: n.c.http})
	if err != nil {
		n.c.t.Fatal(err)
	}
	return api
}

// papers sets the certificate that the node shows.
func (n *node) papers(dir, name string) {
	n.ca, n.cert, n.key = filepath.Join(dir, "ca.pem"), filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
}
