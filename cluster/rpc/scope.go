package rpc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
	"github.com/grantd/grantd/wire/rpcpb"
)

// The order of checks is that of the HTTP API: names that cannot be are
// invalid, whatever the key; what lies outside the key's scope is not found; a
// permission that the key lacks is forbidden; only then is anything looked up.
// So a refusal tells nothing about what exists.

// caller is a co-located service with its key.
type caller struct {
	v   *Services
	key Key
}

// forService answers a co-located service within the scope of its key.
func (v *Services) forService(ctx context.Context, req *rpcpb.Request) (*rpcpb.Response, error) {
	if v.Keys == nil || v.Routed == nil || v.HasIntegration == nil {
		return nil, errNotReady
	}
	key, ok := v.Keys.Authenticate(string(req.GetApiKey()))
	if !ok {
		return nil, &refusal{rpcpb.Code_CODE_UNAUTHENTICATED, "the API key is missing or not valid here"}
	}
	c := caller{v, key}
	switch k := req.GetKind().(type) {
	case *rpcpb.Request_Token:
		return c.token(ctx, k.Token)
	case *rpcpb.Request_Refresh:
		return c.refresh(ctx, k.Refresh)
	case *rpcpb.Request_Import:
		return c.importAccount(ctx, k.Import)
	case *rpcpb.Request_Disconnect:
		return c.disconnect(ctx, k.Disconnect)
	case *rpcpb.Request_Account:
		return c.account(ctx, k.Account)
	case *rpcpb.Request_History:
		return c.history(ctx, k.History)
	case *rpcpb.Request_List:
		return c.list(ctx, k.List)
	case *rpcpb.Request_ShardPage, *rpcpb.Request_ReplicaToken, *rpcpb.Request_Handout, *rpcpb.Request_Fate, *rpcpb.Request_Offer, *rpcpb.Request_KvPut, *rpcpb.Request_KvTell, *rpcpb.Request_KvDelete,
		*rpcpb.Request_Join, *rpcpb.Request_Promise, *rpcpb.Request_Release, *rpcpb.Request_Status, *rpcpb.Request_Outbox,
		*rpcpb.Request_Deliveries, *rpcpb.Request_Replay:
		return nil, &refusal{rpcpb.Code_CODE_FORBIDDEN, "only nodes may ask this"}
	}
	return nil, errUnknown
}

// need refuses keys that have none of the permissions.
func (c caller) need(permissions ...string) error {
	for _, p := range permissions {
		if c.key.Can(p) {
			return nil
		}
	}
	return &refusal{rpcpb.Code_CODE_FORBIDDEN, "the API key lacks the permission " + permissions[0]}
}

// ref reads the account's name and checks it against the key.
func (c caller) ref(r *rpcpb.Ref, permissions ...string) (credential.Ref, error) {
	ref := fromRef(r)
	if err := checkRef(ref); err != nil {
		return ref, err
	}
	if !c.key.SeesTenant(ref.Tenant) || !c.key.SeesAccount(ref) {
		return ref, credential.ErrNotFound
	}
	return ref, c.need(permissions...)
}

// checkRef names the first part of ref that cannot be.
func checkRef(ref credential.Ref) error {
	if err := credential.CheckName("tenant", ref.Tenant); err != nil {
		return err
	}
	return credential.CheckName("account id", ref.ID)
}

// sees refuses an account whose integration is outside the key's scope. An
// account never changes its integration, so that the answer stays right until
// the request is done.
func (c caller) sees(ctx context.Context, ref credential.Ref) error {
	if _, all := c.key.Scope(); all {
		return nil
	}
	a, err := c.v.Routed.Account(ctx, ref)
	if err != nil {
		return err
	}
	if !c.key.SeesIntegration(a.Integration) {
		return credential.ErrNotFound
	}
	return nil
}

func (c caller) token(ctx context.Context, r *rpcpb.TokenRequest) (*rpcpb.Response, error) {
	ref, err := c.ref(r.GetRef(), wire.PermTokensRead)
	if err != nil {
		return nil, err
	}
	minTTL := duration(r.GetMinTtlMs())
	if minTTL > maxMinTTL {
		return nil, invalid("min_ttl must be at most %v", maxMinTTL)
	}
	if err := c.sees(ctx, ref); err != nil {
		return nil, err
	}
	t, err := c.v.Routed.Token(ctx, ref, minTTL)
	if agent, key := c.key.Agent(); agent != "" && err == nil {
		err = c.v.Routed.NoteHandout(ctx, ref, credential.Handout{Agent: agent, Key: key, Generation: t.Generation})
	}
	return tokenAnswer(t, err)
}

