package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grantd/grantd/internal/config"
	"github.com/grantd/grantd/wire"
)

// fakeNode is a node whose API is the fake server.
type fakeNode struct {
	addr   string
	failed chan error
	closed bool
}

func (n *fakeNode) Addr() string                { return n.addr }
func (n *fakeNode) Failed() <-chan error        { return n.failed }
func (n *fakeNode) Close(context.Context) error { n.closed = true; return nil }

// devRun runs dev against the fake server until it has printed its welcome,
// calls then, and ends it.
func devRun(t *testing.T, f *fakeServer, o devFlags, set []string, then func(welcome string, c config.Config)) (*fakeNode, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	welcome, printed := io.Pipe()
	in := &input{Env: Env{Program: "grantd", Stdout: printed, Stderr: &bytes.Buffer{}}, set: map[string]bool{}}
	for _, name := range set {
		in.set[name] = true
	}
	node := &fakeNode{addr: strings.TrimPrefix(f.URL, "http://")}
	configs := make(chan config.Config, 1)
	ended := make(chan error, 1)
	go func() {
		err := dev(ctx, in, o, func(_ context.Context, c config.Config, _ *slog.Logger) (runningNode, error) {
			configs <- c
			return node, nil
		})
		ended <- err
		_ = printed.CloseWithError(io.EOF)
	}()
	text := make([]byte, 4096)
	n, err := welcome.Read(text)
	if err != nil {
		return node, <-ended
	}
	then(string(text[:n]), <-configs)
	cancel()
	return node, <-ended
}

func TestDevPrintsWhereEverythingIsAndTwoCommands(t *testing.T) {
	f := newFakeServer(t)
	data := filepath.Join(t.TempDir(), "data dir")
	o := devFlags{data: data, demoListen: "127.0.0.1:0", adminKey: testKey}
	node, err := devRun(t, f, o, []string{"data"}, func(welcome string, c config.Config) {
		addr := strings.TrimPrefix(f.URL, "http://")
		demoAddr := c.Outgoing.Allow[0]
		key := "GRANTD_KEY=$(cat '" + data + "/admin.key') "
		want := "grantd is running.\n\n" +
			"  Dashboard      http://" + addr + "/ui/\n" +
			"  Admin API key  in " + data + "/admin.key\n" +
			"  Demo provider  http://" + demoAddr + " (integration demo, account demo/ada)\n\n" +
			"Try next, in a second terminal:\n\n" +
			"  " + key + "grantd herd --provider http://" + demoAddr + " --addr " + addr + "\n" +
			"  " + key + "grantd token demo/ada --addr " + addr + "\n\n" +
			"Ctrl-C ends it.\n"
		if welcome != want {
			t.Errorf("got\n%s\nwant\n%s", welcome, want)
		}
		if len(c.Outgoing.Allow) != 1 || !strings.HasPrefix(demoAddr, "127.0.0.1:") || c.Log.Level != "warn" {
			t.Errorf("configuration %+v", c)
		}
		resp, err := http.Get("http://" + demoAddr + "/.well-known/openid-configuration")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("the demo provider answers %s", resp.Status)
		}
	})
	if err != nil || !node.closed {
		t.Errorf("err %v, closed %v", err, node.closed)
	}
	if key, err := readAdminKey(filepath.Join(data, "admin.key")); err != nil || key != testKey {
		t.Errorf("the admin key was not kept: %v", err)
	}
}

func TestDevRegistersTheDemoProviderAndAnAccount(t *testing.T) {
	f := newFakeServer(t)
	o := devFlags{data: t.TempDir(), demoListen: "127.0.0.1:0", adminKey: testKey}
	if _, err := devRun(t, f, o, []string{"data"}, func(string, config.Config) {}); err != nil {
		t.Fatal(err)
	}
	seen := f.seen()
	if len(seen) != 2 || seen[0].target != "/v1/integrations/demo" || seen[1].target != "/v1/accounts" {
		t.Fatalf("requests %+v", seen)
	}
	var n wire.NewIntegration
	if err := json.Unmarshal([]byte(seen[0].body), &n); err != nil {
		t.Fatal(err)
	}
	if n.Provider != wire.ProviderCustom || n.ClientID != demoClient || n.ClientSecret == "" || n.Settings["token_url"] == nil {
		t.Errorf("integration %+v", n)
	}
	var a wire.NewAccount
	if err := json.Unmarshal([]byte(seen[1].body), &a); err != nil {
		t.Fatal(err)
	}
	if a.Tenant != demoTenant || a.ID != demoUser || a.Credentials.RefreshToken == "" || *a.Credentials.ExpiresIn <= 0 {
		t.Errorf("account %+v", a)
	}
}

