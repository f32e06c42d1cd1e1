package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/herd"
)

// devServer is grantd dev, run in this process.
type devServer struct {
	t       *testing.T
	cancel  context.CancelFunc
	ended   chan int
	stderr  bytes.Buffer // read only after ended
	welcome string
	key     string
}

// startDev runs the command and returns when it has printed its welcome.
func startDev(t *testing.T, data string) *devServer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := &devServer{t: t, cancel: cancel, ended: make(chan int, 1)}
	r, w := io.Pipe()
	go func() {
		code := run(ctx, []string{"dev", "--data", data, "--listen", "127.0.0.1:0", "--demo-listen", "127.0.0.1:0"},
			Env{Program: "grantd", Stdin: strings.NewReader(""), Stdout: w, Stderr: &d.stderr})
		_ = w.Close()
		d.ended <- code
	}()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		d.welcome += lines.Text() + "\n"
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			break
		}
	}
	key, err := os.ReadFile(filepath.Join(data, adminKeyName))
	if err != nil || d.welcome == "" {
		cancel()
		t.Fatalf("exit %d, key %v, stderr %s", <-d.ended, err, d.stderr.String())
	}
	d.key = strings.TrimSpace(string(key))
	return d
}

// stop ends it as a signal does.
func (d *devServer) stop() {
	d.t.Helper()
	d.cancel()
	select {
	case code := <-d.ended:
		if code != exitDone {
			d.t.Errorf("exit %d, stderr %s", code, d.stderr.String())
		}
	case <-time.After(30 * time.Second):
		d.t.Fatal("grantd dev does not end")
	}
}

// next are the arguments of the commands that the welcome says to try.
func (d *devServer) next() (commands [][]string) {
	for line := range strings.Lines(d.welcome) {
		if _, command, ok := strings.Cut(line, ") grantd "); ok {
			commands = append(commands, strings.Fields(command))
		}
	}
	return commands
}

func (d *devServer) try(args ...string) result {
	return runWith([]string{envKey + "=" + d.key}, "", args...)
}

// TestTheTwoCommandsOfTheWelcomeWork runs a real node, its demo provider, and
// what it tells people to try.
func TestTheTwoCommandsOfTheWelcomeWork(t *testing.T) {
	data := t.TempDir()
	d := startDev(t, data)
	commands := d.next()
	if len(commands) != 2 || commands[0][0] != "herd" || commands[1][0] != "token" {
		t.Fatalf("commands %q in\n%s", commands, d.welcome)
	}
	first := d.try(commands[1]...)
	if first.code != exitDone || len(first.stdout) < 20 {
		t.Errorf("token: exit %d, stderr %q", first.code, first.stderr)
	}
	got := d.try(append(commands[0], "--callers", "200", "--json")...)
	var r herd.Result
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != exitDone {
		t.Fatalf("herd: exit %d, stdout %q, stderr %q, %v", got.code, got.stdout, got.stderr, err)
	}
	if r.Callers != 200 || r.ProviderRequests != 1 || r.Replays != 0 || r.Failures != 0 {
		t.Errorf("herd: %+v", r)
	}
	d.stop()

	// The provider has forgotten its grants; dev makes the account good again.
	d = startDev(t, data)
	again := d.try(d.next()[1]...)
	if again.code != exitDone || again.stdout == first.stdout {
		t.Errorf("token after a restart: exit %d, stderr %q", again.code, again.stderr)
	}
	d.stop()
}
