package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/grantd/grantd/wire"
)

// linkFlags are the flags of link.
type linkFlags struct {
	link      wire.NewLink
	scopes    string
	ttl       time.Duration
	variables map[string]string
	wrong     error
	asJSON    bool
}

func linkCommand() command {
	var (
		conn connection
		o    linkFlags
	)
	return command{
		name:  "link",
		short: "make a link through which a person connects an account, or authorises it again",
		long: `Prints the link alone. Whoever opens it first can connect an account with it: give
it to one person. It is good for a short time, and once.`,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.link.Tenant, "tenant", "", "`tenant` of the account")
			fs.StringVar(&o.link.Integration, "integration", "", "`id` of the integration")
			fs.StringVar(&o.link.Account, "account", "", "`id` of the account within its tenant: one that exists is authorised again (default: a new one)")
			fs.StringVar(&o.scopes, "scopes", "", "`scopes` to ask for, separated by commas, besides those that the account has (default: the integration's)")
			fs.Func("variable", "`name=value` for a variable of the provider's address; may be repeated; the person is asked for what is missing", o.variable)
			fs.StringVar(&o.link.ReturnURL, "return-url", "", "`url` to send the person to afterwards, of an origin that the integration allows")
			fs.DurationVar(&o.ttl, "ttl", 0, "`time` for which the link is good, such as 30m (default: 15m)")
			fs.BoolVar(&o.link.AllowOtherIdentity, "allow-other-identity", false, "let another user of the provider take the account over")
			registerJSON(fs, &o.asJSON)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			n, err := o.request()
			if err != nil {
				return err
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			l, err := c.CreateLink(ctx, n)
			if err != nil {
				return err
			}
			if o.asJSON {
				return writeJSON(in.Stdout, l)
			}
			_, err = fmt.Fprintln(in.Stdout, l.URL.Reveal()) // printing it is what the command is for
			return err
		},
	}
}

// variable takes one name=value.
func (o *linkFlags) variable(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		o.wrong = usagef("--variable: write name=value")
	}
	if o.variables == nil {
		o.variables = map[string]string{}
	}
	o.variables[name] = value
	return nil
}

// request puts together what is sent.
func (o *linkFlags) request() (wire.NewLink, error) {
	switch {
	case o.link.Tenant == "":
		return wire.NewLink{}, usagef("--tenant is missing")
	case o.link.Integration == "":
		return wire.NewLink{}, usagef("--integration is missing")
	case o.wrong != nil:
		return wire.NewLink{}, o.wrong
	case o.ttl < 0:
		return wire.NewLink{}, usagef("--ttl %v is negative", o.ttl)
	}
	n := o.link
	n.Variables = o.variables
	if o.scopes != "" {
		n.Scopes = commaList(o.scopes)
	}
	if o.ttl > 0 {
		n.TTL = o.ttl.String()
	}
	return n, nil
}
