package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// Bounds in bytes.
const (
	maxClientID     = 1024
	maxClientSecret = 4096
	maxRedirectURI  = 2048
)

// integrationBody is the body of PUT /v1/integrations/{id}; every further
// member is a setting.
type integrationBody struct {
	MCPURL       string      `json:"mcp_url"`
	Provider     string      `json:"provider"`
	ClientID     string      `json:"client_id"`
	ClientSecret wire.Secret `json:"client_secret"`
	ClientKey    wire.Secret `json:"client_key"`
	Certificate  string      `json:"client_certificate"`
	Scopes       []string    `json:"scopes"`
	RedirectURI  string      `json:"redirect_uri"`

	DisplayName       string            `json:"display_name"`
	ScopeDescriptions map[string]string `json:"scope_descriptions"`
	ReturnOrigins     []string          `json:"return_origins"`
}

// putIntegration answers PUT /v1/integrations/{id}: 201 made, 200 replaced.
// Integrations are shared by all tenants, so that it takes a key for all.
func (a *api) putIntegration(x *exchange) error {
	id, err := x.changeable()
	if err != nil {
		return err
	}
	body, err := readBody(x.ResponseWriter, x.r)
	if err != nil {
		return err
	}
	var in integrationBody
	settings, err := decodeOpen(body, &in)
	if err != nil {
		return err
	}
	if err := a.checkIntegration(in); err != nil {
		return err
	}
	out, created, err := a.Integrations.PutIntegration(&x.ctx, id, wire.NewIntegration{
		MCPURL: in.MCPURL, Provider: in.Provider, ClientID: in.ClientID, ClientSecret: in.ClientSecret, ClientKey: in.ClientKey, ClientCertificate: in.Certificate,
		Scopes: in.Scopes, RedirectURI: in.RedirectURI, Settings: settings,
		DisplayName: in.DisplayName, ScopeDescriptions: in.ScopeDescriptions, ReturnOrigins: in.ReturnOrigins,
	})
	if errors.Is(err, credential.ErrProviderUnavailable) {
		return notAsked(err)
	}
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		x.Header().Set("Location", "/v1/integrations/"+id)
	}
	return x.json(status, shown(out))
}

// notAsked is the answer where the MCP server, or its authorization server, could
// not be asked.
func notAsked(err error) error {
	p := problemOf(err)
	p.detail = "The MCP server or its authorization server could not be asked; reason says why. Nothing was changed. Try again after Retry-After."
	return p
}

// changeable reads the id of an integration that the key may change.
func (x *exchange) changeable() (string, error) {
	id, err := x.pathID("integration")
	if err != nil {
		return id, err
	}
	if !x.key.SeesIntegration(id) {
		return id, notFound()
	}
	return id, x.operator()
}

// checkIntegration checks the fields that are not settings; those are for the
// registry, which knows the catalogue's rules.
func (a *api) checkIntegration(in integrationBody) error {
	switch {
	case in.MCPURL != "":
		if in.Provider != "" && in.Provider != wire.ProviderCustom {
			return invalid("Field \"provider\" does not go with \"mcp_url\": what the catalogue says of a provider is found out from the MCP server. Leave one of them out.")
		}
		return checkFields(in)
	case in.Provider == "":
		return invalid("Field \"provider\" is missing. Name a provider of GET /v1/providers, or custom.")
	}
	if _, known := a.Providers.Provider(in.Provider); !known && in.Provider != wire.ProviderCustom {
		return invalid("Field \"provider\" names %s, which is not in the catalogue. GET /v1/providers lists it; use custom for a provider that is not there.", quoted(in.Provider))
	}
	if in.ClientID == "" {
		return invalid("Field \"client_id\" is missing.")
	}
	return checkFields(in)
}

// checkFields bounds what is told of the client.
func checkFields(in integrationBody) error {
	for _, f := range []struct {
		name, value string
		most        int
	}{
		{"client_id", in.ClientID, maxClientID}, {"client_secret", in.ClientSecret.Reveal(), maxClientSecret},
		{"redirect_uri", in.RedirectURI, maxRedirectURI}, {"mcp_url", in.MCPURL, maxRedirectURI},
	} {
		if len(f.value) > f.most || hasControl(f.value) {
			return invalid("Field %q must have at most %d bytes and no control characters.", f.name, f.most)
		}
	}
	if err := checkRedirect(in.RedirectURI); err != nil {
		return err
	}
	return checkScopes("scopes", in.Scopes)
}

