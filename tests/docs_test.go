package tests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/internal/config"
	"github.com/grantd/grantd/tests/process"
)

// Every command in README.md and docs/ is run. The blocks of a document that
// are fenced as sh run in order, in one empty folder, against a node of their
// own, by bash, and fail as soon as one command does. Of these blocks
//
//   - one that is only "go run ./cmd/node dev" (or "grantd dev") starts the
//     node; a document without one gets its node all the same;
//   - one that is only "make TARGET" is not run, because make test runs this
//     test; the target must exist;
//   - one fenced as "sh by-hand" is not run: it needs what a test cannot give.
//
// "go run ./cmd/node", "go build -o bin/grantd ./cmd/node" and the default
// addresses stand for the binary and the addresses of the test; programs of
// scripts/ are those of the checkout, and work in the reader's folder. A local
// cluster has the addresses that the documents name, so that one runs at a time.
// What is not meant to be run is fenced as something else, such as text or yaml;
// what is fenced as yaml is a configuration, and must be a right one.

// block is a fenced block of a document.
type block struct {
	line int // of its first fence
	info string
	text string
}

// fenced reads the fenced blocks of a Markdown document.
func fenced(document string) []block {
	var all []block
	open := false
	number := 0
	for line := range strings.Lines(document) {
		number++
		info, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open:
			open = false
		case fence:
			open = true
			all = append(all, block{line: number, info: strings.TrimSpace(info)})
		case open:
			all[len(all)-1].text += line
		}
	}
	return all
}

var (
	startsNode = regexp.MustCompile(`^(go run \./cmd/node|(bin/)?grantd) dev\n$`)
	onlyMake   = regexp.MustCompile(`^make ([a-z-]+)\n$`)
)

func TestEveryCommandInTheDocumentsWorks(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range documents(t) {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		blocks := slices.DeleteFunc(fenced(string(text)), func(b block) bool { return b.info != "sh" })
		if len(blocks) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := newReader(t)
			for _, b := range blocks {
				if target := onlyMake.FindStringSubmatch(b.text); target != nil {
					if !strings.Contains(string(makefile), "\n"+target[1]+":") {
						t.Errorf("%s:%d: the Makefile has no target %s", name, b.line, target[1])
					}
					continue
				}
				r.startNode()
				if startsNode.MatchString(b.text) {
					continue
				}
				if out, err := r.run(b.text); err != nil {
					t.Fatalf("%s:%d: %v\n%s\nafter it printed:\n%s", name, b.line, err, b.text, out)
				}
			}
		})
	}
}

// documents are the Markdown files that users read.
func documents(t *testing.T) []string {
	t.Helper()
	list := []string{"README.md"}
	err := filepath.WalkDir("../docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			list = append(list, strings.TrimPrefix(filepath.ToSlash(path), "../"))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return list
}

func TestConfigurationsInTheDocumentsAreRight(t *testing.T) {
	found := 0
	for _, name := range documents(t) {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range fenced(string(text)) {
			if b.info != "yaml" {
				continue
			}
			found++
			if _, warnings, err := config.Parse(name, []byte(b.text), nil, nil); err != nil || len(warnings) > 0 {
				t.Errorf("%s:%d: %v, warnings %q", name, b.line, err, warnings)
			}
		}
	}
	if found == 0 {
		t.Error("no document has a configuration; is it fenced as something else than yaml?")
	}
}

func TestShellCommandsInTheDocumentsAreFencedAsSh(t *testing.T) {
	for _, name := range documents(t) {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range fenced(string(text)) {
			if slices.Contains([]string{"bash", "shell", "console", "zsh", "shell-session"}, b.info) || strings.HasPrefix(b.info, "sh ") && b.info != "sh by-hand" {
				t.Errorf("%s:%d: a block is fenced as %q; write sh, so that a test runs it, or text", name, b.line, b.info)
			}
		}
	}
}

func TestBlockFailsWithItsFirstFailingCommand(t *testing.T) {
	out, err := newReader(t).run("echo before\nfalse | cat\necho after\n")
	if err == nil || out != "before\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestFencedBlocksAreFound(t *testing.T) {
	got := fenced("a\n```sh\none\n\ntwo\n```\n``` yaml\nx: 1\n```\n```\nbare\n```")
	want := []block{{2, "sh", "one\n\ntwo\n"}, {7, "yaml", "x: 1\n"}, {10, "", "bare\n"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// reader is somebody who follows a document in an empty folder.
type reader struct {
	t       *testing.T
	dir     string
	wrapper string // stands for grantd
	env     []string
	proc    *process.Process
	addr    string // of the node
	demo    string // of its demo provider
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{t: t, dir: t.TempDir(), wrapper: filepath.Join(t.TempDir(), "grantd")}
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	r.env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GRANTD_") }),
		"PATH="+filepath.Dir(r.wrapper)+string(filepath.ListSeparator)+os.Getenv("PATH"),
		"CHECKOUT="+checkout, "TOOLS="+filepath.Dir(r.wrapper))
	r.makeCluster(checkout)
	return r
}

// makeCluster puts scripts/cluster into the folder. What a document leaves
// running is ended.
func (r *reader) makeCluster(checkout string) {
	r.t.Helper()
	script := filepath.Join(r.dir, "scripts", "cluster")
	text := fmt.Sprintf("#!/bin/sh\nGRANTD_CLUSTER_DIR=%q exec %q \"$@\"\n", filepath.Join(r.dir, ".cluster"), filepath.Join(checkout, "scripts", "cluster"))
	err := os.Mkdir(filepath.Dir(script), 0o700)
	if err = errors.Join(err, os.WriteFile(script, []byte(text), 0o700)); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(r.dir, ".cluster")); err != nil {
			return
		}
		logs, _ := filepath.Glob(filepath.Join(r.dir, ".cluster", "*.log"))
		for _, name := range logs {
			if text, err := os.ReadFile(name); err == nil {
				r.t.Logf("the last of %s:\n%s", filepath.Base(name), text[max(0, len(text)-2000):])
			}
		}
		if out, err := exec.Command(script, "down").CombinedOutput(); err != nil {
			r.t.Errorf("scripts/cluster down: %v\n%s", err, out)
		}
	})
}

