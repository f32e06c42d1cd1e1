package mcp

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
)

// findings are what was found out about one MCP server.
type findings struct {
	server   *oauth.Metadata
	settings map[string]json.RawMessage // without those that the operator gave
	mcp      registry.MCP
	// scopes are those that a client is registered for.
	scopes []string
}

// look asks the MCP server, and its authorization server.
func (k *Keeper) look(ctx context.Context, address string, given registry.IntegrationSpec) (*findings, error) {
	resource, err := k.protocol.FindResource(ctx, address)
	if err != nil {
		return nil, err
	}
	issuer, err := chosen(resource, given)
	if err != nil {
		return nil, err
	}
	server, err := k.protocol.Discover(ctx, issuer)
	if err != nil {
		return nil, err
	}
	if err := serves(server, given); err != nil {
		return nil, err
	}
	f := &findings{server: server, mcp: registry.MCP{URL: address, Resource: resource.Resource, Issuer: server.Issuer, LookedAt: time.Now().UTC()}}
	if f.settings, err = server.Settings(); err != nil {
		return nil, err
	}
	f.scopes = resource.Asked
	if f.scopes == nil {
		f.scopes = resource.Scopes
	}
	if err := f.add(resource, given); err != nil {
		return nil, err
	}
	if len(given.Scopes) > 0 {
		f.scopes = given.Scopes
	}
	return f, nil
}

// chosen is the issuer to go to: the one that the operator names, else the first
// that the resource does (RFC 9728 section 7.6).
func chosen(resource *oauth.Resource, given registry.IntegrationSpec) (string, error) {
	raw, ok := given.Overrides["issuer"]
	if !ok {
		return resource.AuthorizationServers[0], nil
	}
	var issuer string
	if json.Unmarshal(raw, &issuer) != nil || !slices.Contains(resource.AuthorizationServers, issuer) {
		return "", &credential.Failure{Class: credential.Misconfigured, Code: "issuer_mismatch", Detail: "the MCP server does not name the given issuer as an authorization server; leave issuer out, or give one that it names"}
	}
	return issuer, nil
}

// serves refuses servers without the end points of the flow, and those that do not
// say that they check PKCE: what does not, leaves codes unprotected.
func serves(server *oauth.Metadata, given registry.IntegrationSpec) error {
	lacks := func(setting, told string) bool {
		_, ok := given.Overrides[setting]
		return told == "" && !ok
	}
	switch {
	case lacks("authorization_url", server.AuthorizationURL), lacks("token_url", server.TokenURL):
		return &credential.Failure{Class: credential.Misconfigured, Code: "bad_metadata", Detail: "the authorization server has no authorization_endpoint or no token_endpoint"}
	case given.Overrides["pkce"] == nil && !slices.Contains(server.CodeChallengeMethods, "S256"):
		return &credential.Failure{Class: credential.Misconfigured, Code: "no_pkce", Detail: "the authorization server does not say that it checks PKCE with S256, which MCP demands; if you know that it does, set pkce to required"}
	}
	return nil
}

// add puts what the protocol demands beside the end points, and takes out what
// the operator gave.
func (f *findings) add(resource *oauth.Resource, given registry.IntegrationSpec) error {
	more := map[string]any{"resources": []string{resource.Resource}, "pkce": catalog.PKCERequired}
	if len(f.scopes) > 0 {
		more["default_scopes"] = f.scopes
	}
	if slices.Contains(f.server.Scopes, "offline_access") { // OpenID Connect Core section 11
		more["scopes_for_refresh"], more["authorization_params"] = []string{"offline_access"}, map[string]string{"prompt": "consent"}
	}
	if resource.DPoPRequired {
		more["dpop"] = catalog.DPoPRequired
	}
	for name, value := range more {
		b, err := json.Marshal(value)
		if err != nil {
			return err
		}
		f.settings[name] = b
	}
	maps.DeleteFunc(f.settings, func(name string, _ json.RawMessage) bool { return given.Overrides[name] != nil })
	return nil
}

// set puts a setting, unless the operator gave it.
func (f *findings) set(name, value string, given registry.IntegrationSpec) {
	if given.Overrides[name] == nil {
		b, _ := json.Marshal(value) // a string cannot fail
		f.settings[name] = b
	}
}

// complete adds what was found to what was given.
func (f *findings) complete(given registry.IntegrationSpec) registry.IntegrationSpec {
	given.Overrides = maps.Clone(given.Overrides)
	if given.Overrides == nil {
		given.Overrides = make(map[string]json.RawMessage, len(f.settings))
	}
	maps.Copy(given.Overrides, f.settings)
	m := f.mcp
	m.Found = slices.Sorted(maps.Keys(f.settings))
	given.MCP = &m
	given.Provider = catalog.Custom
	return given
}
