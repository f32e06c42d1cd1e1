package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/grantd/grantd/wire"
)

func tokenCommand() command {
	var (
		conn   connection
		asJSON bool
		minTTL time.Duration
	)
	return command{
		name:  "token",
		args:  []string{"TENANT/ID"},
		short: "print an account's current access token",
		long: `Prints the secret alone, so that it can be put into another command:
  curl -H "Authorization: Bearer $(grantd token acme/1)" ...
For an account of type api_key that is the key, for basic USERNAME:PASSWORD.`,
		flags: func(fs *flag.FlagSet) {
			fs.DurationVar(&minTTL, "min-ttl", 0, "the token must live for at least this `time`, such as 30s")
			registerJSON(fs, &asJSON)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			if err := checkAccount(in.arg(0)); err != nil {
				return err
			}
			if minTTL < 0 {
				return usagef("--min-ttl %v is negative", minTTL)
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			t, err := c.Token(ctx, in.arg(0), minTTL)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(in.Stdout, t)
			}
			_, err = fmt.Fprintln(in.Stdout, bare(t))
			return err
		},
	}
}

// bare is what the token's holder presents. Printing it is what the command is
// for.
func bare(t wire.Token) string {
	switch t.Type {
	case wire.TypeAPIKey:
		return t.APIKey.Reveal()
	case wire.TypeBasic:
		return t.Username + ":" + t.Password.Reveal()
	default:
		return t.AccessToken.Reveal()
	}
}
