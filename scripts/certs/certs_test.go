package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/cluster/link"
)

// certs runs the program and returns what it says.
func certs(t *testing.T, want int, now time.Time, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(args, now, &out, &errs); got != want {
		t.Fatalf("%v: exit status %d instead of %d: %s", args, got, want, errs.String())
	}
	if strings.Contains(out.String()+errs.String(), "PRIVATE") {
		t.Error("a key is printed")
	}
	return out.String() + errs.String()
}

func identity(dir, name string) (*link.Identity, error) {
	at := func(f string) string { return filepath.Join(dir, f) }
	return link.OpenIdentity(link.Files(at("ca.pem"), at(name+".pem"), at(name+"-key.pem")), name, nil)
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNodesCanUseWhatIsMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	said := certs(t, 0, time.Now(), "--dir", dir, "--ca-days", "10", "node", "n1", "n2")
	certs(t, 0, time.Now(), "--dir", dir, "client", "billing")
	for _, name := range []string{"n1", "n2"} {
		id, err := identity(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(id.Expires()); left > 10*24*time.Hour {
			t.Errorf("%s lasts for %s, its authority for 10 days", name, left)
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
		names = append(names, e.Name())
	}
	want := "ca-key.pem ca.pem client-billing-key.pem client-billing.pem gossip.key n1-key.pem n1.pem n2-key.pem n2.pem"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("files %s instead of %s", got, want)
	}
	if !strings.Contains(said, filepath.Join(dir, "n2.pem")) {
		t.Errorf("it does not say what it wrote: %s", said)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(read(t, dir, "gossip.key"), "\n"))
	if err != nil || len(key) != 32 {
		t.Errorf("gossip key of %d bytes, %v", len(key), err)
	}
}

func TestAuthorityAndGossipKeyAreKept(t *testing.T) {
	dir := t.TempDir()
	certs(t, 0, time.Now(), "--dir", dir, "node", "n1")
	before := map[string]string{}
	for _, f := range []string{"ca.pem", "ca-key.pem", "gossip.key", "n1.pem"} {
		before[f] = read(t, dir, f)
	}
	certs(t, 0, time.Now(), "--dir", dir, "node", "n1", "n2")
	for f, was := range before {
		if same := read(t, dir, f) == was; same != (f != "n1.pem") {
			t.Errorf("%s is the same: %v", f, same)
		}
	}
	if _, err := identity(dir, "n1"); err != nil {
		t.Error(err)
	}
}

// TestAuthorityIsExchangedInThreeSteps: in each, old and new certificates are
// good where they must be.
func TestAuthorityIsExchangedInThreeSteps(t *testing.T) {
	dir := t.TempDir()
	certs(t, 0, time.Now(), "--dir", dir, "node", "n1", "n2")
	certs(t, 0, time.Now(), "--dir", dir, "new-ca")
	certs(t, 1, time.Now(), "--dir", dir, "new-ca") // one at a time
	certs(t, 0, time.Now(), "--dir", dir, "node", "n2")
	for _, name := range []string{"n1", "n2"} {
		if _, err := identity(dir, name); err != nil {
			t.Errorf("with both authorities: %v", err)
		}
	}
	certs(t, 0, time.Now(), "--dir", dir, "drop-old-ca")
	if _, err := identity(dir, "n1"); err == nil {
		t.Error("n1 is trusted without its authority")
	}
	if _, err := identity(dir, "n2"); err != nil {
		t.Errorf("with the new authority: %v", err)
	}
}

func TestWrongUseIsSaid(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		status int
		args   []string
		says   string
	}{
		{2, nil, "no command"},
		{2, []string{"node"}, "needs names"},
		{2, []string{"new-ca", "x"}, "takes no names"},
		{2, []string{"party"}, "unknown command"},
		{2, []string{"--days", "0", "node", "n1"}, "no days"},
		{2, []string{"--nights", "1"}, "nights"},
		{2, []string{"node", "ca"}, "cannot be called"},
		{2, []string{"node", "n1-key"}, "cannot be called"},
		{2, []string{"node", "client-x"}, "cannot be called"},
		{2, []string{"node", "a/b"}, "node name"},
		{0, []string{"--help"}, "usage"},
	} {
		if said := certs(t, c.status, time.Now(), append([]string{"--dir", dir}, c.args...)...); !strings.Contains(said, c.says) {
			t.Errorf("%v: %s", c.args, said)
		}
	}
	certs(t, 0, time.Now(), "--dir", dir, "--ca-days", "1", "node", "n1")
	if said := certs(t, 1, time.Now().Add(48*time.Hour), "--dir", dir, "node", "n1"); !strings.Contains(said, "new-ca") {
		t.Errorf("an authority that has ended: %s", said)
	}
	if err := os.Remove(filepath.Join(dir, "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	if said := certs(t, 1, time.Now(), "--dir", dir, "node", "n1"); !strings.Contains(said, "belong together") {
		t.Errorf("without its key: %s", said)
	}
}
