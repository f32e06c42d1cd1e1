package strict

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// tokenResponse is RFC 6749 section 5.1. ExpiresIn is a number, or a string if
// a fault wants it so.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	ExpiresIn    any    `json:"expires_in,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope,omitempty"`
	TokenType    string `json:"token_type"`
}

// token is the token end point (RFC 6749 section 3.2).
func (v *visit) token() answer {
	client, refusal := v.authenticate()
	if refusal != nil {
		return *refusal
	}
	switch v.r.GrantType {
	case "refresh_token":
		return v.refresh(client)
	case "authorization_code":
		return v.exchange(client)
	case "client_credentials":
		return v.machineToken(client)
	case "":
		return invalidRequest("missing required parameter(s) 'grant_type'")
	}
	return errorAnswer(http.StatusBadRequest, OutcomeBadGrant, "unsupported_grant_type", "unsupported grant_type requested")
}

// refresh answers a refresh request (RFC 6749 section 6).
func (v *visit) refresh(client *registration) answer {
	if v.form.Get("refresh_token") == "" {
		return invalidRequest("missing required parameter(s) 'refresh_token'")
	}
	scopes, ok := parseScopes(v.form.Get("scope"))
	if !ok {
		return errorAnswer(http.StatusBadRequest, OutcomeBadScope, "invalid_scope", "scope contains invalid characters")
	}
	if !v.refreshing() {
		return invalidGrant(OutcomeUnknown)
	}
	u := use{seq: v.presented.seq, client: client, scopes: scopes, now: time.Now(), ttl: v.p.refreshTTL(client), keep: v.plan.noRefreshToken}
	var is issued
	out := OutcomeUnknown
	v.p.grants.with(v.presented.owner, func(g *grant) {
		is, out = g.refresh(u)
		if out == OutcomeReplay || out == OutcomeDead && u.seq < g.refreshSeq {
			v.r.Replay, v.r.AfterLoss = true, g.replayed(u.seq, v.r.Lost)
		}
	})
	switch out {
	case OutcomeGranted, OutcomeGrace:
		v.r.Rotated = is.rotated
		return v.grantAnswer(client, v.presented.owner, is, out, u.now)
	case OutcomeBadScope:
		return errorAnswer(http.StatusBadRequest, out, "invalid_scope", "refresh token missing requested scope")
	}
	return invalidGrant(out)
}

// exchange answers the redemption of an authorization code (RFC 6749 section 4.1.3).
func (v *visit) exchange(client *registration) answer {
	if v.form.Get("code") == "" || v.form.Get("redirect_uri") == "" {
		return invalidRequest("missing required parameter(s) 'code' or 'redirect_uri'")
	}
	if !v.genuine || v.presented.kind != kindCode {
		return invalidGrant(OutcomeUnknown)
	}
	u := use{client: client, now: time.Now(), ttl: v.p.refreshTTL(client)}
	var is issued
	out := OutcomeUnknown
	v.p.grants.with(v.presented.owner, func(g *grant) {
		is, out = g.redeem(u, v.form.Get("redirect_uri"), v.form.Get("code_verifier"))
	})
	if out != OutcomeGranted {
		return invalidGrant(out)
	}
	return v.grantAnswer(client, v.presented.owner, is, out, u.now)
}

// machineToken answers a client that asks for a token of its own (RFC 6749 section 4.4).
func (v *visit) machineToken(client *registration) answer {
	if client.Auth == AuthNone {
		return errorAnswer(http.StatusBadRequest, OutcomeBadGrant, "unauthorized_client", "requested grant type is not allowed for this client")
	}
	scopes, ok := parseScopes(v.form.Get("scope"))
	if !ok {
		return errorAnswer(http.StatusBadRequest, OutcomeBadScope, "invalid_scope", "scope contains invalid characters")
	}
	ttl := v.p.accessTTL(client)
	t := token{kind: kindMachine, owner: client.number, seq: v.p.machines.take(), expires: time.Now().Add(ttl), pad: v.pad()}
	return v.success(tokenResponse{AccessToken: v.p.mint.write(t), Scope: joinScopes(scopes)}, ttl, OutcomeGranted)
}

