package client_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

// A program that calls a provider's API on behalf of an account: the transport
// puts the token in and deals with one that is refused.
func ExampleTransport() {
	c, err := client.New("http://127.0.0.1:8420", wire.Secret(os.Getenv("GRANTD_KEY")), client.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	source := c.TokenSource("acme/github-1", client.SourceOptions{})
	api := &http.Client{Transport: &client.Transport{Source: source}, Timeout: 30 * time.Second}
	res, err := api.Get("https://api.github.com/user")
	if client.CodeOf(err) == wire.CodeNeedsReauth {
		fmt.Println("ask the customer to connect again")
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	fmt.Println(res.Status)
}

// Going through all accounts that need their owner.
func ExampleClient_AllAccounts() {
	c, err := client.New("http://127.0.0.1:8420", wire.Secret(os.Getenv("GRANTD_KEY")), client.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	filter := client.AccountFilter{State: wire.StateNeedsReauth}
	for account, err := range c.AllAccounts(context.Background(), filter) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(account.Name(), account.Reason)
	}
}
