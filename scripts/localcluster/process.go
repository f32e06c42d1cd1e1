package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"syscall"
	"time"
)

// ours reports whether a process of that number runs the program that we built:
// numbers are used again.
func (c *cluster) ours(pid int, program string) bool {
	if pid <= 0 {
		return false
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && exe == c.path(program)
}

func (c *cluster) runs(n *member) bool { return c.ours(n.PID, "grantd") }

func (n *member) signal(s syscall.Signal) error {
	if err := syscall.Kill(n.PID, s); err != nil {
		return fmt.Errorf("%s (process %d): %w", n.Name, n.PID, err)
	}
	return nil
}

// end signals a node and waits until it is gone.
func (c *cluster) end(ctx context.Context, n *member, s syscall.Signal) error {
	if !c.runs(n) {
		return nil
	}
	if err := n.signal(s); err != nil {
		return err
	}
	return until(ctx, n.Name+" does not end", func() error {
		if c.runs(n) {
			return errors.New("it still runs")
		}
		return nil
	})
}

// start starts a node again.
func (c *cluster) start(ctx context.Context, n *member) error {
	if c.runs(n) {
		return fmt.Errorf("%s runs already", n.Name)
	}
	if err := c.launch(n, len(c.Nodes)); err != nil {
		return err
	}
	return c.await(ctx, n)
}

// await waits until a node is ready.
func (c *cluster) await(ctx context.Context, n *member) error {
	probe := &http.Client{Timeout: time.Second}
	defer probe.CloseIdleConnections()
	return until(ctx, n.Name+" does not get ready (see "+c.path(n.Name+".log")+")", func() error {
		if !c.runs(n) {
			return errEnded
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := probe.Do(req)
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz answers %s", resp.Status)
		}
		return nil
	})
}
