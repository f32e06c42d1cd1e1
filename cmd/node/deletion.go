package main

import (
	"context"
	"flag"

	"github.com/grantd/grantd/client"
)

// deletion is a command that takes one thing away, by its id, and asks a person
// first.
func deletion(short string, question func(id string) string, take func(c *client.Client, ctx context.Context, id string) error) command {
	var (
		conn connection
		yes  bool
	)
	return command{
		name:  "delete",
		args:  []string{"ID"},
		short: short,
		flags: func(fs *flag.FlagSet) {
			registerYes(fs, &yes)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			if err := in.confirm(yes, question(in.arg(0))); err != nil {
				return err
			}
			return take(c, ctx, in.arg(0))
		},
	}
}
