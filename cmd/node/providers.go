package main

import (
	"cmp"
	"context"
	"flag"
	"strconv"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func providersCommand() command {
	return command{
		name:  "providers",
		short: "look into the catalogue of providers",
		sub:   []command{providersList(), providersShow()},
	}
}

func providersList() command {
	return listCommand(command{
		name:  "list",
		short: "list the providers that grantd knows",
	}, func(c *client.Client, _ *input) listing[wire.Provider] {
		return listing[wire.Provider]{
			member: "providers",
			header: []string{"PROVIDER", "NAME", "ROTATION", "TOKEN URL"},
			row: func(p wire.Provider) []string {
				return []string{p.ID, p.Name, cmp.Or(p.RefreshRotation, "unknown"), p.TokenURL}
			},
			page: func(ctx context.Context, cursor string, limit int) ([]wire.Provider, string, error) {
				p, err := c.Providers(ctx, cursor, limit)
				return p.Providers, p.NextCursor, err
			},
		}
	})
}

func providersShow() command {
	var (
		conn   connection
		asJSON bool
	)
	return command{
		name:  "show",
		args:  []string{"ID"},
		short: "show what is known of one provider",
		flags: func(fs *flag.FlagSet) { registerJSON(fs, &asJSON); conn.register(fs) },
		run: func(ctx context.Context, in *input) error {
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			p, err := c.Provider(ctx, in.arg(0))
			if err != nil {
				return err
			}
			return show(in.Stdout, asJSON, p,
				[]string{"provider", p.ID},
				[]string{"name", p.Name},
				[]string{"authorization url", p.AuthorizationURL},
				[]string{"token url", p.TokenURL},
				[]string{"revocation url", p.RevocationURL},
				[]string{"introspection url", p.IntrospectionURL},
				[]string{"issuer", p.Issuer},
				[]string{"client authentication", p.TokenAuthMethod},
				[]string{"pkce", p.PKCE},
				[]string{"refresh rotation", cmp.Or(p.RefreshRotation, "unknown")},
				[]string{"access token lives", seconds(p.AccessTokenLifetime)},
				[]string{"refresh token lives", seconds(p.RefreshTokenLifetime)},
				[]string{"refresh token dies idle", seconds(p.RefreshTokenIdle)},
				[]string{"documentation", p.DocsURL})
		},
	}
}

// seconds formats a lifetime; empty where it is not known.
func seconds(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10) + " s"
}
