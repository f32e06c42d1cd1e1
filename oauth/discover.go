package oauth

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/grantd/grantd/credential"
)

const (
	// maxIssuers bounds of how many issuers metadata are kept.
	maxIssuers = 1024
	// maxStale is for how long metadata are used after their time while the issuer
	// cannot be asked, or answers nonsense.
	maxStale = 7 * 24 * time.Hour
	// askAgain is when an issuer is asked again that could not be asked.
	askAgain = 30 * time.Second
	// discoveryTimeout bounds the requests for one issuer's metadata.
	discoveryTimeout = 10 * time.Second
)

// directory keeps the metadata of issuers. It is safe for concurrent use.
type directory struct {
	flight singleflight.Group
	mu     sync.Mutex
	of     map[string]*listing
}

// listing is what is known of one issuer. It never changes.
type listing struct {
	metadata *Metadata           // nil: it was never told
	failure  *credential.Failure // of the last attempt; nil: it did not fail
	fetched  time.Time           // when metadata came
	ask      time.Time           // when to ask again
}

// answer is what the listing says at a time: metadata, be they stale, or why
// there are none. Neither: ask.
func (l *listing) answer(now time.Time) (*Metadata, *credential.Failure) {
	switch {
	case l == nil || !now.Before(l.ask):
		return nil, nil
	case l.metadata != nil && now.Sub(l.fetched) < maxFresh+maxStale:
		return l.metadata, nil
	}
	return nil, l.failure
}

func (d *directory) get(issuer string) *listing {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.of[issuer]
}

// put keeps a listing; where there are too many, that goes which would have to
// be asked for first.
func (d *directory) put(issuer string, l *listing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = make(map[string]*listing)
	}
	if _, known := d.of[issuer]; !known && len(d.of) >= maxIssuers {
		oldest := ""
		for name, other := range d.of {
			if oldest == "" || other.ask.Before(d.of[oldest].ask) {
				oldest = name
			}
		}
		delete(d.of, oldest)
	}
	d.of[issuer] = l
}

// Discover returns the metadata of an authorization server: kept for as long as
// the server allows, within five minutes and a day, and then asked for again.
// While that fails the ones of before are used, for a week. Concurrent calls for
// one issuer ask once. What is returned must not be changed. The error is always
// a *[credential.Failure].
func (c *Client) Discover(ctx context.Context, issuer string) (*Metadata, error) {
	m, failure := c.discover(ctx, issuer)
	if failure != nil {
		return nil, failure
	}
	return m, nil
}

// Doubt has the issuer asked anew the next time, whatever its metadata said of how
// long they are good: an end point of theirs was refused. Where it cannot be
// asked, they are used on.
func (c *Client) Doubt(issuer string) {
	c.directory.mu.Lock()
	defer c.directory.mu.Unlock()
	if l := c.directory.of[issuer]; l != nil {
		doubted := *l
		doubted.ask = time.Time{}
		c.directory.of[issuer] = &doubted
	}
}

func (c *Client) discover(ctx context.Context, issuer string) (*Metadata, *credential.Failure) {
	if m, failure := c.directory.get(issuer).answer(time.Now()); m != nil || failure != nil {
		return m, failure
	}
	done := c.directory.flight.DoChan(issuer, func() (any, error) {
		// It serves all who wait, whoever of them gives up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(c.timeout, discoveryTimeout))
		defer cancel()
		l := c.ask(ctx, issuer)
		c.directory.put(issuer, l)
		return l, nil
	})
	select {
	case r := <-done:
		l, _ := r.Val.(*listing)
		if l != nil && l.metadata != nil {
			return l.metadata, nil
		}
		if l != nil && l.failure != nil {
			return nil, l.failure
		}
		return nil, &credential.Failure{Class: credential.Transient, Code: "no_metadata", Detail: "the issuer could not be asked for its metadata"}
	case <-ctx.Done():
		return nil, &credential.Failure{Class: credential.Transient, Code: codeTimeout, Detail: "the time ran out while the issuer was asked for its metadata"}
	}
}

// ask fetches the metadata; where that fails, what was known stays.
func (c *Client) ask(ctx context.Context, issuer string) *listing {
	m, fresh, failure := c.fetchMetadata(ctx, issuer)
	now := time.Now()
	if failure == nil {
		return &listing{metadata: m, fetched: now, ask: now.Add(fresh)}
	}
	l := &listing{failure: failure, ask: now.Add(askAgain)}
	if old := c.directory.get(issuer); old != nil && old.metadata != nil && now.Sub(old.fetched) < maxFresh+maxStale {
		l.metadata, l.fetched = old.metadata, old.fetched
	}
	return l
}

// Complete returns the registration with the end points that its provider's
// issuer tells; one that has a token end point is returned as it is. All calls
// of a [Client] do it themselves; it is for who wants to see the end points. The
// error is always a *[credential.Failure].
func (c *Client) Complete(ctx context.Context, reg Registration) (Registration, error) {
	if failure := c.complete(ctx, &reg); failure != nil {
		return Registration{}, failure
	}
	return reg, nil
}

func (c *Client) complete(ctx context.Context, reg *Registration) *credential.Failure {
	if reg.Provider.TokenURL != "" || reg.Provider.Issuer == "" {
		return nil
	}
	issuer, err := reg.Provider.Fill(reg.Provider.Issuer)
	if err != nil {
		return misconfigured("bad_issuer", "issuer of the integration has a variable without a value; set url_variables")
	}
	m, failure := c.discover(ctx, issuer)
	if failure != nil {
		return failure
	}
	reg.Provider = m.fill(reg.Provider)
	return nil
}
