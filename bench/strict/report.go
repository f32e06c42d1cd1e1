package strict

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// counters count exactly, whatever the record forgets.
type counters struct {
	requests, token, refreshes, codes, machine, revoke, introspect, api atomic.Uint64

	granted, refused, rotated, grace, replays, afterLoss, afterTerminal atomic.Uint64

	rateLimited, faulted, lost, overlapping atomic.Uint64
}

// all lists every counter, for clear.
func (c *counters) all() []*atomic.Uint64 {
	return []*atomic.Uint64{
		&c.requests, &c.token, &c.refreshes, &c.codes, &c.machine, &c.revoke, &c.introspect, &c.api,
		&c.granted, &c.refused, &c.rotated, &c.grace, &c.replays, &c.afterLoss, &c.afterTerminal,
		&c.rateLimited, &c.faulted, &c.lost, &c.overlapping,
	}
}

func (c *counters) clear() {
	for _, n := range c.all() {
		n.Store(0)
	}
}

func countIf(n *atomic.Uint64, is bool) {
	if is {
		n.Add(1)
	}
}

func (c *counters) arrived(r *Request) {
	c.requests.Add(1)
	countIf(&c.token, r.Endpoint == EndpointToken)
	countIf(&c.revoke, r.Endpoint == EndpointRevoke)
	countIf(&c.introspect, r.Endpoint == EndpointIntrospect)
	countIf(&c.api, r.Endpoint == EndpointAPI)
	if r.Endpoint == EndpointToken {
		countIf(&c.refreshes, r.GrantType == "refresh_token")
		countIf(&c.codes, r.GrantType == "authorization_code")
		countIf(&c.machine, r.GrantType == "client_credentials")
	}
	countIf(&c.overlapping, r.InFlight > 1)
	countIf(&c.afterTerminal, r.AfterTerminal)
}

func (c *counters) settled(r *Request) {
	if r.Endpoint == EndpointToken {
		granted := r.Outcome == OutcomeGranted || r.Outcome == OutcomeGrace
		countIf(&c.granted, granted)
		countIf(&c.refused, !granted)
	}
	countIf(&c.rotated, r.Rotated)
	countIf(&c.grace, r.Outcome == OutcomeGrace)
	countIf(&c.replays, r.Replay)
	countIf(&c.afterLoss, r.AfterLoss)
	countIf(&c.rateLimited, r.Outcome == OutcomeRateLimited)
	countIf(&c.faulted, len(r.Faults) > 0)
	countIf(&c.lost, r.Lost)
}

// Report is what the provider counted since it started or was reset.
type Report struct {
	Requests          uint64 `json:"requests"` // to all end points
	TokenRequests     uint64 `json:"token_requests"`
	Refreshes         uint64 `json:"refreshes"` // requests with grant_type=refresh_token
	CodeExchanges     uint64 `json:"code_exchanges"`
	ClientCredentials uint64 `json:"client_credentials"`
	Revocations       uint64 `json:"revocations"`
	Introspections    uint64 `json:"introspections"`
	APIRequests       uint64 `json:"api_requests"`

	Granted     uint64 `json:"granted"` // token requests that brought tokens
	Refused     uint64 `json:"refused"` // token requests that did not
	Rotated     uint64 `json:"rotated"` // refresh tokens replaced
	GraceReuses uint64 `json:"grace_reuses"`
	RateLimited uint64 `json:"rate_limited"`
	Faulted     uint64 `json:"faulted"` // requests that at least one fault struck
	Lost        uint64 `json:"lost"`    // answers that did not reach the client

	// Replays are refresh tokens that came again after they had been used up;
	// ReplaysAfterLoss are those of them where the answer to the first use
	// never reached the client.
	Replays          uint64 `json:"replays"`
	ReplaysAfterLoss uint64 `json:"replays_after_loss"`
	// Overlapping refresh requests came while another for the same grant was in flight.
	Overlapping uint64 `json:"overlapping"`
	// AfterTerminal are refresh requests for a grant whose client had been told that it is dead.
	AfterTerminal uint64 `json:"after_terminal"`

	Grants    int    `json:"grants"` // that exist, dead ones too
	Recorded  uint64 `json:"recorded"`
	Forgotten uint64 `json:"forgotten"`
}