// startNode runs grantd dev in the folder, where that was not done yet.
func (r *reader) startNode() {
	r.t.Helper()
	if r.proc != nil {
		return
	}
	cmd := exec.Command(grantdBinary(r.t), "dev", "--listen", "127.0.0.1:0", "--demo-listen", "127.0.0.1:0")
	cmd.Dir, cmd.Env = r.dir, r.env
	ctx, cancel := context.WithTimeout(r.t.Context(), startTimeout)
	defer cancel()
	p, err := process.Start(ctx, cmd, func(line string) (string, bool) {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "Dashboard" {
			r.addr = strings.TrimSuffix(strings.TrimPrefix(words[1], "http://"), "/ui/")
		}
		if len(words) > 2 && words[0] == "Demo" {
			return words[2], true
		}
		return "", false
	})
	if err != nil {
		r.t.Fatalf("start grantd dev: %v", err)
	}
	r.proc, r.demo = p, p.Ready
	r.t.Cleanup(func() {
		if err := p.Stop(syscall.SIGTERM); err != nil {
			r.t.Errorf("grantd dev did not end well after SIGTERM: %v", err)
		}
		if r.t.Failed() {
			r.t.Logf("the last output of grantd dev:\n%s", p.Output())
		}
	})
	r.env = append(r.env, "GRANTD_ADDR="+r.addr)
	script := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = herd ]; then shift; set -- herd --provider %s \"$@\"; fi\nexec %s \"$@\"\n", r.demo, grantdBinary(r.t))
	if err := os.WriteFile(r.wrapper, []byte(script), 0o700); err != nil {
		r.t.Fatal(err)
	}
}

// blockTimeout bounds one block. Starting a cluster takes the longest, by far.
const blockTimeout = 4 * time.Minute

// prelude lets go build and run grantd as a reader in the checkout would.
const prelude = `set -euo pipefail
go() {
	case "$*" in
	"run ./cmd/node "*) shift 2; grantd "$@" ;;
	"build -o bin/grantd ./cmd/node") mkdir -p bin; cp "$(command -v grantd)" bin/grantd ;;
	"run ./scripts/"*)
		local program=$2 name=${2##*/}
		shift 2
		command go -C "$CHECKOUT" build -o "$TOOLS/$name" "$program"
		"$TOOLS/$name" "$@"
		;;
	*) command go "$@" ;;
	esac
}
`

// run runs a block and returns what it printed.
func (r *reader) run(script string) (string, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), blockTimeout)
	defer cancel()
	script = strings.NewReplacer("127.0.0.1:8420", r.addr, "http://127.0.0.1:8421", r.demo).Replace(script)
	cmd := exec.CommandContext(ctx, "bash", "-c", prelude+script)
	cmd.Dir, cmd.Env, cmd.WaitDelay = r.dir, r.env, time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
