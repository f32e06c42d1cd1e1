package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/wire"
)

const (
	maxNodes  = 9
	demoAddr  = "127.0.0.1:8421"
	stateFile = "cluster.json"
)

// cluster is what runs, and where.
type cluster struct {
	dir string
	out io.Writer
	state
}

// state is what is kept between two commands.
type state struct {
	Nodes []*member `json:"nodes"`
	Demo  int       `json:"demo_pid"`
}

// member is a node. Each has a loopback address of its own, from which it also
// speaks to the others, so that it can be cut off.
type member struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	HTTP string `json:"http"` // host:port
	Host string `json:"host"` // of gossip and RPC
}

func newMember(number int) *member {
	return &member{
		Name: fmt.Sprint("n", number), HTTP: fmt.Sprint("127.0.0.1:", 8430+number), Host: fmt.Sprint("127.0.1.", number),
	}
}

func (m *member) gossip() string { return m.Host + ":7946" }
func (m *member) rpc() string    { return m.Host + ":7947" }

func (c *cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

// load reads the state; there must be one.
func (c *cluster) load() error {
	b, err := os.ReadFile(c.path(stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("no cluster is up; start one with: scripts/cluster up 3")
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &c.state); err != nil {
		return fmt.Errorf("%s: %w", c.path(stateFile), err)
	}
	return nil
}

func (c *cluster) save() error {
	b, err := json.MarshalIndent(c.state, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.path(stateFile), append(b, '\n'), 0o600)
}

func (c *cluster) node(name string) (*member, error) {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("there is no node %s; scripts/cluster status lists them", name)
}

// up makes and starts everything.
func (c *cluster) up(ctx context.Context, size int) error {
	if _, err := os.Stat(c.path(stateFile)); err == nil {
		return errors.New("a cluster is up already; end it with: scripts/cluster down")
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	if err := c.build(ctx); err != nil {
		return err
	}
	for i := range size {
		c.Nodes = append(c.Nodes, newMember(i+1))
	}
	if err := errors.Join(c.secrets(), c.certificates(ctx, c.Nodes), c.save()); err != nil {
		return err
	}
	pid, err := c.spawn("demo", c.path("localcluster"), "demo")
	if err != nil {
		return err
	}
	c.Demo = pid
	if err := c.save(); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if err := c.launch(n, size); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if err := c.await(ctx, n); err != nil {
			return err
		}
	}
	if err := c.register(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "The cluster is up. Dashboard: http://%s/ui/  Admin API key: in %s\n\n", c.Nodes[0].HTTP, c.path("admin.key"))
	return c.status(ctx)
}

// build makes the programs that go on running when this one has ended.
func (c *cluster) build(ctx context.Context) error {
	for name, pkg := range map[string]string{"grantd": "./cmd/node", "localcluster": "./scripts/localcluster"} {
		out, err := exec.CommandContext(ctx, "go", "build", "-o", c.path(name), pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

// secrets makes what all nodes share: the admin key and the key-encryption key.
func (c *cluster) secrets() error {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	key := os.Getenv("GRANTD_KEY")
	if key == "" {
		key = "grantd_" + base64.RawURLEncoding.EncodeToString(b[:])
	}
	if _, err := envelope.OpenKEK("file://"+c.path("kek.json"), true); err != nil {
		return err
	}
	return os.WriteFile(c.path("admin.key"), []byte(key+"\n"), 0o600)
}

// launch starts a node's process.
func (c *cluster) launch(n *member, expect int) error {
	if err := os.WriteFile(c.path(n.Name+".yaml"), []byte(c.config(n, expect)), 0o600); err != nil {
		return err
	}
	pid, err := c.spawn(n.Name, c.path("grantd"), "serve", "--config", c.path(n.Name+".yaml"))
	if err != nil {
		return err
	}
	n.PID = pid
	return c.save()
}

// config is a node's configuration. The others are named whoever they are: a
// node passes over its own address.
func (c *cluster) config(n *member, expect int) string {
	var join []string
	for _, m := range c.Nodes {
		if m != n {
			join = append(join, m.gossip())
		}
	}
	return fmt.Sprintf(`node: {name: %s, data_dir: %q}
http: {listen: %q}
cluster:
  gossip: %q
  rpc: %q
  join: [%s]
  bootstrap_expect: %d
  gossip_key: %q
  tls: {ca: %q, cert: %q, key: %q}
seal: {kek: %q}
auth: {admin_key_file: %q}
outgoing: {allow: [%q]}
`, n.Name, c.path(n.Name), n.HTTP, n.gossip(), n.rpc(), strings.Join(join, ", "), expect,
		c.path("certs", "gossip.key"), c.path("certs", "ca.pem"), c.path("certs", n.Name+".pem"), c.path("certs", n.Name+"-key.pem"),
		"file://"+c.path("kek.json"), c.path("admin.key"), demoAddr)
}

// spawn starts a program that outlives this one, its output in a log.
func (c *cluster) spawn(name, program string, args ...string) (pid int, err error) {
	log, err := os.OpenFile(c.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, log, log
	// Its configuration is a file: variables that are meant for this program, or
	// for the command line, would override it.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GRANTD_") })
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid = cmd.Process.Pid
	return pid, cmd.Process.Release()
}

// client speaks to a node as its administrator.
func (c *cluster) client(n *member) (*client.Client, error) {
	key, err := os.ReadFile(c.path("admin.key"))
	if err != nil {
		return nil, err
	}
	return client.New("http://"+n.HTTP, wire.Secret(strings.TrimSpace(string(key))), client.Options{})
}

// errEnded: the process that is waited for has ended.
var errEnded = errors.New("its process has ended")

// until calls fn again and again until it succeeds, its process has ended, or
// ctx ends.
func until(ctx context.Context, what string, fn func() error) error {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		if errors.Is(err, errEnded) || ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

// add starts one node more, which joins the others.
func (c *cluster) add(ctx context.Context) error {
	if len(c.Nodes) == maxNodes {
		return fmt.Errorf("there are %d nodes already, which is all that have addresses here", maxNodes)
	}
	n := newMember(len(c.Nodes) + 1)
	c.Nodes = append(c.Nodes, n)
	expect := len(c.Nodes) // it cannot found a cluster of its own
	if err := c.certificates(ctx, []*member{n}); err != nil {
		return err
	}
	if err := c.launch(n, expect); err != nil {
		return err
	}
	return c.await(ctx, n)
}

// down ends everything and deletes it.
func (c *cluster) down(ctx context.Context) error {
	errs := []error{c.heal()}
	for _, n := range c.Nodes {
		errs = append(errs, c.end(ctx, n, syscall.SIGKILL))
	}
	if c.ours(c.Demo, "localcluster") {
		errs = append(errs, syscall.Kill(c.Demo, syscall.SIGKILL))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(c.dir)
}
