// Command pausingjob is an example of a background job that pauses while an
// account needs its owner, and goes on when he has authorised it again: it
// fetches URLs of the provider's API, one after the other, with the account's
// token. It needs a key with the permissions tokens:read and accounts:read:
//
//	GRANTD_KEY=… pausingjob -account acme/github-1 https://api.github.com/user …
//
// It promises that no URL is left out and that it asks nobody for anything while
// it waits. It leaves it to the reader to put his own work in the place of fetch.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	addr := flag.String("addr", "http://127.0.0.1:8420", "`URL` of grantd")
	account := flag.String("account", "", "`tenant/id` of the account")
	flag.Parse()
	c, err := client.New(*addr, wire.Secret(os.Getenv("GRANTD_KEY")), client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := newJob(c, *account, nil, log.Printf).run(ctx, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

// fetchTime bounds one request to the provider.
const fetchTime = 30 * time.Second

// job is work on behalf of one account.
type job struct {
	grantd  *client.Client
	account string
	api     *http.Client // of the provider, with the account's token
	say     func(format string, args ...any)
}

// newJob returns a job that reaches the provider by base; nil: the network.
func newJob(c *client.Client, account string, base http.RoundTripper, say func(string, ...any)) *job {
	source := c.TokenSource(account, client.SourceOptions{})
	return &job{c, account, &http.Client{Transport: &client.Transport{Source: source, Base: base}, Timeout: fetchTime}, say}
}

// run works through all URLs. A URL that the account was not ready for is tried
// again when it is.
func (j *job) run(ctx context.Context, urls []string) error {
	for i := 0; i < len(urls); {
		err := j.fetch(ctx, urls[i])
		switch {
		case client.CodeOf(err) == wire.CodeNeedsReauth:
			j.say("%s needs its owner; waiting before %s", j.account, urls[i])
			if err := j.pause(ctx); err != nil {
				return err
			}
			j.say("%s is back", j.account)
		case err != nil:
			return err
		default:
			i++
		}
	}
	return nil
}

// fetch is the work.
func (j *job) fetch(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := j.api.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	j.say("%s: %s", url, res.Status)
	return nil
}

// errGoOn ends the waiting.
var errGoOn = errors.New("go on")

// pause returns when the account may be active again. The position comes before
// the look at the account: what happens in between is in the stream.
func (j *job) pause(ctx context.Context) error {
	now, err := j.grantd.Events(ctx, client.EventFilter{Account: j.account}, 0, 0)
	if err != nil {
		return err
	}
	a, err := j.grantd.Account(ctx, j.account)
	if err != nil || a.State == wire.StateActive {
		return err
	}
	filter := client.EventFilter{
		After: now.Next, Account: j.account,
		Types: []string{"integrated_account:reactivated", "integrated_account:disconnected"},
	}
	err = j.grantd.Watch(ctx, filter, func(e client.Event) error {
		if e.Type == "integrated_account:disconnected" {
			return fmt.Errorf("%s was disconnected; there is nothing to wait for", j.account)
		}
		return errGoOn // or events were lost: then a look at the account tells
	})
	if errors.Is(err, errGoOn) {
		return nil
	}
	return err
}
