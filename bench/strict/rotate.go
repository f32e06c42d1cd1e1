package strict

import "time"

// use is one presentation of a refresh token.
type use struct {
	seq    uint64
	client *registration
	scopes []string // narrowed to; nil: as granted
	now    time.Time
	ttl    time.Duration // of the refresh token that comes of it
	keep   bool          // a fault wants the refresh token kept and none answered
}

// issued is what a grant gave away.
type issued struct {
	refreshSeq, accessSeq uint64
	user, scope           string
	rotated               bool
}

// refresh decides about one presentation of a refresh token, in the order in
// which oidc-provider decides: whose it is, whether it is too old, whether the
// grant lives, whether the scopes fit, whether it was used. It is the only
// place that rotates, and works under the shard's lock, so of two at once
// exactly one wins.
func (g *grant) refresh(u use) (issued, Outcome) {
	used := u.seq < g.refreshSeq
	switch {
	case g.code != nil || u.seq > g.refreshSeq:
		return issued{}, OutcomeUnknown
	case g.client != u.client.ID:
		return issued{}, OutcomeWrongClient
	case g.dead:
		return issued{}, OutcomeDead
	case used && u.client.Rotation == RotationGrace && u.seq == g.refreshSeq-1 && u.now.Sub(g.rotatedAt) <= u.client.Grace:
		return g.issue(u, false), OutcomeGrace
	case used:
		g.dead = true
		return issued{}, OutcomeReplay
	case !u.now.Before(g.refreshExpires):
		return issued{}, OutcomeExpired
	case !scopesWithin(u.scopes, g.scope):
		return issued{}, OutcomeBadScope
	}
	return g.issue(u, u.client.Rotation != RotationStatic && !u.keep), OutcomeGranted
}

// issue takes the next access token, and the next refresh token if rotate.
func (g *grant) issue(u use, rotate bool) issued {
	g.accessSeq++
	if u.client.OneAccessToken {
		g.accessFloor = g.accessSeq
	}
	if rotate {
		g.refreshSeq++
		g.rotations++
		g.rotatedAt = u.now
		g.refreshExpires = u.now.Add(u.ttl)
		g.lastAnswer = answerPending
	}
	scope := g.scope
	if len(u.scopes) > 0 {
		scope = joinScopes(u.scopes)
	}
	return issued{refreshSeq: g.refreshSeq, accessSeq: g.accessSeq, user: g.user, scope: scope, rotated: rotate}
}

// redeem decides about one presentation of the grant's authorization code. A
// second one revokes the grant (RFC 6749 section 4.1.2).
func (g *grant) redeem(u use, redirectURI, verifier string) (issued, Outcome) {
	switch {
	case g.client != u.client.ID:
		return issued{}, OutcomeWrongClient
	case g.dead:
		return issued{}, OutcomeDead
	case g.code == nil:
		g.dead = true
		return issued{}, OutcomeReplay
	case !u.now.Before(g.code.expires):
		return issued{}, OutcomeExpired
	case g.code.redirectURI != redirectURI || !challengeMatches(g.code.challenge, verifier):
		return issued{}, OutcomeBadVerifier
	}
	g.code = nil
	return g.first(u), OutcomeGranted
}

// first issues the first tokens of a grant.
func (g *grant) first(u use) issued {
	g.refreshSeq, g.accessSeq = 1, 1
	g.refreshExpires = u.now.Add(u.ttl)
	return issued{refreshSeq: 1, accessSeq: 1, user: g.user, scope: g.scope}
}

// arrived is what the judge notes when a refresh request comes in.
type arrived struct {
	inFlight      int
	afterTerminal bool
}

// arrive counts a refresh request that came in. Whether it is a replay is only
// known when it is decided, by [grant.refresh].
func (g *grant) arrive() arrived {
	g.requests++
	g.inFlight++
	g.maxInFlight = max(g.maxInFlight, g.inFlight)
	if g.toldDead {
		g.afterTerminal++
	}
	return arrived{inFlight: int(g.inFlight), afterTerminal: g.toldDead}
}

// replayed counts a refresh token that came a second time, and says whether
// the client could not know better: either the answer to its first use, which
// rotated it, never reached the client, or (abandoned) this request is the
// first one, looked at so late that the client had given it up and tried again.
func (g *grant) replayed(seq uint64, abandoned bool) (afterLoss bool) {
	g.replays++
	if abandoned || seq == g.refreshSeq-1 && g.lastAnswer == answerLost {
		g.replaysAfterLoss++
		return true
	}
	return false
}
