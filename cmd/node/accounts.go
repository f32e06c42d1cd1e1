package main

import (
	"context"
	"flag"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func accountsCommand() command {
	return command{
		name:  "accounts",
		short: "list accounts, show one, tell its history",
		sub:   []command{accountsList(), accountsShow(), accountsHistory()},
	}
}

// checkAccount says whether s looks like tenant/id; the server knows the rest.
func checkAccount(s string) error {
	tenant, id, ok := strings.Cut(s, "/")
	if !ok || tenant == "" || id == "" || strings.Contains(id, "/") {
		return usagef("%q does not name an account; write tenant/id", s)
	}
	return nil
}

func accountsList() command {
	var filter client.AccountFilter
	return listCommand(command{
		name:  "list",
		short: "list accounts in order of tenant and id",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&filter.Tenant, "tenant", "", "only those of this `tenant`")
			fs.StringVar(&filter.State, "state", "", "only those in this `state`: pending, active, needs_reauth or disconnected")
			fs.StringVar(&filter.Integration, "integration", "", "only those of this `integration`")
		},
	}, func(c *client.Client, _ *input) listing[wire.Account] {
		return listing[wire.Account]{
			member: "accounts",
			header: []string{"ACCOUNT", "STATE", "REASON", "INTEGRATION", "TYPE", "GENERATION", "EXPIRES", "NEXT REFRESH"},
			row: func(a wire.Account) []string {
				return []string{a.Name(), a.State, a.Reason, a.Integration, a.Type, strconv.FormatUint(a.Generation, 10), when(a.ExpiresAt), when(a.NextRefreshAt)}
			},
			page: func(ctx context.Context, cursor string, limit int) ([]wire.Account, string, error) {
				filter.Cursor, filter.Limit = cursor, limit
				p, err := c.Accounts(ctx, filter)
				return p.Accounts, p.NextCursor, err
			},
		}
	})
}

func accountsShow() command {
	var (
		conn   connection
		asJSON bool
	)
	return command{
		name:  "show",
		args:  []string{"TENANT/ID"},
		short: "show one account, without its secrets",
		flags: func(fs *flag.FlagSet) { registerJSON(fs, &asJSON); conn.register(fs) },
		run: func(ctx context.Context, in *input) error {
			if err := checkAccount(in.arg(0)); err != nil {
				return err
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			a, err := c.Account(ctx, in.arg(0))
			if err != nil {
				return err
			}
			return showAccount(in, asJSON, a)
		},
	}
}

// showAccount prints one account, field by field.
func showAccount(in *input, asJSON bool, a wire.Account) error {
	return show(in.Stdout, asJSON, a,
		[]string{"account", a.Name()},
		[]string{"state", a.State},
		[]string{"reason", a.Reason},
		[]string{"type", a.Type},
		[]string{"integration", a.Integration},
		[]string{"provider", a.Provider},
		[]string{"scopes", words(a.Scopes)},
		[]string{"missing scopes", words(a.MissingScopes)},
		[]string{"variables", pairs(a.Variables)},
		[]string{"facts", pairs(a.Facts)},
		[]string{"generation", strconv.FormatUint(a.Generation, 10)},
		[]string{"expires", when(a.ExpiresAt)},
		[]string{"next refresh", when(a.NextRefreshAt)},
		[]string{"last refresh", when(a.LastRefreshAt)},
		[]string{"failures in a row", strconv.Itoa(a.Failures)},
		[]string{"created", when(a.CreatedAt)},
		[]string{"updated", when(a.UpdatedAt)})
}

// pairs writes names and values on one line.
func pairs(m map[string]string) string {
	all := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, name+"="+m[name])
	}
	return words(all)
}

func accountsHistory() command {
	return listCommand(command{
		name:  "history",
		args:  []string{"TENANT/ID"},
		short: "tell what happened to an account, newest first",
	}, func(c *client.Client, in *input) listing[wire.HistoryLine] {
		return listing[wire.HistoryLine]{
			member: "history",
			header: []string{"AT", "WHAT", "REASON", "GENERATION", "NODE", "DETAIL"},
			row: func(l wire.HistoryLine) []string {
				return []string{when(l.At), l.What, l.Reason, strconv.FormatUint(l.Generation, 10), l.Node, l.Detail}
			},
			page: func(ctx context.Context, cursor string, limit int) ([]wire.HistoryLine, string, error) {
				if err := checkAccount(in.arg(0)); err != nil {
					return nil, "", err
				}
				p, err := c.History(ctx, in.arg(0), cursor, limit)
				return p.History, p.NextCursor, err
			},
		}
	})
}