func (c caller) refresh(ctx context.Context, r *rpcpb.RefreshRequest) (*rpcpb.Response, error) {
	ref, err := c.ref(r.GetRef(), wire.PermTokensRead, wire.PermAccountsWrite)
	if err != nil {
		return nil, err
	}
	if err := c.sees(ctx, ref); err != nil {
		return nil, err
	}
	return accountAnswer(c.v.Routed.Refresh(ctx, ref, r.Stale))
}

func (c caller) importAccount(ctx context.Context, r *rpcpb.ImportRequest) (*rpcpb.Response, error) {
	if err := c.need(wire.PermAccountsWrite); err != nil {
		return nil, err
	}
	in := fromImport(r)
	if len(in.Subject) > 0 || in.AllowOtherIdentity || in.Reauthorise || in.RequestedScopes != nil {
		return nil, invalid("subject, requested scopes and re-authorisation are for nodes only")
	}
	if err := checkImport(in, time.Now()); err != nil {
		return nil, err
	}
	if err := credential.CheckFacts(in.Facts); err != nil {
		return nil, invalid("facts: too many, too long, or with characters that cannot be")
	}
	if !c.key.SeesTenant(in.Ref.Tenant) || !c.key.SeesAccount(in.Ref) || !c.key.SeesIntegration(in.Integration) || !c.v.HasIntegration(in.Integration) {
		return nil, credential.ErrNotFound
	}
	return importAnswer(c.v.Routed.Import(ctx, in))
}

func (c caller) disconnect(ctx context.Context, r *rpcpb.Ref) (*rpcpb.Response, error) {
	ref, err := c.ref(r, wire.PermAccountsWrite)
	if err != nil {
		return nil, err
	}
	if err := c.sees(ctx, ref); err != nil {
		return nil, err
	}
	return accountAnswer(c.v.Routed.Disconnect(ctx, ref))
}

func (c caller) account(ctx context.Context, r *rpcpb.Ref) (*rpcpb.Response, error) {
	ref, err := c.ref(r, wire.PermAccountsRead)
	if err != nil {
		return nil, err
	}
	a, err := c.v.Routed.Account(ctx, ref)
	if err == nil && !c.key.SeesIntegration(a.Integration) {
		err = credential.ErrNotFound
	}
	return accountAnswer(a, err)
}

func (c caller) history(ctx context.Context, r *rpcpb.HistoryRequest) (*rpcpb.Response, error) {
	ref, err := c.ref(r.GetRef(), wire.PermAccountsRead)
	if err != nil {
		return nil, err
	}
	if r.GetLimit() < 1 || r.GetLimit() > maxLimit {
		return nil, invalid("limit must be from 1 to %d", maxLimit)
	}
	if err := c.sees(ctx, ref); err != nil {
		return nil, err
	}
	return historyAnswer(c.v.Routed.History(ctx, ref, r.GetBelow(), int(r.GetLimit())))
}

func (c caller) list(ctx context.Context, r *rpcpb.ListRequest) (*rpcpb.Response, error) {
	if err := c.need(wire.PermAccountsRead); err != nil {
		return nil, err
	}
	q, err := queryOf(r)
	if err != nil {
		return nil, err
	}
	if !c.limit(&q) {
		return pageAnswer(credential.Page{}, nil) // as if the tenant had no accounts
	}
	return pageAnswer(c.v.Routed.Accounts(ctx, q))
}

// limit narrows the query to the key's scope; false: nothing is left of it.
func (c caller) limit(q *credential.Query) bool {
	tenant, all := c.key.Scope()
	if tenant != wire.All {
		if q.Tenant != "" && q.Tenant != tenant {
			return false
		}
		q.Tenant = tenant
	}
	if q.Integration != "" && !c.key.SeesIntegration(q.Integration) {
		return false
	}
	if !all || !c.key.EveryAccount() {
		q.Allow = func(a credential.Account) bool {
			return c.key.SeesIntegration(a.Integration) && c.key.SeesAccount(a.Ref)
		}
	}
	return true
}

// queryOf checks what a list is asked for.
func queryOf(r *rpcpb.ListRequest) (credential.Query, error) {
	q := fromList(r)
	for _, n := range []struct{ what, name string }{{"tenant", q.Tenant}, {"integration", q.Integration}} {
		if n.name != "" {
			if err := credential.CheckName(n.what, n.name); err != nil {
				return q, err
			}
		}
	}
	switch q.State {
	case "", credential.StatePending, credential.StateActive, credential.StateNeedsReauth, credential.StateDisconnected:
	default:
		return q, invalid("state must be one of pending, active, needs_reauth, disconnected")
	}
	if r.GetLimit() < 1 || r.GetLimit() > maxLimit {
		return q, invalid("limit must be from 1 to %d", maxLimit)
	}
	if r.GetAfter() != nil {
		return q, checkRef(q.After)
	}
	return q, nil
}

