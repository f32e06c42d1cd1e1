package main

import (
	"context"
	"encoding/json"
	"flag"
	"strconv"
	"strings"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func eventsCommand() command {
	var (
		conn   connection
		asJSON bool
		filter client.EventFilter
		types  string
	)
	return command{
		name:  "events",
		short: "show what happens to accounts and integrations, as it happens",
		long:  "It goes on where it was when the connection breaks, and ends with Ctrl-C. With --json each event is one line, with the position behind it, which --after takes.",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&filter.After, "after", "", "begin behind this `position`; start: with the oldest events that are kept (default: now)")
			fs.StringVar(&types, "types", "", "only these `types`, separated by commas")
			fs.StringVar(&filter.Tenant, "tenant", "", "only those of this `tenant`")
			fs.StringVar(&filter.Account, "account", "", "only those of this account, `tenant/id`")
			fs.StringVar(&filter.Integration, "integration", "", "only those of this `integration`")
			fs.BoolVar(&asJSON, "json", false, "write JSON, a line for each event")
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			if filter.Account != "" {
				if err := checkAccount(filter.Account); err != nil {
					return err
				}
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			if types != "" {
				filter.Types = strings.Split(types, ",")
			}
			err = c.Watch(ctx, filter, eventWriter(in, asJSON))
			if ctx.Err() != nil {
				return nil // Ctrl-C is the way to end it
			}
			return err
		},
	}
}

// eventWriter writes events as they come.
func eventWriter(in *input, asJSON bool) func(client.Event) error {
	if asJSON {
		enc := json.NewEncoder(in.Stdout)
		enc.SetEscapeHTML(false)
		return func(e client.Event) error {
			return enc.Encode(struct {
				wire.Event
				Position string `json:"position"`
			}{e.Event, e.Position})
		}
	}
	t := newTable(in.Stdout)
	t.widths = []int{20, 39, 24, 16, 20} // each row is written when it comes
	t.row("TIME", "EVENT", "ACCOUNT", "INTEGRATION", "REASON", "GENERATION")
	first := t.flush()
	return func(e client.Event) error {
		if first != nil {
			return first
		}
		reason, generation := e.Data.Reason, ""
		if e.Data.Lost > 0 {
			reason = strconv.FormatUint(e.Data.Lost, 10) + " events were dropped before they were read"
		}
		if e.Data.Generation > 0 {
			generation = strconv.FormatUint(e.Data.Generation, 10)
		}
		t.row(when(e.Timestamp), e.Type, e.Data.Account, e.Data.Integration, reason, generation)
		return t.flush()
	}
}