// Report returns the counters. It is cheap whatever the number of grants.
func (p *Provider) Report() Report {
	c := &p.counters
	kept, forgotten := p.record.sizes()
	return Report{
		Requests:          c.requests.Load(),
		TokenRequests:     c.token.Load(),
		Refreshes:         c.refreshes.Load(),
		CodeExchanges:     c.codes.Load(),
		ClientCredentials: c.machine.Load(),
		Revocations:       c.revoke.Load(),
		Introspections:    c.introspect.Load(),
		APIRequests:       c.api.Load(),
		Granted:           c.granted.Load(),
		Refused:           c.refused.Load(),
		Rotated:           c.rotated.Load(),
		GraceReuses:       c.grace.Load(),
		RateLimited:       c.rateLimited.Load(),
		Faulted:           c.faulted.Load(),
		Lost:              c.lost.Load(),
		Replays:           c.replays.Load(),
		ReplaysAfterLoss:  c.afterLoss.Load(),
		Overlapping:       c.overlapping.Load(),
		AfterTerminal:     c.afterTerminal.Load(),
		Grants:            int(p.grants.count.Load()),
		Recorded:          kept,
		Forgotten:         forgotten,
	}
}

// Record returns the requests that are kept, oldest first.
func (p *Provider) Record() []Request { return p.record.list(0, 0) }

// GrantStatus is what the provider knows of one grant.
type GrantStatus struct {
	ID     string `json:"id"`
	Client string `json:"client"`
	User   string `json:"user"`
	Scope  string `json:"scope,omitempty"`
	Alive  bool   `json:"alive"`
	// Sequence is the place in its line of the refresh token that is good.
	Sequence       uint64    `json:"sequence"`
	AccessSequence uint64    `json:"access_sequence"`
	RefreshExpires time.Time `json:"refresh_expires"`
	// AnswerLost: the newest refresh token never reached the client.
	AnswerLost bool `json:"answer_lost,omitempty"`

	Requests         int `json:"requests"` // refresh requests
	Rotations        int `json:"rotations"`
	Replays          int `json:"replays"`
	ReplaysAfterLoss int `json:"replays_after_loss"`
	AfterTerminal    int `json:"after_terminal"`
	InFlight         int `json:"in_flight"`
	MaxInFlight      int `json:"max_in_flight"`
}

func (g *grant) status(number uint64) GrantStatus {
	return GrantStatus{
		ID: grantName(number), Client: g.client, User: g.user, Scope: g.scope, Alive: !g.dead && g.code == nil,
		Sequence: g.refreshSeq, AccessSequence: g.accessSeq, RefreshExpires: g.refreshExpires, AnswerLost: g.lastAnswer == answerLost,
		Requests: int(g.requests), Rotations: int(g.rotations), Replays: int(g.replays), ReplaysAfterLoss: int(g.replaysAfterLoss),
		AfterTerminal: int(g.afterTerminal), InFlight: int(g.inFlight), MaxInFlight: int(g.maxInFlight),
	}
}

// Grant returns what is known of a grant. Errors: [ErrNoGrant].
func (p *Provider) Grant(id string) (GrantStatus, error) {
	var s GrantStatus
	number, err := grantNumber(id)
	if err != nil {
		return s, err
	}
	return s, p.withGrant(id, func(g *grant) { s = g.status(number) })
}

// Violation is a rule that a client broke with a grant.
type Violation struct {
	Rule  string `json:"rule"` // I1, I3 or I4, see the package's comment
	Grant string `json:"grant"`
	What  string `json:"what"`
}

// maxViolations bounds what [Provider.Judge] returns.
const maxViolations = 1000

// Judge looks at all grants and returns the rules that were broken, by grant,
// the first thousand. Nothing means that the clients kept the rules:
//
//   - I1: never two refresh requests in flight for one grant;
//   - I3: no refresh token presented again after it was used up, except where
//     the answer to its use did not reach the client;
//   - I4: no refresh request after the client was told invalid_grant.
//
// An answer counts as told when it was handed to the network while the client
// was connected; a client that is killed in the moment after that can send a
// request that breaks I3 or I4 in the judge's eyes only.
func (p *Provider) Judge() []Violation {
	type found struct {
		number uint64
		Violation
	}
	var all []found
	p.grants.each(func(number uint64, g *grant) {
		add := func(rule, what string) {
			if len(all) < maxViolations {
				all = append(all, found{number, Violation{rule, grantName(number), what}})
			}
		}
		if g.maxInFlight > 1 {
			add("I1", fmt.Sprintf("%d refresh requests were in flight at once", g.maxInFlight))
		}
		if n := g.replays - g.replaysAfterLoss; n > 0 {
			add("I3", fmt.Sprintf("%d times a refresh token came again after it was used up", n))
		}
		if g.afterTerminal > 0 {
			add("I4", fmt.Sprintf("%d refresh requests came after the grant's death was told", g.afterTerminal))
		}
	})
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.Rule, b.Rule))
	})
	out := make([]Violation, len(all))
	for i, f := range all {
		out[i] = f.Violation
	}
	return out
}
