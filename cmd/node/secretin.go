package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/grantd/grantd/wire"
)

// maxSecret bounds a secret that is read; tokens of 64 KB exist.
const maxSecret = 128 << 10

// secretFrom says where a secret may come from. Never from the command line:
// other users of the machine can read that.
type secretFrom struct {
	env    string // environment variable
	stdin  bool   // the first line of standard input, because a flag says so
	prompt string // what a person is asked for; empty: nobody is asked
}

// secret reads one secret; empty where none is given.
func (in *input) secret(from secretFrom) (wire.Secret, error) {
	switch {
	case from.stdin:
		return in.secretLine()
	case in.getenv(from.env) != "":
		return wire.Secret(in.getenv(from.env)), nil
	case from.prompt != "" && in.StdinTerminal:
		fmt.Fprintf(in.Stderr, "%s: ", from.prompt)
		s, err := in.ReadPassword()
		fmt.Fprintln(in.Stderr)
		if err != nil {
			return "", fmt.Errorf("read from the terminal: %w", err)
		}
		return wire.Secret(s), nil
	}
	return "", nil
}

func (in *input) secretLine() (wire.Secret, error) {
	r := bufio.NewReader(io.LimitReader(in.Stdin, maxSecret+1))
	line, err := r.ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	switch {
	case line == "":
		return "", usagef("standard input holds no secret in its first line")
	case len(line) > maxSecret:
		return "", usagef("the secret on standard input has more than %d bytes", maxSecret)
	}
	return wire.Secret(line), nil
}

// errNothingDone is the answer no.
var errNothingDone = errors.New("nothing was done")

// confirm asks a person whether to go on; errNothingDone: he would rather not.
// Without a terminal, or with yes, it does not ask.
func (in *input) confirm(yes bool, question string) error {
	if yes || !in.StdinTerminal {
		return nil
	}
	fmt.Fprintf(in.Stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(io.LimitReader(in.Stdin, 64)).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read from the terminal: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errNothingDone
	}
	return nil
}

// registerYes adds the flag by which confirm does not ask.
func registerYes(fs *flag.FlagSet, yes *bool) {
	fs.BoolVar(yes, "yes", false, "do not ask (on a terminal it asks)")
}
