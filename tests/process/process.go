// Package process runs programs for tests.
//
// It promises that a program which [Start] returned has said that it is ready,
// that the end of its output is kept in bounded memory for the report of a
// failed test, and that it is gone when [Process.Stop] returns. What the program
// is, and what makes it ready, it leaves to its callers.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// stopTimeout is how long a program may take to end when it is asked to.
const stopTimeout = 30 * time.Second

var errEarly = errors.New("it ended before it was ready")

// Process is a running program. Its methods are safe for concurrent use.
type Process struct {
	// Ready is what the program's ready line told.
	Ready string

	output *tail
	cmd    *exec.Cmd
	stdin  io.Closer
	ended  chan struct{} // closed when the program is gone
	err    error         // how it ended; read it after ended is closed
}

// Start runs cmd and waits until ready finds what it looks for in a whole line
// of the program's output, standard output and error together; cmd.Stdout,
// where it is set, gets all of that output, too. The program's standard input
// stays open until it is stopped. The error about a program that ended early
// wraps how it ended.
func Start(ctx context.Context, cmd *exec.Cmd, ready func(line string) (string, bool)) (*Process, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p := &Process{output: newTail(ready), cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	var out io.Writer = p.output
	if cmd.Stdout != nil {
		out = io.MultiWriter(p.output, cmd.Stdout)
	}
	cmd.Stdout, cmd.Stderr = out, out // one value, so that one goroutine writes
	cmd.WaitDelay = stopTimeout       // where the program is gone and what it started is not
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	select {
	case p.Ready = <-p.output.found:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%w; its output:\n%s", errors.Join(errEarly, p.err), p.output)
	case <-ctx.Done():
		_ = p.Stop(os.Kill)
		return nil, fmt.Errorf("it does not get ready: %w; its output:\n%s", ctx.Err(), p.output)
	}
}

// Output returns the end of what the program printed.
func (p *Process) Output() string { return p.output.String() }

// Ended is closed when the program is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// PID is the program's process number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends the program a signal. The error is os.ErrProcessDone where it is
// gone.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop closes the program's standard input, sends it the signals, and waits
// until it is gone; it is killed when that takes too long. The error says how
// it ended, nil being exit status 0.
func (p *Process) Stop(signals ...os.Signal) error {
	_ = p.stdin.Close()
	for _, s := range signals {
		_ = p.cmd.Process.Signal(s) // it may be gone already
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.ended:
		return p.err
	case <-timer.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("it did not end within %v and was killed", stopTimeout)
}
