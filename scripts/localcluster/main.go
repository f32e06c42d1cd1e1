// Command localcluster runs a cluster of grantd nodes on this machine, beside
// the strict demo provider, for scripts/cluster: it starts, shows, breaks and
// mends them, and ends them all.
//
// It promises that nothing of it is left after down, and that it touches only
// the processes that it started. Everything that it knows stands in its folder.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const usage = `usage: scripts/cluster COMMAND

  up N        start a cluster of N nodes (1 to 9) and the demo provider
  status      show nodes, shards, owners and replicas
  kill NODE   kill -9
  stop NODE   SIGTERM: the node hands its shards over first
  start NODE  start it again, with its data
  pause NODE  SIGSTOP
  cut NODE    cut it off from the other nodes (needs root and nft)
  heal        let paused nodes go on, and mend all cuts
  add         start one node more, which joins
  down        end everything and delete the data
`

// upTimeout bounds how long nodes may take to get ready.
const upTimeout = 90 * time.Second

var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "scripts/cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	dir, err := clusterDir()
	if err != nil {
		return err
	}
	if args[0] == "demo" { // started by up
		return serveDemo(ctx)
	}
	c := &cluster{dir: dir, out: os.Stdout}
	command, rest := args[0], args[1:]
	if command == "up" {
		return c.upCommand(ctx, rest)
	}
	if err := c.load(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	switch {
	case command == "status" && len(rest) == 0:
		return c.status(ctx)
	case command == "heal" && len(rest) == 0:
		return c.heal()
	case command == "add" && len(rest) == 0:
		return c.add(ctx)
	case command == "down" && len(rest) == 0:
		return c.down(ctx)
	case len(rest) == 1:
		return c.withNode(ctx, command, rest[0])
	}
	return errUsage
}

// withNode runs a command about one node.
func (c *cluster) withNode(ctx context.Context, command, name string) error {
	n, err := c.node(name)
	if err != nil {
		return err
	}
	switch command {
	case "kill":
		return c.end(ctx, n, syscall.SIGKILL)
	case "stop":
		return c.end(ctx, n, syscall.SIGTERM)
	case "start":
		return c.start(ctx, n)
	case "pause":
		return n.signal(syscall.SIGSTOP)
	case "cut":
		return c.cut(n)
	}
	return errUsage
}

func (c *cluster) upCommand(ctx context.Context, rest []string) error {
	if len(rest) != 1 {
		return errUsage
	}
	n, err := strconv.Atoi(rest[0])
	if err != nil || n < 1 || n > maxNodes {
		return fmt.Errorf("%q is not a number of nodes from 1 to %d", rest[0], maxNodes)
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	if err := c.up(ctx, n); err != nil {
		return fmt.Errorf("%w; what was started still runs: see the logs in %s, and end it with: scripts/cluster down", err, c.dir)
	}
	return nil
}

// clusterDir is the folder of the cluster.
func clusterDir() (string, error) {
	dir := os.Getenv("GRANTD_CLUSTER_DIR")
	if dir == "" {
		dir = ".cluster"
	}
	return filepath.Abs(dir)
}
