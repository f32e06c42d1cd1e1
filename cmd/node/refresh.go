package main

import (
	"context"
	"flag"
)

func refreshCommand() command {
	var (
		conn   connection
		asJSON bool
		stale  uint64
	)
	return command{
		name:  "refresh",
		args:  []string{"TENANT/ID"},
		short: "get a new access token from the provider now",
		flags: func(fs *flag.FlagSet) {
			fs.Uint64Var(&stale, "stale-generation", 0, "do nothing if a newer `generation` than this is there already")
			registerJSON(fs, &asJSON)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			if err := checkAccount(in.arg(0)); err != nil {
				return err
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			var generation *uint64
			if in.set["stale-generation"] {
				generation = &stale
			}
			a, err := c.Refresh(ctx, in.arg(0), generation)
			if err != nil {
				return err
			}
			return showAccount(in, asJSON, a)
		},
	}
}
