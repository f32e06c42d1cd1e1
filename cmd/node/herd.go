package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/grantd/grantd/bench/herd"
)

// defaultDemoAddr is where grantd dev serves the demo provider.
const defaultDemoAddr = "127.0.0.1:8421"

// herdFlags are the flags of herd.
type herdFlags struct {
	callers, accounts, connections int
	provider                       string
	timeout                        time.Duration
	asJSON                         bool
}

func herdCommand() command {
	var (
		conn connection
		o    herdFlags
	)
	return command{
		name:  "herd",
		short: "let many callers ask for one expired account's token at once, and count",
		long: `Makes expired accounts at the demo provider of a running node (grantd dev), lets
all callers ask at the same moment, and prints how often the provider was asked
and how long callers waited. Fails if a caller got no good token, or if a
refresh token was used twice. The key needs the permission admin.`,
		flags: func(fs *flag.FlagSet) {
			fs.IntVar(&o.callers, "callers", herd.DefaultCallers, "`number` of callers")
			fs.IntVar(&o.accounts, "accounts", herd.DefaultAccounts, "`number` of accounts that they ask for")
			fs.IntVar(&o.connections, "connections", 0, "`number` of connections to the node (default: one for each caller)")
			fs.StringVar(&o.provider, "provider", "http://"+defaultDemoAddr, "`address` of the demo provider")
			fs.DurationVar(&o.timeout, "timeout", herd.DefaultTimeout, "`time` that the run may take")
			fs.BoolVar(&o.asJSON, "json", false, "print {callers, accounts, provider_requests, replays, failures, wait_ms: {p50, p99, max}}")
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			if o.callers < 1 || o.accounts < 1 || o.connections < 0 || o.timeout <= 0 {
				return usagef("--callers, --accounts and --timeout must be more than 0, --connections not negative")
			}
			provider, err := baseURL(o.provider)
			if err != nil {
				return err
			}
			addr, key, err := conn.resolve(in)
			if err != nil {
				return err
			}
			return runHerd(ctx, in, o.asJSON, herd.Config{
				Addr: addr, Key: key, Provider: provider.String(),
				Callers: o.callers, Accounts: o.accounts, Connections: o.connections, Timeout: o.timeout,
			})
		},
	}
}

// runHerd runs the herd, with a progress bar where somebody can see it.
func runHerd(ctx context.Context, in *input, asJSON bool, c herd.Config) error {
	var bar *progressBar
	if in.StderrTerminal {
		bar = startProgress(in.Stderr)
		c.Progress = func(p herd.Progress) { bar.set(string(p.Phase), p.Done, p.Total) }
	}
	r, err := herd.Run(ctx, c)
	bar.stop()
	switch {
	case errors.Is(err, herd.ErrConfig):
		return usageError{err.Error()}
	case err != nil && !errors.Is(err, herd.ErrCleanup):
		return err
	}
	if asJSON {
		err = errors.Join(err, writeJSON(in.Stdout, r))
	} else {
		_, writeErr := fmt.Fprint(in.Stdout, r)
		err = errors.Join(err, writeErr)
	}
	return errors.Join(err, verdict(r))
}

// verdict is the error of a run that broke a promise.
func verdict(r herd.Result) error {
	if r.Failures == 0 && r.Replays == 0 {
		return nil
	}
	return fmt.Errorf("the herd was not served as it should be: callers without a good token: %d, refresh tokens used twice: %d", r.Failures, r.Replays)
}
