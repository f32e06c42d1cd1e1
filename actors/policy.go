package actors

import (
	"fmt"
	"time"

	"github.com/grantd/grantd/credential"
)

// Policy holds the times and bounds of refreshing. The zero value of a field
// means its default, which [Policy.WithDefaults] documents by setting it.
type Policy struct {
	// MarginMin and MarginMax bound how long before expiry a token is
	// refreshed; the moment is drawn between them for each token. For tokens
	// that live less than ShortLifetime both shrink in proportion.
	MarginMin, MarginMax, ShortLifetime time.Duration
	// AssumedLifetime is taken for tokens whose lifetime nobody tells.
	AssumedLifetime time.Duration
	// CallTimeout ends a request to a provider. ClaimLifetime, counted from
	// before the claim is committed, is when it has surely ended.
	CallTimeout, ClaimLifetime time.Duration
	// CommitTimeout ends the wait for a write to be replicated.
	CommitTimeout time.Duration
	// BackoffMin and BackoffMax bound the wait after a failure.
	BackoffMin, BackoffMax time.Duration
	// MaxRetryAfter bounds what a provider may ask for by Retry-After.
	MaxRetryAfter time.Duration
	// Refusals is how many unrecognised refusals in a row end in needs_reauth.
	Refusals int
	// UncertainHold bounds how long an interrupted refresh of a rotating token
	// waits for its answer to turn up while the old access token still serves.
	UncertainHold time.Duration
	// BrokenProbe is how often one refresh is tried for an integration that is
	// marked misconfigured.
	BrokenProbe time.Duration
	// BreakerFailures consecutive failures of a provider open its circuit, for
	// BreakerMin at first and at most BreakerMax.
	BreakerFailures        int
	BreakerMin, BreakerMax time.Duration
	// Concurrency bounds the requests in flight to one integration.
	Concurrency int
	// ShardConcurrency bounds how many scheduled refreshes of one shard are
	// under way at once.
	ShardConcurrency int
	// MaxWaiting bounds the requests of callers that are inside actors.
	MaxWaiting int
	// MaxActors is how many actors may stay without work; beyond it idle ones
	// make room at once. One takes about 3 KB.
	MaxActors int
	// PassivateAfter is how long an actor stays without work.
	PassivateAfter time.Duration
	// RefreshTokenWarning is how long before the end of a refresh token's
	// lifetime its history says so.
	RefreshTokenWarning time.Duration
}

// WithDefaults returns the policy with the default in place of every zero field.
func (p Policy) WithDefaults() Policy {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	count := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	set(&p.MarginMin, 60*time.Second)
	set(&p.MarginMax, 180*time.Second)
	set(&p.ShortLifetime, 10*time.Minute)
	set(&p.AssumedLifetime, time.Hour)
	set(&p.CallTimeout, 10*time.Second)
	set(&p.CommitTimeout, 5*time.Second)
	set(&p.ClaimLifetime, p.CallTimeout+p.CommitTimeout)
	set(&p.BackoffMin, time.Second)
	set(&p.BackoffMax, 5*time.Minute)
	set(&p.MaxRetryAfter, time.Hour)
	count(&p.Refusals, 4)
	set(&p.UncertainHold, 10*time.Minute)
	set(&p.BrokenProbe, time.Minute)
	count(&p.BreakerFailures, 10)
	set(&p.BreakerMin, time.Second)
	set(&p.BreakerMax, time.Minute)
	count(&p.Concurrency, 256)
	count(&p.ShardConcurrency, 64)
	count(&p.MaxWaiting, 65536)
	count(&p.MaxActors, 20_000)
	set(&p.PassivateAfter, time.Minute)
	set(&p.RefreshTokenWarning, 7*24*time.Hour)
	return p
}

