package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"

	"github.com/grantd/grantd/internal/config"
	"github.com/grantd/grantd/internal/node"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	config           string
	check, reference bool
}

func serveCommand() command {
	var o serveFlags
	return command{
		name:  "serve",
		short: "run a production node",
		long: `Every value of the configuration can be overridden by an environment variable,
such as GRANTD_HTTP_LISTEN for http.listen; --reference lists all of them.
SIGTERM finishes the requests in flight and ends with status 0; a second signal
ends at once.`,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.config, "config", "", "YAML `file` of the configuration (default: none, the environment only)")
			fs.BoolVar(&o.check, "check", false, "say whether the configuration is right, and end")
			fs.BoolVar(&o.reference, "reference", false, "print every key of the configuration with its default, and end")
		},
		run: func(ctx context.Context, in *input) error { return unlessStopped(ctx, serve(ctx, in, o, startNode)) },
	}
}

// serve runs a node until ctx ends.
func serve(ctx context.Context, in *input, o serveFlags, start nodeStarter) error {
	if o.reference {
		_, err := fmt.Fprint(in.Stdout, config.Reference())
		return err
	}
	c, warnings, err := config.Load(o.config, in.Environ, commandLineVariables())
	if err != nil {
		return err
	}
	if o.check {
		return checkConfig(in, c, warnings)
	}
	logger := newLogger(in.Stderr, c.Log)
	for _, w := range warnings {
		logger.Warn(w)
	}
	if err := prepareAdminKey(c, logger); err != nil {
		return err
	}
	n, err := start(ctx, c, logger)
	if err != nil {
		return listenHint(err, c.HTTP.Listen, "http.listen in the configuration or GRANTD_HTTP_LISTEN")
	}
	logger.Info("serving", "addr", n.Addr(), "node", c.Node.Name, "version", thisBuild().Version)
	select {
	case <-ctx.Done():
		logger.Info("stopping")
	case err = <-n.Failed():
	}
	return errors.Join(err, stop(ctx, n, c.HTTP.ShutdownTimeout))
}

// checkConfig is serve --check.
func checkConfig(in *input, c config.Config, warnings []string) error {
	for _, w := range warnings {
		fmt.Fprintf(in.Stderr, "grantd: warning: %s\n", plain(w))
	}
	if err := c.CheckFiles(); err != nil {
		return err
	}
	if err := node.CheckIdentity(c); err != nil {
		return err
	}
	if err := node.CheckCatalog(c); err != nil {
		return err
	}
	_, err := fmt.Fprintln(in.Stdout, "The configuration is right.")
	return err
}

// prepareAdminKey makes the first API key on the first start, and says where.
func prepareAdminKey(c config.Config, logger *slog.Logger) error {
	_, err := os.Stat(c.Auth.AdminKeyFile)
	if _, _, keyErr := ensureAdminKey(c.Auth.AdminKeyFile, ""); keyErr != nil {
		return keyErr
	}
	if errors.Is(err, fs.ErrNotExist) {
		logger.Info("an admin API key was made", "file", c.Auth.AdminKeyFile)
	}
	return nil
}

// listenHint adds what to do to an error about an address that is taken.
func listenHint(err error, addr, option string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use by another program (is a grantd running already?); end that one, or choose another address with %s", addr, option)
	}
	return err
}
