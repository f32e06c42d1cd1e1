package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Names of what the test makes: namespaces and file systems carry the number of
// the process that made them.
const (
	spacePrefix = "grantd-chaos-"
	linkPrefix  = "gc" // names of links are short
)

// network is a bridge on this machine, with an address for the test and one for
// each node, which has a namespace of its own.
type network struct {
	tag    string // of this process and network
	prefix string // of all addresses
	nodes  []string
}

// networks counts those of this process.
var networks atomic.Int64

// newNetwork makes the network of the nodes. It skips the test where that is not
// possible.
func newNetwork(t *testing.T, nodes []string) *network {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root: run the test as root, for instance in a container with --privileged")
	}
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: install Debian's packages iproute2 and nftables", err)
		}
	}
	removeLeftovers(t)
	w := &network{tag: fmt.Sprintf("%d-%d", os.Getpid(), networks.Add(1)), nodes: nodes}
	w.prefix = freePrefix(t)
	if err := ip("link", "add", w.bridge(), "type", "bridge"); err != nil {
		if strings.Contains(err.Error(), "not permitted") || strings.Contains(err.Error(), "not supported") {
			t.Skipf("this root may not make links: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { w.remove(t) })
	must(t, ip("addr", "add", w.host()+"/24", "dev", w.bridge()))
	must(t, ip("link", "set", w.bridge(), "up"))
	for _, n := range nodes {
		must(t, ip("netns", "add", w.space(n)))
		must(t, ip("link", "add", w.link(n), "type", "veth", "peer", "name", "eth0", "netns", w.space(n)))
		must(t, ip("link", "set", w.link(n), "master", w.bridge(), "up"))
		must(t, ip("-n", w.space(n), "addr", "add", w.addr(n)+"/24", "dev", "eth0"))
		must(t, ip("-n", w.space(n), "link", "set", "eth0", "up"))
		must(t, ip("-n", w.space(n), "link", "set", "lo", "up"))
	}
	return w
}

// The names of links have room for a process's number and little more.
func (w *network) bridge() string           { return linkPrefix + w.tag }
func (w *network) link(node string) string  { return linkPrefix + w.tag + node }
func (w *network) space(node string) string { return spacePrefix + w.tag + "-" + node }
func (w *network) host() string             { return w.prefix + "254" }
func (w *network) addr(node string) string {
	return fmt.Sprint(w.prefix, 1+slices.Index(w.nodes, node))
}
func (w *network) nodeAt(addr string) string {
	for _, n := range w.nodes {
		if w.addr(n) == addr {
			return n
		}
	}
	return ""
}

// freePrefix finds a range of addresses, of those that are set aside for tests
// (RFC 2544), that no link of this machine has.
func freePrefix(t *testing.T) string {
	t.Helper()
	taken, err := exec.Command("ip", "-o", "-4", "addr").Output()
	must(t, err)
	for i := range 256 {
		if p := fmt.Sprintf("198.18.%d.", (os.Getpid()+i)%256); !bytes.Contains(taken, []byte(" "+p)) {
			return p
		}
	}
	t.Fatal("no range of 198.18.0.0/16 is free")
	return ""
}

// ip runs iproute2.
func ip(args ...string) error { return command("", "ip", args...) }

func command(input, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// direction is what of a node's traffic with the other nodes is lost.
type direction int

const (
	both direction = iota
	inbound
	outbound
)

// cut drops packets between a node and the other nodes, silently. Callers and
// the provider are still reached: this is when a node could do harm.
func (w *network) cut(node string, d direction) error {
	var others []string
	for _, n := range w.nodes {
		if n != node {
			others = append(others, n)
		}
	}
	var errs []error
	if d != outbound {
		for _, n := range others {
			errs = append(errs, w.drop(node, n))
		}
	}
	if d != inbound {
		for _, n := range others { // at the other end: a packet that is dropped where it is sent is no silent loss
			errs = append(errs, w.drop(n, node))
		}
	}
	return errors.Join(errs...)
}

// drop has one node lose what comes from another.
func (w *network) drop(at, from string) error {
	return w.nft(at, fmt.Sprintf(`add table ip chaos
add chain ip chaos lost { type filter hook input priority 0; }
add rule ip chaos lost ip saddr %s drop
`, w.addr(from)))
}

// unplug pulls a node's cable: it reaches nobody, and nobody reaches it.
func (w *network) unplug(node string) error { return ip("link", "set", w.link(node), "down") }

// heal ends all cuts.
func (w *network) heal() error {
	var errs []error
	for _, n := range w.nodes {
		errs = append(errs, w.nft(n, "flush ruleset\n"), ip("link", "set", w.link(n), "up"))
	}
	return errors.Join(errs...)
}

func (w *network) nft(node, commands string) error {
	return command(commands, "ip", "netns", "exec", w.space(node), "nft", "-f", "-")
}

// remove takes it all down; the nodes must have ended.
func (w *network) remove(t *testing.T) {
	for _, n := range w.nodes {
		if err := ip("netns", "del", w.space(n)); err != nil && !errors.Is(exists(w.space(n)), fs.ErrNotExist) {
			t.Error(err)
		}
		_ = ip("link", "del", w.link(n)) // it goes with the namespace, sooner or later
	}
	if err := ip("link", "del", w.bridge()); err != nil {
		t.Error(err)
	}
}

const spacesDir = "/run/netns"

func exists(space string) error {
	_, err := os.Stat(filepath.Join(spacesDir, space))
	return err
}

// removeLeftovers removes what runs of this test left that were killed.
func removeLeftovers(t *testing.T) {
	t.Helper()
	spaces, err := filepath.Glob(filepath.Join(spacesDir, spacePrefix+"*"))
	must(t, err)
	for _, path := range spaces {
		if tag, gone := leftover(filepath.Base(path)); gone {
			endAll(t, filepath.Base(path))
			_ = ip("netns", "del", filepath.Base(path))
			_ = ip("link", "del", linkPrefix+tag)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 {
			if _, gone := leftover(f[0]); gone {
				_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
			}
		}
	}
}

// leftover reports whether a name is of ours, made by a process that is no more.
func leftover(name string) (tag string, gone bool) {
	rest, ours := strings.CutPrefix(name, spacePrefix)
	pid, rest, _ := strings.Cut(rest, "-")
	number, _, _ := strings.Cut(rest, "-")
	if _, err := strconv.Atoi(pid); !ours || err != nil {
		return "", false
	}
	_, err := os.Stat("/proc/" + pid)
	return pid + "-" + number, errors.Is(err, fs.ErrNotExist)
}

// endAll kills what still runs in a namespace that was left, and waits.
func endAll(t *testing.T, space string) {
	t.Helper()
	eventually(t, 10*time.Second, "end what runs in "+space, func() error {
		pids, err := exec.Command("ip", "netns", "pids", space).Output()
		if err != nil || len(bytes.Fields(pids)) == 0 {
			return err
		}
		for _, p := range bytes.Fields(pids) {
			if pid, err := strconv.Atoi(string(p)); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		return fmt.Errorf("processes %s run", bytes.TrimSpace(pids))
	})
}
