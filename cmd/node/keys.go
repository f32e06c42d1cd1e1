package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func keysCommand() command {
	return command{
		name:  "keys",
		short: "create, list and delete API keys",
		sub:   []command{keysCreate(), keysList(), keysDelete()},
	}
}

func keysCreate() command {
	var (
		conn                      connection
		n                         wire.NewKey
		integrations, permissions string
		accounts                  string
		asJSON                    bool
	)
	return command{
		name:  "create",
		short: "create an API key and print it, this once",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&n.Name, "name", "", "what the key is for, for people")
			fs.StringVar(&n.Tenant, "tenant", "", "`tenant` that the key is limited to, or \""+wire.All+"\" for all")
			fs.StringVar(&integrations, "integrations", "", "`ids` of integrations that the key is limited to, separated by commas (default: all)")
			fs.StringVar(&permissions, "permissions", "", "`permissions`, separated by commas: "+strings.Join(wire.Permissions(), ", "))
			fs.StringVar(&accounts, "accounts", "", "`accounts`, as tenant/id, that the key is limited to, separated by commas (default: all in its scope)")
			fs.StringVar(&n.Agent, "agent", "", "`name` of the AI agent that the key is for; what it is handed stands in the accounts' history")
			fs.StringVar(&n.TTL, "ttl", "", "for how `long` the key works, such as 15m (default: until it is deleted)")
			registerJSON(fs, &asJSON)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			n.Integrations, n.Permissions, n.Accounts = commaList(integrations), commaList(permissions), commaList(accounts)
			if err := checkNewKey(n); err != nil {
				return err
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			k, err := c.CreateKey(ctx, n)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(in.Stdout, k)
			}
			fmt.Fprintf(in.Stderr, "Key %s was created. It is shown only now; grantd keeps a hash of it.\n", plain(k.ID))
			_, err = fmt.Fprintln(in.Stdout, k.Secret.Reveal())
			return err
		},
	}
}

func checkNewKey(n wire.NewKey) error {
	switch {
	case n.Tenant == "":
		return usagef("--tenant is missing; write \"%s\" for all", wire.All)
	case len(n.Permissions) == 0:
		return usagef("--permissions is missing; choose from %s", strings.Join(wire.Permissions(), ", "))
	}
	for _, p := range n.Permissions {
		if !slices.Contains(wire.Permissions(), p) {
			return usagef("permission %q is unknown; choose from %s", p, strings.Join(wire.Permissions(), ", "))
		}
	}
	return nil
}

func keysList() command {
	return listCommand(command{
		name:  "list",
		short: "list API keys: their scopes, not the keys themselves",
	}, func(c *client.Client, _ *input) listing[wire.Key] {
		return listing[wire.Key]{
			member: "keys",
			header: []string{"KEY", "NAME", "TENANT", "INTEGRATIONS", "PERMISSIONS", "AGENT", "CREATED", "EXPIRES"},
			row: func(k wire.Key) []string {
				return []string{k.ID, k.Name, k.Tenant, words(k.Integrations), words(k.Permissions), k.Agent, when(k.CreatedAt), when(k.ExpiresAt)}
			},
			page: func(ctx context.Context, cursor string, limit int) ([]wire.Key, string, error) {
				p, err := c.Keys(ctx, cursor, limit)
				return p.Keys, p.NextCursor, err
			},
		}
	})
}

func keysDelete() command {
	var conn connection
	return command{
		name:  "delete",
		args:  []string{"ID"},
		short: "end an API key; it stops working at once",
		flags: conn.register,
		run: func(ctx context.Context, in *input) error {
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			return c.DeleteKey(ctx, in.arg(0))
		},
	}
}