func TestDevWithoutTheDemo(t *testing.T) {
	f := newFakeServer(t)
	o := devFlags{data: t.TempDir(), noDemo: true}
	_, err := devRun(t, f, o, []string{"data"}, func(welcome string, c config.Config) {
		if strings.Contains(welcome, "emo provider") || len(c.Outgoing.Allow) != 0 {
			t.Errorf("welcome %q, allowed %q", welcome, c.Outgoing.Allow)
		}
		if strings.Count(welcome, " --addr ") != 2 {
			t.Errorf("not two commands: %q", welcome)
		}
	})
	if err != nil || len(f.seen()) != 0 {
		t.Errorf("err %v, requests %+v", err, f.seen())
	}
}

func TestDevSaysWhichAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f := newFakeServer(t)
	addr := taken.Addr().String()
	_, err = devRun(t, f, devFlags{data: t.TempDir(), demoListen: addr}, []string{"data"}, func(string, config.Config) {})
	if err == nil || !strings.HasPrefix(err.Error(), addr+" is in use") || !strings.Contains(err.Error(), "--demo-listen") {
		t.Errorf("got %v", err)
	}
}

func TestADevThatCannotStartLeavesTheKeyOfTheOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.key")
	if _, _, err := ensureAdminKey(path, testKey); err != nil {
		t.Fatal(err)
	}
	in := &input{Env: Env{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}, set: map[string]bool{"data": true}}
	taken := errors.New("data directory is in use")
	o := devFlags{data: filepath.Dir(path), noDemo: true, adminKey: "another-key-for-tests"}
	err := dev(t.Context(), in, o, func(context.Context, config.Config, *slog.Logger) (runningNode, error) { return nil, taken })
	if !errors.Is(err, taken) {
		t.Errorf("got %v", err)
	}
	if key, err := readAdminKey(path); err != nil || key != testKey {
		t.Errorf("the key was changed: %v", err)
	}
}

func TestTheDemoProviderIsNotServedToOthers(t *testing.T) {
	f := newFakeServer(t)
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "grants.example.com:1", "nowhere"} {
		_, err := devRun(t, f, devFlags{data: t.TempDir(), demoListen: addr}, []string{"data"}, func(string, config.Config) {})
		if err == nil || !strings.Contains(err.Error(), "write 127.0.0.1:PORT") {
			t.Errorf("%s: got %v", addr, err)
		}
	}
}

func TestDevFlagsOverrideTheEnvironment(t *testing.T) {
	in := &input{Env: Env{Environ: []string{"GRANTD_HTTP_LISTEN=127.0.0.1:1", "GRANTD_NODE_DATA_DIR=/env", "GRANTD_LOG_LEVEL=info"}}, set: map[string]bool{"listen": true}}
	c, _, err := devConfig(in, devFlags{listen: "127.0.0.1:2", data: "/flag", logLevel: "debug"})
	if err != nil || c.HTTP.Listen != "127.0.0.1:2" || c.Node.DataDir != "/env" || c.Log.Level != "info" || c.Auth.AdminKeyFile != "/env/admin.key" {
		t.Errorf("got %+v, %v", c, err)
	}
	in.set["log-level"] = true
	if _, _, err := devConfig(in, devFlags{listen: "nowhere", logLevel: "loud"}); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("got %v", err)
	}
}

func TestReachableAndShellQuote(t *testing.T) {
	for addr, want := range map[string]string{"[::]:8420": "127.0.0.1:8420", "0.0.0.0:1": "127.0.0.1:1", "127.0.0.1:2": "127.0.0.1:2", "[::1]:3": "[::1]:3", "host:4": "host:4"} {
		if got := reachable(addr); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	for s, want := range map[string]string{"./a/b.key": "./a/b.key", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$x": "'$x'"} {
		if got := shellQuote(s); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

func TestDevKeyIsNotPrintedAnywhere(t *testing.T) {
	f := newFakeServer(t)
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "admin.key"), []byte(testKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := devRun(t, f, devFlags{data: data, demoListen: "127.0.0.1:0"}, []string{"data"}, func(welcome string, _ config.Config) {
		if strings.Contains(welcome, testKey) {
			t.Error("the welcome shows the admin key")
		}
	})
	if err != nil {
		t.Error(err)
	}
}
