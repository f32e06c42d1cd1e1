package mcp

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
)

// choose gives the spec its client, in the order that the MCP specification
// wants: one that the operator gave, one by document, one that is registered.
func (k *Keeper) choose(ctx context.Context, id string, spec *registry.IntegrationSpec, found *findings, old *registry.Integration, secret credential.Secret) (registry.MCPClient, error) {
	given, m := *spec, &found.mcp
	same := old != nil && old.MCP != nil && old.MCP.Issuer == m.Issuer
	if given.ClientID != "" {
		// A secret is for one authorization server only.
		m.Client = registry.ClientGiven
		return registry.MCPClient{New: !same || old.ClientID != given.ClientID, Secret: secret}, nil
	}
	hasKey := !given.ClientKey.IsZero() || old != nil && old.HasKey
	method, err := authMethod(found.server, hasKey)
	why := k.publishes()
	switch {
	case found.server.ClientIDMetadataDocument && why == "":
		m.Client, m.RedirectURI = registry.ClientDocument, k.redirectURI(given)
		spec.ClientID = k.public + DocumentPath + id
		if method != catalog.PrivateKeyJWT {
			method = catalog.NoSecret
		}
		found.set("token_auth_method", string(method), given)
		return registry.MCPClient{New: old == nil || old.ClientID != spec.ClientID}, nil
	case found.server.RegistrationURL == "" && found.server.ClientIDMetadataDocument:
		return registry.MCPClient{}, noClient("the authorization server wants a document about the client, and " + why + "; set it to a public https address, or register the client there and give client_id")
	case found.server.RegistrationURL == "":
		return registry.MCPClient{}, noClient("the authorization server registers no clients by itself; register one there and give client_id, and client_secret if it has one")
	case same && k.fits(old, given):
		keep(spec, found, old)
		return registry.MCPClient{}, nil
	case err != nil:
		return registry.MCPClient{}, err
	}
	return k.register(ctx, id, spec, found, method)
}

func noClient(detail string) error {
	return &credential.Failure{Class: credential.Misconfigured, Code: "no_client", Detail: detail}
}

// fits reports whether the client that was registered before serves on.
func (k *Keeper) fits(old *registry.Integration, given registry.IntegrationSpec) bool {
	m := old.MCP
	return m.Client == registry.ClientRegistered && m.RedirectURI == k.redirectURI(given) && !ending(m, time.Now())
}

// keep takes over the client that was registered before.
func keep(spec *registry.IntegrationSpec, found *findings, old *registry.Integration) {
	m := &found.mcp
	m.Client, m.RedirectURI, m.RegisteredAt, m.SecretEnds, m.ManageURL, m.MendedAt = old.MCP.Client, old.MCP.RedirectURI, old.MCP.RegisteredAt, old.MCP.SecretEnds, old.MCP.ManageURL, old.MCP.MendedAt
	found.set("token_auth_method", string(old.Facts.TokenAuthMethod), *spec)
	spec.ClientID = old.ClientID
}

// register makes a client at the authorization server.
func (k *Keeper) register(ctx context.Context, id string, spec *registry.IntegrationSpec, found *findings, method catalog.AuthMethod) (registry.MCPClient, error) {
	metadata := k.metadata(id, *spec, string(method))
	metadata.Scope = strings.Join(found.scopes, " ")
	metadata.DPoPBound = found.settings["dpop"] != nil
	made, err := k.protocol.Register(ctx, found.server.RegistrationURL, metadata)
	if f, ok := errors.AsType[*credential.Failure](err); ok && f.Code == "invalid_client_metadata" && metadata.Scope != "" {
		// Some servers register for scopes of their own only, and give those of a
		// resource to every client.
		metadata.Scope = ""
		made, err = k.protocol.Register(ctx, found.server.RegistrationURL, metadata)
	}
	if err != nil {
		return registry.MCPClient{}, err
	}
	found.registered(made, k.redirectURI(*spec), *spec)
	spec.ClientID = made.ClientID
	return registry.MCPClient{New: true, Secret: made.Secret, Manage: made.ManageToken}, nil
}

// registered notes what the server made of the client.
func (f *findings) registered(made oauth.Registered, redirectURI string, given registry.IntegrationSpec) {
	m := &f.mcp
	m.Client, m.RedirectURI, m.RegisteredAt = registry.ClientRegistered, redirectURI, m.LookedAt
	m.SecretEnds, m.ManageURL = made.SecretEnds, made.ManageURL
	f.set("token_auth_method", string(made.AuthMethod), given)
}

// metadata are what is told of an integration's client.
func (k *Keeper) metadata(id string, spec registry.IntegrationSpec, method string) oauth.ClientMetadata {
	m := oauth.ClientMetadata{
		Name: cmp.Or(spec.DisplayName, "grantd"), RedirectURIs: []string{k.redirectURI(spec)},
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"},
		AuthMethod: cmp.Or(method, string(catalog.NoSecret)), ApplicationType: "web",
	}
	if u, err := url.Parse(m.RedirectURIs[0]); err == nil && isLoopback(u.Hostname()) {
		m.ApplicationType = "native" // OpenID Connect Registration section 2
	}
	if m.AuthMethod == string(catalog.PrivateKeyJWT) {
		m.JWKSURL = k.public + "/v1/integrations/" + id + "/jwks.json"
	}
	return m
}

func (k *Keeper) redirectURI(spec registry.IntegrationSpec) string {
	return cmp.Or(spec.RedirectURI, k.public+"/callback")
}

// authMethod is how a client that is registered proves itself: by its key where it
// has one, else not at all, for PKCE and rotation protect what there is, and what
// has no secret has none that ends; with a secret only where the server wants it.
func authMethod(server *oauth.Metadata, hasKey bool) (catalog.AuthMethod, error) {
	offered := server.TokenAuthMethods
	if len(offered) == 0 {
		offered = []string{string(catalog.ClientSecretBasic)} // RFC 8414 section 2: the default
	}
	for _, method := range []catalog.AuthMethod{catalog.PrivateKeyJWT, catalog.NoSecret, catalog.ClientSecretBasic, catalog.ClientSecretPost} {
		if slices.Contains(offered, string(method)) && (method != catalog.PrivateKeyJWT || hasKey) {
			return method, nil
		}
	}
	return "", noClient("the authorization server offers no way for a client to prove itself that can be used here; register one there and give client_id")
}

// ending reports whether a client's secret is to be replaced: in the last quarter
// of its life, or maxEarly before its end where that is later.
func ending(m *registry.MCP, now time.Time) bool {
	if m.SecretEnds.IsZero() {
		return false
	}
	early := min(m.SecretEnds.Sub(m.RegisteredAt)/4, maxEarly)
	return !now.Before(m.SecretEnds.Add(-early))
}
