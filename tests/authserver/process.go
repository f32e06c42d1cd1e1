package authserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// stopTimeout is how long a server may take to end by itself.
const stopTimeout = 5 * time.Second

// process is a running server.
type process struct {
	addr   string // where it listens
	output *tail

	cmd   *exec.Cmd
	stdin io.Closer     // its end asks the server to end
	ended chan struct{} // closed when the process is gone
}

// startProcess starts cmd and waits until it says where it listens.
func startProcess(ctx context.Context, cmd *exec.Cmd) (*process, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p := &process{output: newTail(), cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.WaitDelay = stopTimeout // where go run is gone and what it ran is not
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // how it ended is in the output
	}()
	select {
	case p.addr = <-p.output.listening:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("it ended at once; its output:\n%s", p.output)
	case <-ctx.Done():
		p.stop()
		return nil, fmt.Errorf("it does not listen: %w; its output:\n%s", ctx.Err(), p.output)
	}
}

// stop ends the process and waits until it is gone.
func (p *process) stop() {
	_ = p.stdin.Close()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.ended:
		return
	case <-timer.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
}
