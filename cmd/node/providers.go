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
		short: "look into the catalogue of providers, correct it and add to it",
		sub:   []command{providersList(), providersShow(), providersPut(), providersDelete()},
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
			return showProvider(in, asJSON, p)
		},
	}
}

func showProvider(in *input, asJSON bool, p wire.Provider) error {
	return show(in.Stdout, asJSON, p,
		[]string{"provider", p.ID},
		[]string{"name", p.Name},
		[]string{"origin", p.Origin},
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
}

func providersPut() command {
	var (
		conn   connection
		set    settings
		asJSON bool
	)
	return command{
		name:  "put",
		args:  []string{"ID"},
		short: "define an entry of the catalogue, or correct one",
		long: `With --set extends=ID the entry has from the one of that name what it does not
say itself. It counts before the built-in one and before that of the node's
folder (catalog.dir).`,
		flags: func(fs *flag.FlagSet) {
			fs.Var(&set, "set", "`field=value`, such as token_url=https://...; may be repeated; a value that is JSON is taken as such")
			registerJSON(fs, &asJSON)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			if set.wrong != nil {
				return set.wrong
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			p, err := c.PutProvider(ctx, in.arg(0), set.fields)
			if err != nil {
				return err
			}
			return showProvider(in, asJSON, p)
		},
	}
}

func providersDelete() command {
	return deletion("take away an entry that was put; the one below it counts again",
		func(id string) string { return "Take the entry " + id + " out of the catalogue?" },
		(*client.Client).DeleteProvider)
}

// seconds formats a lifetime; empty where it is not known.
func seconds(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10) + " s"
}
