package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/grantd/grantd/internal/config"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Env is everything of the outside that a command touches, so that tests can
// run commands in their own process.
type Env struct {
	Program        string // how a person would call this program again
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string // as of os.Environ
	StdinTerminal  bool     // a person can be asked
	StderrTerminal bool     // a progress bar can be drawn
	// ReadPassword reads a line from the terminal without showing it. Called
	// only where StdinTerminal is set.
	ReadPassword func() (string, error)
}

// getenv returns the value of an environment variable, "" where it is not set.
func (e Env) getenv(name string) string {
	for _, variable := range e.Environ {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

// usageError is a command used wrongly: exit status 2.
type usageError struct{ text string }

// Error says what was wrong.
func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// run does what the arguments (without the program's name) say and returns the
// exit status.
func run(ctx context.Context, args []string, env Env) int {
	root := command{name: "grantd", sub: commands()}
	cmd, path, rest, err := root.find(args)
	if err != nil {
		code := report(env, path, err)
		_ = write(env.Stderr, "\n"+cmd.help(path))
		return code
	}
	if cmd.run == nil {
		if len(rest) > 0 && isHelp(rest[0]) {
			return write(env.Stdout, cmd.help(path))
		}
		_ = write(env.Stderr, cmd.help(path))
		return exitUsage
	}
	in, err := cmd.parse(path, rest)
	if errors.Is(err, errHelp) {
		return write(env.Stdout, cmd.help(path))
	}
	if err != nil {
		return report(env, path, err)
	}
	in.Env = env
	err = cmd.run(ctx, in)
	if in.remote {
		err = explain(err)
	}
	return report(env, path, err)
}

// report turns an error into lines on standard error and an exit status.
func report(env Env, path string, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(env.Stderr, "grantd: %s; see %s --help\n", plain(usage.text), path)
		return exitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(env.Stderr, "grantd: interrupted")
		return exitFailed
	}
	var problems config.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			fmt.Fprintf(env.Stderr, "grantd: %s\n", plain(p.String()))
		}
		return exitFailed
	}
	fmt.Fprintf(env.Stderr, "grantd: %s\n", strings.TrimPrefix(plain(err.Error()), "grantd: "))
	return exitFailed
}

func write(w io.Writer, text string) int {
	if _, err := io.WriteString(w, text); err != nil {
		return exitFailed
	}
	return exitDone
}

// plain keeps text that came from elsewhere from moving the cursor, starting a
// new line or changing colours: what is not printable becomes a space.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// program is how to call this program again: the way that `go run` is written,
// where that started it, because the binary it made is gone afterwards.
func program() string {
	exe, err := os.Executable()
	if err != nil {
		return "grantd"
	}
	if strings.Contains(filepath.ToSlash(exe), "/go-build") {
		return "go run ./cmd/node"
	}
	return os.Args[0]
}
