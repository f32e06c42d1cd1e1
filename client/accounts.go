package client

import (
	"context"
	"iter"
	"net/url"
	"time"

	"github.com/grantd/grantd/wire"
)

// AccountFilter asks for a page of accounts. Fields that are empty do not limit.
type AccountFilter struct {
	Tenant      string
	State       string
	Integration string
	Cursor      string // of the page before; empty: the first page
	Limit       int    // 1 to 1000; 0: the server's default
}

// CreateAccount makes an account from credentials, or brings new ones to an
// account that needs them.
func (c *Client) CreateAccount(ctx context.Context, n wire.NewAccount) (wire.Account, error) {
	return call[wire.Account](ctx, c, "POST", "/v1/accounts", nil, n)
}

// CreateLink makes a link through which a person connects an account, or
// authorises one again. It is told this one time.
func (c *Client) CreateLink(ctx context.Context, n wire.NewLink) (wire.Link, error) {
	return call[wire.Link](ctx, c, "POST", "/v1/links", nil, n)
}

// Account returns the account named "tenant/id".
func (c *Client) Account(ctx context.Context, account string) (wire.Account, error) {
	path, err := accountPath(account, "")
	if err != nil {
		return wire.Account{}, err
	}
	return call[wire.Account](ctx, c, "GET", path, nil, nil)
}

// Accounts returns a page of accounts, in order of tenant and id.
func (c *Client) Accounts(ctx context.Context, f AccountFilter) (wire.AccountList, error) {
	q := pageQuery(f.Cursor, f.Limit)
	q.Set("tenant", f.Tenant)
	q.Set("state", f.State)
	q.Set("integration", f.Integration)
	return call[wire.AccountList](ctx, c, "GET", "/v1/accounts", q, nil)
}

// AllAccounts goes through all pages. After an error it ends.
func (c *Client) AllAccounts(ctx context.Context, f AccountFilter) iter.Seq2[wire.Account, error] {
	return pages(f.Cursor, func(cursor string) ([]wire.Account, string, error) {
		f.Cursor = cursor
		list, err := c.Accounts(ctx, f)
		return list.Accounts, list.NextCursor, err
	})
}

// Token returns the account's current token, one that serves for at least
// minTTL where the provider's lifetimes allow it. See [Client.TokenSource] for
// one that remembers it.
func (c *Client) Token(ctx context.Context, account string, minTTL time.Duration) (wire.Token, error) {
	path, err := accountPath(account, "/token")
	if err != nil {
		return wire.Token{}, err
	}
	var q url.Values
	if minTTL > 0 {
		q = url.Values{"min_ttl": {minTTL.String()}}
	}
	return call[wire.Token](ctx, c, "GET", path, q, nil)
}

// Refresh gets the account a new token. With stale set, the generation of a
// token that the provider refused, it does so only if that is still the newest:
// any number of callers with the same refused token cause one refresh.
func (c *Client) Refresh(ctx context.Context, account string, stale *uint64) (wire.Account, error) {
	path, err := accountPath(account, "/refresh")
	if err != nil {
		return wire.Account{}, err
	}
	return call[wire.Account](ctx, c, "POST", path, nil, wire.RefreshRequest{StaleGeneration: stale})
}

// Disconnect destroys the tokens. The grant is revoked at the provider in the
// background; the history tells what became of it.
func (c *Client) Disconnect(ctx context.Context, account string) (wire.Account, error) {
	path, err := accountPath(account, "")
	if err != nil {
		return wire.Account{}, err
	}
	return call[wire.Account](ctx, c, "DELETE", path, nil, nil)
}

// History returns a page of what happened to the account, newest first.
func (c *Client) History(ctx context.Context, account, cursor string, limit int) (wire.History, error) {
	path, err := accountPath(account, "/history")
	if err != nil {
		return wire.History{}, err
	}
	return call[wire.History](ctx, c, "GET", path, pageQuery(cursor, limit), nil)
}

// pages goes through the pages of a list.
func pages[T any](cursor string, get func(cursor string) (items []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			items, next, err := get(cursor)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" || next == cursor {
				return
			}
			cursor = next
		}
	}
}
