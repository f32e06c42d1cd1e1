package node

import (
	"context"
	"maps"
	"net/url"

	"github.com/grantd/grantd/connect"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/mcp"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
)

// linkKV is the meta group as connect links are kept in it: what one node writes
// is seen by all that are alive when the write returns, for a person may come back
// to any of them.
type linkKV struct {
	registry.KV
	sweeper interface {
		DeleteAll(ctx context.Context, revisions map[string]uint64) error
	}
}

// DeleteAll implements connect.KV, on the node that leads the group.
func (kv linkKV) DeleteAll(ctx context.Context, revisions map[string]uint64) error {
	return kv.sweeper.DeleteAll(ctx, revisions)
}

// connectIntegrations is the registry as connect links want it.
type connectIntegrations struct{ r *registry.Registry }

// ConnectIntegration implements connect.Integrations.
func (c connectIntegrations) ConnectIntegration(id string) (connect.Integration, bool) {
	in, ok := c.r.Integration(id)
	if !ok {
		return connect.Integration{}, false
	}
	facts := in.Facts
	if in.MCP != nil {
		facts.Name = hostOf(in.MCP.Resource)
	}
	return connect.Integration{
		ID: in.ID, Product: in.DisplayName, Facts: facts, Scopes: in.Scopes, ScopeDescriptions: in.ScopeDescriptions,
		ReturnOrigins: in.ReturnOrigins, RedirectURI: in.RedirectURI,
		Issuer: in.Facts.Issuer, IssuerSent: in.Facts.AuthorizationResponseIss,
	}, true
}

// hostOf is what an MCP server is called before people: its host, which it cannot
// choose as it can the name that it gives itself.
func hostOf(resource string) string {
	u, err := url.Parse(resource)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// connectAccounts are the accounts of the whole cluster, which are known only
// once the core has started.
type connectAccounts struct{ of func() httpapi.Accounts }

// Account implements connect.Accounts.
func (c connectAccounts) Account(ctx context.Context, ref credential.Ref) (credential.Account, error) {
	return c.of().Account(ctx, ref)
}

// Import implements connect.Accounts.
func (c connectAccounts) Import(ctx context.Context, in credential.Import) (credential.Account, bool, error) {
	return c.of().Import(ctx, in)
}

// authorizer speaks the part of the protocol that a person takes part in.
type authorizer struct{ *provider }

// registrationFor is what the protocol needs to know for one flow.
func (a authorizer) registrationFor(ctx context.Context, r connect.Authorization) (oauth.Registration, error) {
	return a.registration(ctx, credential.TokenRequest{Integration: r.Integration, Variables: maps.Clone(r.Variables)})
}

// Authorize implements connect.Provider.
func (a authorizer) Authorize(ctx context.Context, r connect.Authorization) (string, error) {
	reg, err := a.registrationFor(ctx, r)
	if err != nil {
		return "", err
	}
	address, err := a.client.Authorize(ctx, reg, oauth.AuthorizationRequest{
		RedirectURI: r.RedirectURI, State: r.State, Scopes: r.Scopes, Verifier: r.Verifier, Nonce: nonce(r),
	})
	a.noticed(r.Integration, err)
	return address, err
}

// Exchange implements connect.Provider.
func (a authorizer) Exchange(ctx context.Context, r connect.Answer) (credential.Grant, error) {
	reg, err := a.registrationFor(ctx, r.Authorization)
	if err != nil {
		return credential.Grant{}, err
	}
	g, err := a.client.Exchange(ctx, reg, oauth.Exchange{
		Code: r.Code, RedirectURI: r.RedirectURI, Verifier: r.Verifier, Nonce: nonce(r.Authorization),
	})
	a.noticed(r.Integration, err)
	return g, err
}

// nonce is sent where OpenID Connect is spoken: only there does it come back, and
// some servers refuse parameters that they do not know.
func nonce(r connect.Authorization) string {
	for _, s := range r.Scopes {
		if s == "openid" {
			return r.Nonce
		}
	}
	return ""
}

// startConnect makes connect links work, and has this node sweep them while it
// leads the meta group.
func (core *Core) startConnect(c CoreConfig) {
	core.Connect = connect.New(connect.Config{
		KV: linkKV{core.registryKV(), core.host.KV()}, Sealer: core.Sealer, Integrations: connectIntegrations{core.Registry},
		Accounts: connectAccounts{core.Accounts}, Provider: authorizer{core.provider}, PublicURL: c.PublicURL, Logger: c.Logger,
	})
	ctx, cancel := context.WithCancel(context.Background())
	core.endSweep = cancel
	core.sweeping.Go(func() {
		core.Connect.Sweep(ctx, core.leadsMeta)
	})
	core.sweeping.Go(func() { core.provider.keeper.Run(ctx) })
}

// newKeeper returns what makes integrations of MCP servers. It needs no actors,
// but they tell it of refusals.
func (core *Core) newKeeper(c CoreConfig, client *oauth.Client) *mcp.Keeper {
	return mcp.New(mcp.Config{Protocol: client, Registry: core.Registry, PublicURL: c.PublicURL, Leading: core.leadsMeta, Logger: c.Logger})
}

// leadsMeta reports whether this node leads the meta group.
func (core *Core) leadsMeta() bool {
	leader, _ := core.MetaLeader()
	return leader == core.name
}

// stopConnect ends the sweeping and waits for it.
func (core *Core) stopConnect() {
	if core.endSweep != nil {
		core.endSweep()
	}
	core.sweeping.Wait()
}
