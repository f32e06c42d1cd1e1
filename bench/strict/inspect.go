package strict

import (
	"time"

	"github.com/grantd/grantd/credential"
)

// inspected is what the provider knows of a token.
type inspected struct {
	live                bool
	user, client, scope string
	expires             time.Time
}

// inspect says whether a token is good now, and whose it is.
func (p *Provider) inspect(t token, genuine bool) inspected {
	if !genuine {
		return inspected{}
	}
	now := time.Now()
	var found inspected
	switch t.kind {
	case kindMachine:
		c := p.clients.byNumber(t.owner)
		found = inspected{live: c != nil && now.Before(t.expires) && c.machine.live(t), expires: t.expires}
		if c != nil {
			found.client = c.ID
		}
	case kindAccess:
		p.grants.with(t.owner, func(g *grant) {
			live := !g.dead && now.Before(t.expires) && t.seq >= g.accessFloor
			found = inspected{live, g.user, g.client, g.scope, t.expires}
		})
	case kindRefresh:
		p.grants.with(t.owner, func(g *grant) {
			live := !g.dead && now.Before(g.refreshExpires) && t.seq == g.refreshSeq
			found = inspected{live, g.user, g.client, g.scope, g.refreshExpires}
		})
	}
	return found
}

// TokenLive reports whether an access or refresh token would be accepted now.
func (p *Provider) TokenLive(t credential.Secret) bool {
	return p.inspect(p.mint.read(t.Reveal())).live
}

// GrantOf returns the name of the grant that an access or refresh token
// belongs to, and the token's place in its line. ok is false for a token that
// is not of this provider, or of no grant.
func (p *Provider) GrantOf(t credential.Secret) (grantID string, sequence uint64, ok bool) {
	tok, genuine := p.mint.read(t.Reveal())
	if !genuine || tok.kind == kindMachine {
		return "", 0, false
	}
	return grantName(tok.owner), tok.seq, true
}

// GrantAlive reports whether a grant lives; it is named by its id.
func (p *Provider) GrantAlive(grantID string) bool {
	alive := false
	_ = p.withGrant(grantID, func(g *grant) { alive = !g.dead && g.code == nil })
	return alive
}

func (cs *clients) byNumber(n uint64) *registration {
	for _, c := range *cs.byID.Load() {
		if c.number == n {
			return c
		}
	}
	return nil
}
