package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func webhooksCommand() command {
	return command{
		name:  "webhooks",
		short: "have events delivered to end points of your own",
		sub: []command{
			webhooksList(), webhooksPut(), webhooksDelete(), webhooksRotate(), webhooksTest(), webhooksDeliveries(), webhooksReplay(),
		},
	}
}

func webhooksList() command {
	return listCommand(command{
		name:  "list",
		short: "list end points, without their secrets",
	}, func(c *client.Client, _ *input) listing[wire.Webhook] {
		return listing[wire.Webhook]{
			member: "webhooks",
			header: []string{"WEBHOOK", "TENANT", "URL", "EVENTS", "INTEGRATIONS", "STATE"},
			row: func(w wire.Webhook) []string {
				return []string{w.ID, w.Tenant, w.URL, words(w.Events), words(w.Integrations), hookState(w)}
			},
			page: func(ctx context.Context, cursor string, limit int) ([]wire.Webhook, string, error) {
				p, err := c.Webhooks(ctx, cursor, limit)
				return p.Webhooks, p.NextCursor, err
			},
		}
	})
}

func hookState(w wire.Webhook) string {
	switch {
	case w.Enabled:
		return "enabled"
	case w.Reason != "":
		return "disabled: " + w.Reason
	}
	return "disabled"
}

// hookSecretHelp says where a signing secret comes from.
const hookSecretHelp = `The signing secret is never taken from the command line. It comes from
$` + envWebhookSecret + `, or from the first line of standard input with --secret-stdin;
if none is given, one is made. It is printed once.`

func webhooksPut() command {
	var (
		conn                 connection
		n                    wire.NewWebhook
		events, integrations string
		disabled, stdin      bool
		asJSON               bool
	)
	return command{
		name:  "put",
		args:  []string{"ID"},
		short: "make an end point, or replace it",
		long:  hookSecretHelp + " An end point that exists keeps its own.",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&n.URL, "url", "", "`url` that events are sent to")
			fs.StringVar(&events, "events", wire.All, "`types` of events, separated by commas; * is all but integrated_account:refreshed")
			fs.StringVar(&n.Tenant, "tenant", "", "`tenant` whose events it gets (default: the key's)")
			fs.StringVar(&integrations, "integrations", "", "`ids` of integrations whose events it gets, separated by commas (default: all)")
			fs.BoolVar(&disabled, "disabled", false, "send nothing for now; what happens meanwhile is never sent")
			fs.BoolVar(&stdin, "secret-stdin", false, "read the signing secret from standard input")
			registerJSON(fs, &asJSON)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) (err error) {
			if n.URL == "" {
				return usagef("--url is missing")
			}
			n.Events, n.Integrations, n.Enabled = commaList(events), commaList(integrations), new(!disabled)
			if n.Secret, err = in.secret(secretFrom{env: envWebhookSecret, stdin: stdin}); err != nil {
				return err
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			w, err := c.PutWebhook(ctx, in.arg(0), n)
			if err != nil {
				return err
			}
			return showHook(in, asJSON, w)
		},
	}
}

// showHook prints an end point and, where it has just been made, its secret.
func showHook(in *input, asJSON bool, w wire.WebhookWithSecret) error {
	if asJSON {
		return writeJSON(in.Stdout, w)
	}
	if w.Secret == "" {
		_, err := fmt.Fprintf(in.Stdout, "%s  %s\n", plain(w.ID), hookState(w.Webhook))
		return err
	}
	fmt.Fprintf(in.Stderr, "Messages to %s are signed with this secret. It is shown only now.\n", plain(w.ID))
	_, err := fmt.Fprintln(in.Stdout, w.Secret.Reveal())
	return err
}

// hookCommand is a command about one end point.
func hookCommand(c command, run func(ctx context.Context, in *input, api *client.Client, h client.Hook) error) command {
	var (
		conn   connection
		tenant string
	)
	own := c.flags
	c.args = []string{"ID"}
	c.flags = func(fs *flag.FlagSet) {
		if own != nil {
			own(fs)
		}
		fs.StringVar(&tenant, "tenant", "", "`tenant` whose end point it is (default: the key's)")
		conn.register(fs)
	}
	c.run = func(ctx context.Context, in *input) error {
		api, err := conn.open(in)
		if err != nil {
			return err
		}
		return run(ctx, in, api, client.Hook{Tenant: tenant, ID: in.arg(0)})
	}
	return c
}

func webhooksDelete() command {
	return hookCommand(command{name: "delete", short: "delete an end point, with its deliveries"},
		func(ctx context.Context, _ *input, api *client.Client, h client.Hook) error {
			return api.DeleteWebhook(ctx, h)
		})
}