// checkRedirect follows RFC 6749 section 3.1.2: absolute, without a fragment.
func checkRedirect(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Contains(s, "#") {
		return invalid("Field \"redirect_uri\" must be an absolute http or https URL without a fragment.")
	}
	return nil
}

// publicKeys answers GET /v1/integrations/{id}/jwks.json to everybody: it is the
// address to register with an authorization server as jwks_uri.
func (a *api) publicKeys(x *exchange) error {
	id, err := x.pathID("integration")
	if err != nil {
		return err
	}
	set, err := a.Integrations.PublicKeys(&x.ctx, id)
	if err != nil {
		return err
	}
	x.raw(http.StatusOK, set)
	return nil
}

// clientDocument answers GET /oauth/client/{id} to everybody: it is what the client
// id of an integration leads to where the authorization server takes such ids
// (draft-ietf-oauth-client-id-metadata-document).
func (a *api) clientDocument(x *exchange) error {
	id, err := x.pathID("integration")
	if err != nil {
		return err
	}
	document, err := a.Integrations.ClientDocument(&x.ctx, id)
	if err != nil {
		return err
	}
	x.raw(http.StatusOK, document)
	return nil
}

func (a *api) getIntegration(x *exchange) error {
	id, err := x.pathID("integration")
	if err != nil {
		return err
	}
	if !x.key.SeesIntegration(id) {
		return notFound()
	}
	if err := x.need(wire.PermAccountsRead); err != nil {
		return err
	}
	i, err := a.Integrations.Integration(&x.ctx, id)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, shown(i))
}

// deleteIntegration answers DELETE /v1/integrations/{id}. An integration that
// accounts still live by is not deleted. An account that is made at the same
// moment can slip through; its next refresh then says what is missing.
func (a *api) deleteIntegration(x *exchange) error {
	id, err := x.changeable()
	if err != nil {
		return err
	}
	if _, err := a.Integrations.Integration(&x.ctx, id); err != nil {
		return err
	}
	if err := x.unused(id); err != nil {
		return err
	}
	if err := a.Integrations.DeleteIntegration(&x.ctx, id); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// unused looks for an account that still needs the integration.
func (x *exchange) unused(id string) error {
	q := credential.Query{Integration: id, Limit: maxLimit}
	for {
		found, err := x.a.Accounts.Accounts(&x.ctx, q)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(found.Accounts, func(a credential.Account) bool { return a.State != credential.StateDisconnected }) {
			return &problem{kind: kindInUse, detail: "Accounts of this integration are still connected. Disconnect them first; GET /v1/accounts?integration=" + id + " lists them."}
		}
		if found.Next == (credential.Ref{}) {
			return nil
		}
		q.After = found.Next
	}
}

func (a *api) listIntegrations(x *exchange) error {
	if err := x.need(wire.PermAccountsRead); err != nil {
		return err
	}
	q, err := x.query("limit", "cursor")
	if err != nil {
		return err
	}
	all, err := a.Integrations.Integrations(&x.ctx)
	if err != nil {
		return err
	}
	visible := make([]wire.Integration, 0, len(all))
	for _, i := range all {
		if x.key.SeesIntegration(i.ID) {
			visible = append(visible, shown(i))
		}
	}
	slices.SortFunc(visible, func(a, b wire.Integration) int { return strings.Compare(a.ID, b.ID) })
	items, next, err := page(q, visible, func(i wire.Integration) string { return i.ID })
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, wire.IntegrationList{Integrations: items, NextCursor: next})
}

// shown makes sure of the shape of an integration.
func shown(i wire.Integration) wire.Integration {
	if i.MCP != nil {
		m := *i.MCP
		m.Found = listOf(m.Found)
		i.MCP = &m
	}
	i.Scopes, i.ReturnOrigins, i.ScopeDescriptions = listOf(i.Scopes), listOf(i.ReturnOrigins), textsOf(i.ScopeDescriptions)
	return i
}
