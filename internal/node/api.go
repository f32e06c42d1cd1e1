package node

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/mcp"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/oauth/clientkey"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/wire"
)

// The adapters below show the registry and the catalogue to the HTTP API in
// its own words.

type apiIntegrations struct {
	r      *registry.Registry
	keeper *mcp.Keeper
}

// PutIntegration implements httpapi.Integrations.
func (a apiIntegrations) PutIntegration(ctx context.Context, id string, n wire.NewIntegration) (wire.Integration, bool, error) {
	spec := registry.IntegrationSpec{Provider: n.Provider, ClientID: n.ClientID, Scopes: n.Scopes, RedirectURI: n.RedirectURI, Overrides: n.Settings,
		ClientKey: credential.NewSecret(n.ClientKey.Reveal()), Certificate: n.ClientCertificate,
		DisplayName: n.DisplayName, ScopeDescriptions: n.ScopeDescriptions, ReturnOrigins: n.ReturnOrigins}
	secret := credential.NewSecret(n.ClientSecret.Reveal())
	put := func() (*registry.Integration, bool, error) { return a.r.PutIntegration(ctx, id, spec, secret) }
	if n.MCPURL != "" {
		put = func() (*registry.Integration, bool, error) { return a.keeper.Put(ctx, id, n.MCPURL, spec, secret) }
	}
	in, created, err := put()
	if err != nil {
		return wire.Integration{}, false, err
	}
	return wireIntegration(in), created, nil
}

// Integration implements httpapi.Integrations.
func (a apiIntegrations) Integration(_ context.Context, id string) (wire.Integration, error) {
	in, ok := a.r.Integration(id)
	if !ok {
		return wire.Integration{}, credential.ErrNotFound
	}
	return wireIntegration(in), nil
}

// Integrations implements httpapi.Integrations.
func (a apiIntegrations) Integrations(context.Context) ([]wire.Integration, error) {
	all := a.r.Integrations()
	out := make([]wire.Integration, len(all))
	for i, in := range all {
		out[i] = wireIntegration(in)
	}
	return out, nil
}

// Prove implements httpapi.Integrations.
func (a apiIntegrations) Prove(ctx context.Context, id string, token credential.Secret, p httpapi.Proof) (credential.Secret, error) {
	in, ok := a.r.Integration(id)
	if !ok {
		return credential.Secret{}, credential.ErrNotFound
	}
	keys, err := a.r.ClientKeys(ctx, in)
	if err != nil {
		return credential.Secret{}, err
	}
	if keys.DPoP == nil {
		return credential.Secret{}, fmt.Errorf("%w: the integration has no key for DPoP", credential.ErrInvalid)
	}
	proof, err := oauth.Prove(keys.DPoP, oauth.Proof{Method: p.Method, URL: p.URL, Nonce: p.Nonce, AccessToken: token})
	return credential.NewSecret(proof), err
}

// PublicKeys implements httpapi.Integrations.
func (a apiIntegrations) PublicKeys(ctx context.Context, id string) ([]byte, error) {
	in, ok := a.r.Integration(id)
	if !ok {
		return nil, credential.ErrNotFound
	}
	keys, err := a.r.ClientKeys(ctx, in)
	switch {
	case err != nil:
		return nil, err
	case keys.Client == nil:
		return nil, credential.ErrNotFound
	}
	return clientkey.PublicSet(keys.Client)
}

// ClientDocument implements httpapi.Integrations.
func (a apiIntegrations) ClientDocument(_ context.Context, id string) ([]byte, error) {
	return a.keeper.Document(id)
}

// DeleteIntegration implements httpapi.Integrations.
func (a apiIntegrations) DeleteIntegration(ctx context.Context, id string) error {
	return a.r.DeleteIntegration(ctx, id)
}

func wireIntegration(in *registry.Integration) wire.Integration {
	state := wire.IntegrationOK
	if in.Broken {
		state = wire.IntegrationMisconfigured
	}
	scopes := in.Scopes
	if scopes == nil {
		scopes = []string{}
	}
	var server *wire.MCPServer
	if m := in.MCP; m != nil {
		server = &wire.MCPServer{URL: m.URL, Resource: m.Resource, AuthorizationServer: m.Issuer, Client: m.Client, ClientSecretExpiresAt: wire.At(m.SecretEnds), LookedAt: wire.At(m.LookedAt), Found: m.Found}
	}
	return wire.Integration{
		IntegrationInfo: wire.IntegrationInfo{
			MCP: server,
			ID:  in.ID, Provider: in.Provider, ClientID: in.ClientID, ClientSecretSet: in.HasSecret,
			ClientKeySet: in.HasKey, ClientCertificate: in.Certificate,
			Scopes: scopes, RedirectURI: in.RedirectURI, State: state,
			DisplayName: in.DisplayName, ScopeDescriptions: in.ScopeDescriptions, ReturnOrigins: in.ReturnOrigins, Reason: in.Reason,
			CreatedAt: wire.At(in.CreatedAt), UpdatedAt: wire.At(in.UpdatedAt),
		},
		Settings: in.Overrides,
	}
}

