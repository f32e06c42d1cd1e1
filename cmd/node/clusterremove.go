package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

// defaultRemoveTimeout is how long a removal is waited for.
const defaultRemoveTimeout = 30 * time.Minute

func clusterRemove() command {
	var (
		conn        connection
		timeout     time.Duration
		asJSON, yes bool
	)
	return command{
		name:  "remove",
		args:  []string{"NODE"},
		short: "take a node out of the cluster for good",
		long: `Moves all shards of the node to others, and waits until it holds none. The node
had better run until then; stop it afterwards. Its name is never given again. To
stop a node for a while, stop its process (SIGTERM), and nothing else. Ask a node
that stays. What has begun goes on without this command, and cannot be called off.`,
		flags: func(fs *flag.FlagSet) {
			registerYes(fs, &yes)
			fs.DurationVar(&timeout, "timeout", defaultRemoveTimeout, "`time` to wait for the end")
			registerJSON(fs, &asJSON)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			if timeout <= 0 {
				return usagef("--timeout %v must be more than 0", timeout)
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			node := in.arg(0)
			if err := in.confirm(yes, "Take "+node+" out of the cluster for good? Its name is never given again."); err != nil {
				return err
			}
			r, err := removal{c, in, node}.wait(ctx, timeout)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(in.Stdout, r)
			}
			_, err = fmt.Fprintf(in.Stdout, "%s holds no shard any more and is removed. Stop it, if it runs, and delete its data.\n", plain(node))
			return err
		},
	}
}

// removal is a node that is being removed.
type removal struct {
	c    *client.Client
	in   *input
	node string
}

const (
	// removalPauseMin and removalPauseMax lie between two looks at a removal.
	removalPauseMin = 50 * time.Millisecond
	removalPauseMax = time.Second
	// removalFailures is how many looks in a row may fail: the node that is asked
	// may be starting, or electing a leader.
	removalFailures = 15
)

// wait has the node removed and returns when it is. It draws how many of its
// shards have moved where somebody can see it.
func (r removal) wait(ctx context.Context, timeout time.Duration) (wire.NodeRemoval, error) {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var bar *progressBar
	if r.in.StderrTerminal {
		bar = startProgress(r.in.Stderr)
	}
	last, begun, err := r.follow(within, bar)
	bar.stop()
	if begun && err != nil && within.Err() != nil {
		fmt.Fprintf(r.in.Stderr, "%s goes on leaving: it holds %d shards yet. The same command waits for it again.\n", plain(r.node), last.ShardsLeft)
		if ctx.Err() == nil {
			err = fmt.Errorf("%s is not removed after %v", r.node, timeout)
		}
	}
	return last, err
}

// follow asks again and again until the node is removed. begun: the removal has
// begun, and last is what was told of it.
func (r removal) follow(ctx context.Context, bar *progressBar) (last wire.NodeRemoval, begun bool, err error) {
	total, failures := 0, 0
	for pause := removalPauseMin; ; pause = min(2*pause, removalPauseMax) {
		now, err := r.c.RemoveNode(ctx, r.node)
		switch {
		case err == nil && now.State == wire.NodeRemoved:
			return now, true, nil
		case err == nil:
			last, begun, failures = now, true, 0
			total = max(total, now.ShardsLeft)
			bar.set(r.node, total-now.ShardsLeft, total)
		case !begun || ctx.Err() != nil || !passing(err):
			return last, begun, err
		default:
			if failures++; failures == removalFailures {
				return last, begun, err
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return last, begun, ctx.Err()
		}
	}
}

// passing says whether a look at a removal may well succeed the next time.
func passing(err error) bool {
	var answer *client.Error
	return !errors.As(err, &answer) || answer.Temporary()
}