func webhooksRotate() command {
	var (
		overlap time.Duration
		stdin   bool
		asJSON  bool
	)
	return hookCommand(command{
		name: "rotate", short: "give an end point another signing secret", long: hookSecretHelp,
		flags: func(fs *flag.FlagSet) {
			fs.DurationVar(&overlap, "overlap", 24*time.Hour, "for how long the old secret signs as well")
			fs.BoolVar(&stdin, "secret-stdin", false, "read the signing secret from standard input")
			registerJSON(fs, &asJSON)
		},
	}, func(ctx context.Context, in *input, api *client.Client, h client.Hook) error {
		secret, err := in.secret(secretFrom{env: envWebhookSecret, stdin: stdin})
		if err != nil {
			return err
		}
		w, err := api.RotateWebhook(ctx, h, wire.Rotation{Overlap: overlap.String(), Secret: secret})
		if err != nil {
			return err
		}
		return showHook(in, asJSON, w)
	})
}

func webhooksTest() command {
	var asJSON bool
	return hookCommand(command{
		name: "test", short: "send a message now, and show the answer; exit status 1 if it is not taken",
		flags: func(fs *flag.FlagSet) { registerJSON(fs, &asJSON) },
	}, func(ctx context.Context, in *input, api *client.Client, h client.Hook) error {
		got, err := api.TestWebhook(ctx, h)
		if err != nil {
			return err
		}
		if asJSON {
			err = writeJSON(in.Stdout, got)
		} else {
			_, err = fmt.Fprintf(in.Stdout, "%s  %d ms  %s\n", httpStatus(got.Status), got.LatencyMS, plain(cmp.Or(got.Error, got.Answer)))
		}
		if err == nil && !got.Delivered {
			err = fmt.Errorf("the end point did not take the message")
		}
		return err
	})
}

// httpStatus is a status for people.
func httpStatus(status int) string {
	if status == 0 {
		return "-"
	}
	return strconv.Itoa(status)
}

func webhooksDeliveries() command {
	var f client.DeliveryFilter
	var tenant string
	return listCommand(command{
		name:  "deliveries",
		args:  []string{"ID"},
		short: "list deliveries, newest first",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&f.State, "state", "", "`state`: pending, delivered or parked")
			fs.StringVar(&f.Account, "account", "", "`account` (tenant/id) whose events they are of")
			fs.StringVar(&tenant, "tenant", "", "`tenant` whose end point it is (default: the key's)")
		},
	}, func(c *client.Client, in *input) listing[wire.Delivery] {
		return listing[wire.Delivery]{
			member: "deliveries",
			header: []string{"DELIVERY", "TYPE", "ACCOUNT", "STATE", "ATTEMPTS", "STATUS", "MS", "NEXT", "ANSWER"},
			row: func(d wire.Delivery) []string {
				return []string{
					d.ID, d.Type, cmp.Or(d.Account, d.Integration), d.State, strconv.Itoa(d.Attempts), httpStatus(d.Status),
					strconv.FormatInt(d.LatencyMS, 10), when(d.NextAttemptAt), cmp.Or(d.Error, d.Answer),
				}
			},
			page: func(ctx context.Context, cursor string, limit int) ([]wire.Delivery, string, error) {
				f.Cursor, f.Limit = cursor, limit
				p, err := c.Deliveries(ctx, client.Hook{Tenant: tenant, ID: in.arg(0)}, f)
				return p.Deliveries, p.NextCursor, err
			},
		}
	})
}

func webhooksReplay() command {
	var (
		r        wire.Replay
		from, to string
		asJSON   bool
	)
	return hookCommand(command{
		name: "replay", short: "make deliveries once more: one, those of a time, or all that are parked",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&r.Delivery, "delivery", "", "`id` of one delivery")
			fs.StringVar(&from, "from", "", "`time` (RFC 3339) from which on events are replayed")
			fs.StringVar(&to, "to", "", "`time` before which they happened")
			fs.BoolVar(&r.Parked, "parked", false, "all that is parked")
			registerJSON(fs, &asJSON)
		},
	}, func(ctx context.Context, in *input, api *client.Client, h client.Hook) error {
		for _, t := range []struct {
			flag, text string
			into       *wire.Time
		}{{"from", from, &r.From}, {"to", to, &r.To}} {
			if t.text == "" {
				continue
			}
			at, err := time.Parse(time.RFC3339, t.text)
			if err != nil {
				return usagef("--%s must be a time such as 2006-01-02T15:04:05Z", t.flag)
			}
			*t.into = wire.At(at)
		}
		got, err := api.Replay(ctx, h, r)
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(in.Stdout, got)
		}
		more := ""
		if got.More {
			more = "; there are more: replay again once these are delivered"
		}
		_, err = fmt.Fprintf(in.Stdout, "%d replayed%s\n", got.Replayed, more)
		return err
	})
}
