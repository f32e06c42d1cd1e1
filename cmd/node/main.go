// Command node is grantd: the server, and the command line that speaks to one.
//
// It promises exit status 0 for done, 1 for failed and 2 for used wrongly,
// errors of one line on standard error, and help that is made from the very
// tables that are used for parsing. It decides nothing about accounts: the
// server is internal/node, everything else goes through package client and the
// HTTP API.
//
// command.go is the frame, commands.go the table of commands; then there is one
// file for each subcommand.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly end. From then on signals do what
	// they do by default, so a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], Env{
		Program:        program(),
		Stdin:          os.Stdin,
		Stdout:         os.Stdout,
		Stderr:         os.Stderr,
		Environ:        os.Environ(),
		StdinTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		StderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		ReadPassword: func() (string, error) {
			b, err := term.ReadPassword(int(os.Stdin.Fd()))
			return string(b), err
		},
	})
	stop()
	os.Exit(code)
}
