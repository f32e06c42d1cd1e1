package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/grantd/grantd/internal/config"
	"github.com/grantd/grantd/wire"
)

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServeCheckTellsAllProblemsAndStartsNothing(t *testing.T) {
	dir := t.TempDir()
	good := writeFile(t, filepath.Join(dir, "good.yaml"), "node: {data_dir: "+dir+"/data}\nhttp: {listen: ':8420'}\n")
	got := runWith(nil, "", "serve", "--check", "--config", good)
	if got.code != exitDone || got.stdout != "The configuration is right.\n" || !strings.HasPrefix(got.stderr, "grantd: warning: http.listen: ") {
		t.Errorf("exit %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !os.IsNotExist(err) {
		t.Errorf("the check made the data folder: %v", err)
	}

	bad := writeFile(t, filepath.Join(dir, "bad.yaml"), "http:\n  listn: x\nlog: {level: loud}\n")
	got = runWith([]string{"GRANTD_CLUSTER_SHARDS=x"}, "", "serve", "--check", "--config", bad)
	if got.code != exitFailed || got.stdout != "" {
		t.Errorf("exit %d, stdout %q", got.code, got.stdout)
	}
	for _, want := range []string{bad + `:2: http: unknown key "listn"; did you mean "listen"?`, bad + ":3: log.level: ", "GRANTD_CLUSTER_SHARDS: cluster.shards: "} {
		if !strings.Contains(got.stderr, "grantd: "+want) {
			t.Errorf("no %q in\n%s", want, got.stderr)
		}
	}

	many := writeFile(t, filepath.Join(dir, "many.yaml"), "cluster: {join: [127.0.0.2:7946], bootstrap_expect: 3}\n")
	if got = runWith(nil, "", "serve", "--config", many); got.code != exitFailed || !strings.Contains(got.stderr, "cluster.tls: is not set") {
		t.Errorf("exit %d, stderr %q", got.code, got.stderr)
	}
}

func TestServeReferenceListsTheKeys(t *testing.T) {
	if got := runWith(nil, "", "serve", "--reference"); got.code != exitDone || got.stdout != config.Reference() {
		t.Errorf("exit %d, stdout %q", got.code, got.stdout)
	}
}

func TestServeHandsTheConfigurationToTheNode(t *testing.T) {
	dir := t.TempDir()
	var stderr bytes.Buffer
	in := &input{Env: Env{Stderr: &stderr, Environ: []string{"GRANTD_NODE_DATA_DIR=" + dir, "GRANTD_LOG_FORMAT=json", "GRANTD_HTPP_LISTEN=x"}}}
	var got config.Config
	ctx, cancel := context.WithCancel(t.Context())
	n := &fakeNode{addr: "127.0.0.1:1"}
	err := serve(ctx, in, serveFlags{}, func(_ context.Context, c config.Config, _ *slog.Logger) (runningNode, error) {
		got = c
		cancel()
		return n, nil
	})
	if err != nil || got.Node.DataDir != dir || !n.closed {
		t.Fatalf("got %+v, %v, closed %v", got, err, n.closed)
	}
	if key, err := readAdminKey(got.Auth.AdminKeyFile); err != nil || key == "" {
		t.Errorf("admin key %v", err)
	}
	log := stderr.String()
	for _, want := range []string{`"msg":"serving","addr":"127.0.0.1:1"`, `"msg":"stopping"`, "GRANTD_HTPP_LISTEN is not used", `"msg":"an admin API key was made"`} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log:\n%s", want, log)
		}
	}
	if n := strings.Count(log, "\n"); n != 4 {
		t.Errorf("%d lines in the log:\n%s", n, log)
	}
}

func TestANodeThatFailsIsClosedAndEndsServeWithItsError(t *testing.T) {
	in := &input{Env: Env{Stderr: &bytes.Buffer{}, Environ: []string{"GRANTD_NODE_DATA_DIR=" + t.TempDir()}}}
	broken := errors.New("broken")
	n := &fakeNode{failed: make(chan error, 1)}
	n.failed <- broken
	err := serve(t.Context(), in, serveFlags{}, func(context.Context, config.Config, *slog.Logger) (runningNode, error) { return n, nil })
	if !errors.Is(err, broken) || !n.closed {
		t.Errorf("got %v, closed %v", err, n.closed)
	}
}

func TestAServerStoppedWhileItStartsHasNotFailed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	wrapped := fmt.Errorf("wait: %w", context.Canceled)
	if unlessStopped(ctx, wrapped) == nil {
		t.Error("an error of its own was dropped")
	}
	cancel()
	if err := unlessStopped(ctx, wrapped); err != nil {
		t.Error(err)
	}
	if unlessStopped(ctx, errors.New("other")) == nil {
		t.Error("another error was dropped")
	}
}

func TestAnAddressInUseSaysWhatToDo(t *testing.T) {
	in := &input{Env: Env{Stderr: &bytes.Buffer{}, Environ: []string{"GRANTD_NODE_DATA_DIR=" + t.TempDir()}}}
	taken := fmt.Errorf("listen: %w", os.NewSyscallError("bind", syscall.EADDRINUSE))
	err := serve(context.Background(), in, serveFlags{}, func(context.Context, config.Config, *slog.Logger) (runningNode, error) { return nil, taken })
	if err == nil || err.Error() != "127.0.0.1:8420 is in use by another program (is a grantd running already?); end that one, or choose another address with http.listen in the configuration or GRANTD_HTTP_LISTEN" {
		t.Errorf("got %v", err)
	}
	other := errors.New("other")
	if got := listenHint(other, "", ""); !errors.Is(got, other) {
		t.Errorf("got %v", got)
	}
}

func TestAdminKeyFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "admin.key")
	first, _, err := ensureAdminKey(path, "")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if again, _, err := ensureAdminKey(path, ""); err != nil || again != first {
		t.Errorf("the key changed: %v", err)
	}
	set, undo, err := ensureAdminKey(path, testKey)
	if err != nil || set != testKey {
		t.Errorf("set: %v", err)
	}
	if kept, err := readAdminKey(path); err != nil || kept != testKey {
		t.Errorf("kept: %v", err)
	}
	if err := undo(); err != nil {
		t.Error(err)
	}
	if back, err := readAdminKey(path); err != nil || back != first {
		t.Errorf("not put back: %v", err)
	}
	for name, set := range map[string]string{"short": "short", "space": "sixteen bytes or more", "line": "sixteen-bytes-or\nmore"} {
		if _, _, err := ensureAdminKey(path, wire.Secret(set)); err == nil || strings.Contains(err.Error(), set) {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := writeFile(t, filepath.Join(dir, "empty"), "")
	if _, _, err := ensureAdminKey(empty, ""); err == nil || !strings.Contains(err.Error(), "the key has 0 bytes") {
		t.Errorf("empty: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
