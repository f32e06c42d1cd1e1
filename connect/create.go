package connect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

// NewLink asks for a link.
type NewLink struct {
	Ref         credential.Ref // the account to make, or to authorise anew
	Integration string
	// Scopes to ask for besides those that the account has asked for; nil: those
	// of the integration.
	Scopes    []string
	Variables map[string]string
	ReturnURL string
	TTL       time.Duration // 0: [DefaultTTL]
	// AllowOtherIdentity lets another user of the provider take the account over.
	AllowOtherIdentity bool
}

// Created is a link that was made.
type Created struct {
	URL       credential.Secret
	ExpiresAt time.Time
}

// Create makes a link and returns its URL, which is told once and stored nowhere.
// Errors: credential.ErrInvalid with the reason, credential.ErrNotFound for an
// integration that is not there, credential.ErrExists where the account is of
// another integration or holds something else than an OAuth grant,
// credential.ErrOverloaded where there are too many links.
func (c *Connect) Create(ctx context.Context, n NewLink) (Created, error) {
	if c.insecure != "" {
		return Created{}, invalid(c.insecure)
	}
	in, ok := c.integrations.ConnectIntegration(n.Integration)
	if !ok {
		return Created{}, credential.ErrNotFound
	}
	r, err := c.newRecord(ctx, n, in, time.Now().UTC())
	if err != nil {
		return Created{}, err
	}
	if err := c.room(); err != nil {
		return Created{}, err
	}
	var secret string
	err = again(ctx, func() error {
		secret = newSecret() // a new one each time: nobody knows of what was not confirmed
		return c.store(ctx, recordOf(secret), 0, r)
	})
	if err != nil {
		return Created{}, err
	}
	return Created{URL: credential.NewSecret(c.public + "/connect/" + secret), ExpiresAt: r.ExpiresAt}, nil
}

func (c *Connect) newRecord(ctx context.Context, n NewLink, in Integration, now time.Time) (*record, error) {
	if n.TTL == 0 {
		n.TTL = DefaultTTL
	}
	switch {
	case n.TTL < MinTTL || n.TTL > MaxTTL:
		return nil, invalid(fmt.Sprintf("ttl must be from %v to %v", MinTTL, MaxTTL))
	case in.Facts.AuthorizationURL == "" && in.Issuer == "":
		return nil, invalid("authorization_url is missing: the catalogue knows none for the provider of integration " + in.ID + ", so the integration must give it")
	}
	if err := in.Facts.CheckVariables(n.Variables); err != nil {
		return nil, err
	}
	back, err := returnURL(n.ReturnURL, in.ReturnOrigins)
	if err != nil {
		return nil, err
	}
	scopes := n.Scopes
	if scopes == nil {
		scopes = in.Scopes
	}
	if len(scopes) == 0 {
		scopes = in.Facts.DefaultScopes
	}
	old, err := c.accounts.Account(ctx, n.Ref)
	switch {
	case errors.Is(err, credential.ErrNotFound):
	case err != nil:
		return nil, err
	case old.Integration != n.Integration || old.Kind != credential.KindOAuth2:
		return nil, &credential.Unavailable{Err: credential.ErrExists, Reason: "it is of another integration, or holds something else than an OAuth grant"}
	default:
		scopes = union(scopes, old)
	}
	return &record{
		Tenant: n.Ref.Tenant, Account: n.Ref.ID, Integration: n.Integration, Scopes: scopes, Variables: n.Variables,
		ReturnURL: back, AllowOtherIdentity: n.AllowOtherIdentity,
		CreatedAt: now, ExpiresAt: now.Add(n.TTL), KeepUntil: now.Add(n.TTL + keepAfter),
	}, nil
}

// union adds the scopes that the account was asked for, or else has: whoever
// authorises anew must not lose any.
func union(scopes []string, old credential.Account) []string {
	had := old.RequestedScopes
	if had == nil {
		had = old.Scopes
	}
	all := slices.Clone(scopes)
	for _, s := range had {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

const (
	// countAgain is how old a count of the links may be.
	countAgain = 10 * time.Second
)

// room refuses a link where there are too many. Links that other nodes make
// within countAgain may exceed the limit.
func (c *Connect) room() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.countedAt.IsZero() || now.Sub(c.countedAt) > countAgain {
		n := 0
		if err := c.kv.Scan(prefix, func(string, []byte, uint64) error { n++; return nil }); err != nil {
			return err
		}
		c.counted, c.countedAt = n, now
	}
	if c.counted >= c.maxLinks {
		return &credential.Unavailable{
			Err: credential.ErrOverloaded, Reason: fmt.Sprintf("there are %d links, the most that are kept; they go an hour after their ttl is over", c.maxLinks), RetryAfter: time.Minute,
		}
	}
	c.counted++
	return nil
}

// describe returns what a scope allows, in words.
func (in *Integration) describe(scope string) string {
	return strings.TrimSpace(in.ScopeDescriptions[scope])
}
