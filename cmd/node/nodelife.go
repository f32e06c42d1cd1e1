package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/grantd/grantd/internal/config"
	"github.com/grantd/grantd/internal/node"
)

// runningNode is a node that serves.
type runningNode interface {
	// Addr is the address of the API.
	Addr() string
	// Failed tells when the node cannot go on.
	Failed() <-chan error
	// Close ends it in order and waits; what is not finished when ctx ends is
	// cut off.
	Close(ctx context.Context) error
}

// nodeStarter starts a node and returns when it serves.
type nodeStarter func(ctx context.Context, c config.Config, logger *slog.Logger) (runningNode, error)

// startNode is the nodeStarter of real nodes.
func startNode(ctx context.Context, c config.Config, logger *slog.Logger) (runningNode, error) {
	node.UseProcessors()
	n, err := node.Start(ctx, node.Options{Config: c, Version: thisBuild().Version, Logger: logger})
	if err != nil {
		return nil, err // not n: a nil *node.Node is no nil runningNode
	}
	return n, nil
}

// stop ends the node although ctx has ended.
func stop(ctx context.Context, n runningNode, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	return n.Close(ctx)
}

// unlessStopped is the error of a server, nil where it is that ctx has ended: a
// server that is told to stop while it still starts has done as it was told.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