// Validate says what cannot work.
func (p Policy) Validate() error {
	p = p.WithDefaults()
	switch {
	case p.MarginMin < 0 || p.MarginMax < p.MarginMin:
		return fmt.Errorf("refresh margin from %v to %v: the first must not be negative nor larger than the second", p.MarginMin, p.MarginMax)
	case p.ShortLifetime < 2*p.MarginMax:
		return fmt.Errorf("short lifetime %v: must be at least twice the largest refresh margin (%v), or short-lived tokens would be refreshed all the time", p.ShortLifetime, p.MarginMax)
	case p.CallTimeout < 0 || p.ClaimLifetime < p.CallTimeout:
		return fmt.Errorf("claim lifetime %v: must not be shorter than the call timeout %v", p.ClaimLifetime, p.CallTimeout)
	case p.BackoffMin < 0 || p.BackoffMax < p.BackoffMin:
		return fmt.Errorf("back-off from %v to %v: the first must not be negative nor larger than the second", p.BackoffMin, p.BackoffMax)
	}
	return nil
}

// margin is how long before expiry a token of this lifetime is refreshed, for
// a draw r of [0,1).
func (p Policy) margin(lifetime time.Duration, r float64) time.Duration {
	m := float64(p.MarginMin) + r*float64(p.MarginMax-p.MarginMin)
	if lifetime < p.ShortLifetime {
		m *= float64(max(lifetime, 0)) / float64(p.ShortLifetime)
	}
	return time.Duration(m)
}

// refreshAt is when a token that was issued and expires at these times is
// refreshed, for a draw r of [0,1). It is never before issued.
func (p Policy) refreshAt(issued, expires time.Time, r float64) time.Time {
	lifetime := expires.Sub(issued)
	if lifetime <= 0 {
		return issued
	}
	return expires.Add(-p.margin(lifetime, r))
}

// backoff is how long to wait after the nth failure in a row (n from 1), for a
// draw r of [0,1): exponential, the upper half of each step drawn.
func (p Policy) backoff(n int, r float64) time.Duration {
	d := p.BackoffMin
	for i := 1; i < n && d < p.BackoffMax; i++ {
		d *= 2
	}
	d = min(d, p.BackoffMax)
	return d/2 + time.Duration(r*float64(d/2))
}

// refusalBackoff spreads the few retries of an unrecognised refusal over
// minutes: by default about 30 s, 2 min, 5 min, bounded by BackoffMax.
func (p Policy) refusalBackoff(n int, r float64) time.Duration {
	d := 30 * p.BackoffMin
	for i := 1; i < n && d < p.BackoffMax; i++ {
		d *= 4
	}
	d = min(d, p.BackoffMax)
	return d/2 + time.Duration(r*float64(d/2))
}

// serves reports whether the account's access token can be handed to a caller
// who wants it to live for minTTL more. What a caller may want is bounded by
// half of the token's whole life, so that nobody can ask for more than the
// provider gives and have every call refresh.
func serves(a *credential.Account, minTTL time.Duration, now time.Time) bool {
	if len(a.AccessToken) == 0 {
		return false
	}
	if a.ExpiresAt.IsZero() {
		return true
	}
	if !a.LastRefreshAt.IsZero() {
		minTTL = min(minTTL, a.ExpiresAt.Sub(a.LastRefreshAt)/2)
	}
	return a.ExpiresAt.Sub(now) > max(minTTL, 0)
}

// expiry is when a new access token expires: as the provider told, else as it
// was seen before, else by the catalogue, else as assumed.
func (p Policy) expiry(told, learned, catalogue time.Duration, now time.Time) (at time.Time, assumed bool) {
	switch {
	case told > 0:
		return now.Add(told), false
	case learned > 0:
		return now.Add(learned), true
	case catalogue > 0:
		return now.Add(catalogue), true
	default:
		return now.Add(p.AssumedLifetime), true
	}
}

// keepAlive brings a refresh forward where the refresh token would die of
// idleness before it: at 80 % of the idle time that the provider allows.
func keepAlive(at, now time.Time, idle time.Duration) time.Time {
	if idle <= 0 {
		return at
	}
	if latest := now.Add(idle * 4 / 5); latest.Before(at) || at.IsZero() {
		return latest
	}
	return at
}