// Bounds of credentials, as in the HTTP API.
const (
	maxScopes   = 256
	maxScopeLen = 1024
	maxUsername = 1024
	maxLifetime = 100 * 365 * 24 * time.Hour
)

// checkImport refuses credentials that lack what they cannot do without, or
// hold what could not stand in a request to the provider.
func checkImport(in credential.Import, now time.Time) error {
	if err := checkRef(in.Ref); err != nil {
		return err
	}
	if err := credential.CheckName("integration", in.Integration); err != nil {
		return err
	}
	oauth := in.Kind == credential.KindOAuth2
	standing := in.Kind == credential.KindJWTBearer || in.Kind == credential.KindTokenExchange
	switch in.Kind {
	case credential.KindOAuth2:
		if in.Secret.IsZero() && in.RefreshToken.IsZero() {
			return invalid("credentials of the kind oauth2 need an access token or a refresh token")
		}
	case credential.KindJWTBearer, credential.KindTokenExchange:
		if err := checkStanding(in); err != nil {
			return err
		}
	case credential.KindClientCredentials:
		if !in.Secret.IsZero() {
			return invalid("credentials of the kind client_credentials are the integration's own")
		}
	case credential.KindAPIKey, credential.KindBasic:
		if in.Secret.IsZero() {
			return invalid("the secret is missing")
		}
	default:
		return invalid("kind must be one of oauth2, client_credentials, jwt_bearer, token_exchange, api_key, basic")
	}
	switch {
	case !oauth && !standing && !in.RefreshToken.IsZero(), !oauth && !in.ExpiresAt.IsZero(), !in.Kind.Refreshes() && in.Scopes != nil:
		return invalid("refresh token, expiry and scopes do not belong to credentials of the kind %s", in.Kind)
	case in.Kind == credential.KindBasic && (in.Username == "" || len(in.Username) > maxUsername || strings.Contains(in.Username, ":")):
		return invalid("the user name must have 1 to %d bytes and no colon (RFC 7617)", maxUsername)
	case in.Kind != credential.KindBasic && in.Username != "":
		return invalid("a user name belongs to credentials of the kind basic only")
	case hasControl(in.Username) || hasControl(in.Secret.Reveal()) || hasControl(in.RefreshToken.Reveal()):
		return invalid("the credentials hold a control character, such as a line break at their end")
	}
	if err := checkScopes(in.Scopes); err != nil {
		return err
	}
	return checkExpiry(in, now)
}

// checkStanding looks at what is presented for each token anew, which comes in
// place of a refresh token.
func checkStanding(in credential.Import) error {
	if !in.Secret.IsZero() {
		return invalid("credentials of the kind %s hold no access token", in.Kind)
	}
	var err error
	if in.Kind == credential.KindJWTBearer {
		_, err = credential.ParseBearer(in.RefreshToken)
	} else {
		_, err = credential.ParseSubjected(in.RefreshToken)
	}
	return err
}

func checkScopes(scopes []string) error {
	if len(scopes) > maxScopes {
		return invalid("%d scopes are too many; at most %d are taken", len(scopes), maxScopes)
	}
	for i, s := range scopes {
		if s == "" || len(s) > maxScopeLen || hasControl(s) {
			return invalid("scope %d must have 1 to %d bytes and no control characters", i+1, maxScopeLen)
		}
	}
	return nil
}

func checkExpiry(in credential.Import, now time.Time) error {
	switch {
	case in.ExpiresAt.IsZero():
		return nil
	case in.Secret.IsZero():
		return invalid("the expiry is of the access token, and there is none")
	case in.ExpiresAt.After(now.Add(maxLifetime)) || in.ExpiresAt.Year() < 1970:
		return invalid("the expiry must lie after 1970 and within 100 years; leave it out for a token that never expires")
	case !in.ExpiresAt.After(now) && in.RefreshToken.IsZero():
		return invalid("the access token has expired already and there is no refresh token to replace it with")
	}
	return nil
}

// hasControl finds C0 control characters and DEL, which no header can carry.
func hasControl(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) >= 0
}

func invalid(format string, args ...any) error {
	return &credential.Unavailable{Err: credential.ErrInvalid, Reason: fmt.Sprintf(format, args...)}
}