// grantAnswer writes the tokens that a grant issued.
func (v *visit) grantAnswer(client *registration, number uint64, is issued, out Outcome, now time.Time) answer {
	ttl := v.p.accessTTL(client)
	res := tokenResponse{
		AccessToken: v.p.mint.write(token{kind: kindAccess, owner: number, seq: is.accessSeq, expires: now.Add(ttl), pad: v.pad()}),
		Scope:       is.scope,
	}
	if !v.plan.noRefreshToken {
		res.RefreshToken = v.p.mint.write(token{kind: kindRefresh, owner: number, seq: is.refreshSeq, pad: v.pad()})
	}
	return v.success(res, ttl, out)
}

// pad is how much padding brings a token to the size that a fault wants.
func (v *visit) pad() uint32 {
	plain := len(kindAccess.prefix()) + textLen + len(padMark)
	return uint32(min(maxPad, max(0, v.plan.size-plain)))
}

func (v *visit) success(res tokenResponse, ttl time.Duration, out Outcome) answer {
	res.TokenType = "Bearer"
	seconds := int64(ttl / time.Second)
	switch {
	case v.plan.noExpiresIn:
	case v.plan.stringExpiresIn:
		res.ExpiresIn = strconv.FormatInt(seconds, 10)
	default:
		res.ExpiresIn = seconds
	}
	return jsonAnswer(http.StatusOK, out, res)
}

// revoke is the revocation end point (RFC 7009). Any token of a grant takes
// the whole grant with it. A token that is unknown, or another client's,
// changes nothing and is not told apart.
func (v *visit) revoke() answer {
	client, refusal := v.authenticate()
	if refusal != nil {
		return *refusal
	}
	if v.form.Get("token") == "" {
		return invalidRequest("missing required parameter(s) 'token'")
	}
	switch {
	case !v.genuine || v.presented.kind == kindCode:
	case v.presented.kind == kindMachine:
		if v.presented.owner == client.number {
			client.machine.revoke(v.presented, time.Now())
		}
	default:
		v.p.grants.with(v.presented.owner, func(g *grant) {
			if g.client == client.ID && g.code == nil {
				g.dead = true
			}
		})
	}
	return answer{status: http.StatusOK, outcome: OutcomeDone, header: http.Header{"Cache-Control": {"no-store"}}}
}

// introspection is RFC 7662 section 2.2.
type introspection struct {
	Active    bool   `json:"active"`
	Subject   string `json:"sub,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	Expires   int64  `json:"exp,omitempty"`
	Issuer    string `json:"iss,omitempty"`
	Scope     string `json:"scope,omitempty"`
	TokenType string `json:"token_type,omitempty"`
}

// introspect is the introspection end point. A public client, which proves
// nothing, learns of its own tokens only.
func (v *visit) introspect() answer {
	client, refusal := v.authenticate()
	if refusal != nil {
		return *refusal
	}
	if v.form.Get("token") == "" {
		return invalidRequest("missing required parameter(s) 'token'")
	}
	found := v.p.inspect(v.presented, v.genuine)
	if !found.live || client.Auth == AuthNone && found.client != client.ID {
		return jsonAnswer(http.StatusOK, OutcomeDone, introspection{})
	}
	res := introspection{Active: true, Subject: found.user, ClientID: found.client, Expires: found.expires.Unix(), Issuer: v.issuer, Scope: found.scope}
	if v.presented.kind != kindRefresh {
		res.TokenType = "Bearer"
	}
	return jsonAnswer(http.StatusOK, OutcomeDone, res)
}

// api is a protected resource: it tells the bearer of a live access token who
// he is (RFC 6750).
func (v *visit) api() answer {
	found := v.p.inspect(v.presented, v.genuine)
	if v.presented.kind == kindRefresh || !found.live {
		a := errorAnswer(http.StatusUnauthorized, OutcomeDenied, "invalid_token", "invalid token provided")
		challenge := []string{`Bearer realm="strict"`}
		if v.creds.bearer != "" {
			challenge = append(challenge, `error="invalid_token"`, `error_description="invalid token provided"`)
		}
		a.header.Set("WWW-Authenticate", strings.Join(challenge, ", "))
		return a
	}
	return jsonAnswer(http.StatusOK, OutcomeDone, struct {
		Subject string `json:"sub,omitempty"`
		Client  string `json:"client_id"`
		Scope   string `json:"scope,omitempty"`
	}{found.user, found.client, found.scope})
}
