package main

import (
	"context"
	"flag"
)

func disconnectCommand() command {
	var (
		conn        connection
		asJSON, yes bool
	)
	return command{
		name:  "disconnect",
		args:  []string{"TENANT/ID"},
		short: "destroy an account's tokens and have its grant revoked at the provider",
		flags: func(fs *flag.FlagSet) {
			registerYes(fs, &yes)
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
			if err := in.confirm(yes, "Destroy the tokens of "+in.arg(0)+"? The account must be authorised again after that."); err != nil {
				return err
			}
			a, err := c.Disconnect(ctx, in.arg(0))
			if err != nil {
				return err
			}
			return showAccount(in, asJSON, a)
		},
	}
}