type apiKeys struct{ r *registry.Registry }

// Authenticate implements httpapi.Keys.
func (a apiKeys) Authenticate(presented string) (*httpapi.Key, bool) {
	k, ok := a.r.Authenticate(presented)
	if !ok {
		return nil, false
	}
	return apiKey(k), true
}

// CreateKey implements httpapi.Keys.
func (a apiKeys) CreateKey(ctx context.Context, k httpapi.Key) (*httpapi.Key, credential.Secret, error) {
	made, text, err := a.r.CreateKey(ctx, registry.KeySpec{
		Name: k.Name, Tenant: k.Tenant, Integrations: k.Integrations, Accounts: k.Accounts, Permissions: k.Permissions, Agent: k.Agent, ExpiresAt: k.ExpiresAt,
	})
	if err != nil {
		return nil, text, err
	}
	return apiKey(made), text, nil
}

// Keys implements httpapi.Keys.
func (a apiKeys) Keys(context.Context) ([]*httpapi.Key, error) {
	all := a.r.Keys()
	out := make([]*httpapi.Key, len(all))
	for i, k := range all {
		out[i] = apiKey(k)
	}
	return out, nil
}

// DeleteKey implements httpapi.Keys.
func (a apiKeys) DeleteKey(ctx context.Context, id string) error { return a.r.DeleteKey(ctx, id) }

func apiKey(k *registry.Key) *httpapi.Key {
	return &httpapi.Key{
		ID: k.ID, Name: k.Name, Tenant: k.Tenant, Integrations: k.Integrations, Accounts: k.Accounts,
		Permissions: k.Permissions, Agent: k.Agent, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt,
	}
}

// apiProviders is the catalogue. What is built in or in the folder is turned
// into the API's words once.
type apiProviders struct {
	r     *registry.Registry
	below map[string]wire.Provider
}

func newAPIProviders(r *registry.Registry, c *catalog.Catalog) apiProviders {
	p := apiProviders{r: r, below: make(map[string]wire.Provider)}
	for _, facts := range c.List() {
		p.below[facts.ID] = wireProvider(facts)
	}
	return p
}

// Provider implements httpapi.Providers.
func (p apiProviders) Provider(id string) (wire.Provider, bool) {
	facts, ok := p.r.Provider(id)
	if !ok || id == catalog.Custom {
		return wire.Provider{}, false
	}
	return p.shown(facts), true
}

// Providers implements httpapi.Providers.
func (p apiProviders) Providers() []wire.Provider {
	var all []wire.Provider
	for _, facts := range p.r.Providers() {
		all = append(all, p.shown(facts))
	}
	return all
}

func (p apiProviders) shown(facts catalog.Provider) wire.Provider {
	if w, ok := p.below[facts.ID]; ok && facts.Origin != catalog.API {
		return w
	}
	return wireProvider(facts)
}

// PutProvider implements httpapi.Providers.
func (p apiProviders) PutProvider(ctx context.Context, id string, fields map[string]json.RawMessage) (wire.Provider, bool, error) {
	facts, created, err := p.r.PutProvider(ctx, id, fields)
	if err != nil {
		return wire.Provider{}, false, err
	}
	return wireProvider(facts), created, nil
}

// DeleteProvider implements httpapi.Providers.
func (p apiProviders) DeleteProvider(ctx context.Context, id string) error {
	return p.r.DeleteProvider(ctx, id)
}

// wireProvider goes through JSON: the catalogue and the API name their fields
// alike, which tests of both see to.
func wireProvider(p catalog.Provider) (w wire.Provider) {
	if b, err := json.Marshal(p); err != nil || json.Unmarshal(b, &w) != nil {
		w = wire.Provider{ID: p.ID, Name: p.Name} // what it is made of can always be written
	}
	w.Origin = string(p.Origin)
	return w
}
