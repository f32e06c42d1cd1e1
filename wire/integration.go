package wire

import (
	"encoding/json"
	"log/slog"
)

// ProviderCustom is the provider of an integration that no catalogue entry
// describes; its end points come as settings.
const ProviderCustom = "custom"

// GenerateKey in place of a client key makes one; with an algorithm behind a
// colon, "generate:ES256", one of that kind.
const GenerateKey = "generate"

// States of an integration.
const (
	IntegrationOK            = "ok"
	IntegrationMisconfigured = "misconfigured" // the provider refuses the client; refreshes pause
)

// NewIntegration is the body of PUT /v1/integrations/{id}: one OAuth client
// registration. In JSON the settings stand beside the other fields.
type NewIntegration struct {
	// MCPURL is the URL of an MCP server, of which all that is not given here is
	// found out; empty: it is none.
	MCPURL   string
	Provider string // catalogue id, or [ProviderCustom]
	ClientID string
	// ClientSecret is kept as it is when an existing integration is changed
	// and none is sent.
	ClientSecret Secret
	// ClientKey is a private key (PEM, a JWK, or the JSON file of a Google service
	// account), or [GenerateKey] for a new one; kept like the secret.
	ClientKey Secret
	// ClientCertificate is the certificate of the key, in PEM, for mutual TLS.
	ClientCertificate string
	Scopes            []string
	RedirectURI       string
	// DisplayName is who asks for access, ScopeDescriptions say in plain words what
	// a scope allows: for the person who connects an account. ReturnOrigins are the
	// only ones that people are sent to afterwards.
	DisplayName       string
	ScopeDescriptions map[string]string
	ReturnOrigins     []string
	// Settings override fields of the provider's catalogue entry: token_url,
	// token_auth_method, scope_separator, pkce and so on.
	Settings map[string]json.RawMessage
}

// newIntegrationFields is NewIntegration without its settings, as it is in JSON.
type newIntegrationFields struct {
	MCPURL       string   `json:"mcp_url,omitempty"`
	Provider     string   `json:"provider,omitempty"`
	ClientID     string   `json:"client_id,omitempty"`
	ClientSecret Secret   `json:"client_secret,omitempty"`
	ClientKey    Secret   `json:"client_key,omitempty"`
	Certificate  string   `json:"client_certificate,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`
	RedirectURI  string   `json:"redirect_uri,omitempty"`

	DisplayName       string            `json:"display_name,omitempty"`
	ScopeDescriptions map[string]string `json:"scope_descriptions,omitempty"`
	ReturnOrigins     []string          `json:"return_origins,omitempty"`
}

// NewIntegrationFields are the names of the fields of [NewIntegration] that
// are not settings.
func NewIntegrationFields() []string {
	return []string{"mcp_url", "provider", "client_id", "client_secret", "client_key", "client_certificate", "scopes", "redirect_uri", "display_name", "scope_descriptions", "return_origins"}
}

// MarshalJSON writes the settings beside the other fields.
func (n NewIntegration) MarshalJSON() ([]byte, error) {
	fixed, err := json.Marshal(newIntegrationFields{
		MCPURL: n.MCPURL, Provider: n.Provider, ClientID: n.ClientID, ClientSecret: n.ClientSecret, ClientKey: n.ClientKey, Certificate: n.ClientCertificate,
		Scopes: n.Scopes, RedirectURI: n.RedirectURI,
		DisplayName: n.DisplayName, ScopeDescriptions: n.ScopeDescriptions, ReturnOrigins: n.ReturnOrigins,
	})
	if err != nil {
		return nil, err
	}
	return appendMembers(fixed, n.Settings)
}

// UnmarshalJSON takes every field that is not one of [NewIntegrationFields] as
// a setting.
func (n *NewIntegration) UnmarshalJSON(b []byte) error {
	var f newIntegrationFields
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	settings, err := otherMembers(b, NewIntegrationFields())
	if err != nil {
		return err
	}
	*n = NewIntegration{
		MCPURL: f.MCPURL, Provider: f.Provider, ClientID: f.ClientID, ClientSecret: f.ClientSecret, ClientKey: f.ClientKey, ClientCertificate: f.Certificate,
		Scopes: f.Scopes, RedirectURI: f.RedirectURI, Settings: settings,
		DisplayName: f.DisplayName, ScopeDescriptions: f.ScopeDescriptions, ReturnOrigins: f.ReturnOrigins,
	}
	return nil
}

// LogValue shows provider and client, and neither secret nor settings.
func (n NewIntegration) LogValue() slog.Value {
	return slog.GroupValue(slog.String("provider", n.Provider), slog.String("client_id", n.ClientID))
}

// Integration is one OAuth client registration, without its secret. In JSON
// the settings stand beside the other fields, as they were sent.
type Integration struct {
	IntegrationInfo
	// Settings are the fields that override the provider's catalogue entry.
	Settings map[string]json.RawMessage
}

// IntegrationInfo is all of an [Integration] but its settings.
type IntegrationInfo struct {
	ID              string `json:"id"`
	Provider        string `json:"provider"`
	ClientID        string `json:"client_id"`
	ClientSecretSet bool   `json:"client_secret_set"`
	ClientKeySet    bool   `json:"client_key_set"`
	// ClientCertificate is in PEM; it is not secret.
	ClientCertificate string            `json:"client_certificate,omitempty"`
	Scopes            []string          `json:"scopes"`
	RedirectURI       string            `json:"redirect_uri"`
	DisplayName       string            `json:"display_name"`
	ScopeDescriptions map[string]string `json:"scope_descriptions"`
	ReturnOrigins     []string          `json:"return_origins"`
	MCP               *MCPServer        `json:"mcp,omitempty"`
	State             string            `json:"state"`
	Reason            string            `json:"reason"` // why misconfigured; else empty
	CreatedAt         Time              `json:"created_at"`
	UpdatedAt         Time              `json:"updated_at"`
}

// Kinds of clients of integrations that were made from the URL of an MCP server.
const (
	MCPClientGiven      = "given"      // its id was given
	MCPClientDocument   = "document"   // its id is the address of a document that this installation publishes
	MCPClientRegistered = "registered" // it was registered with the authorization server
)

// MCPServer is what was found out from the URL of an MCP server.
type MCPServer struct {
	URL string `json:"url"`
	// Resource is what tokens are asked for (RFC 8707).
	Resource            string `json:"resource"`
	AuthorizationServer string `json:"authorization_server"` // its issuer
	Client              string `json:"client"`               // one of the kinds above
	// ClientSecretExpiresAt is when the registered client's secret ends; it is
	// replaced before. Null: never, or it has none.
	ClientSecretExpiresAt Time     `json:"client_secret_expires_at"`
	LookedAt              Time     `json:"looked_at"`
	Found                 []string `json:"found"` // the settings that were found and not given
}

func integrationInfoFields() []string {
	return []string{
		"id", "provider", "client_id", "client_secret_set", "client_key_set", "client_certificate", "scopes", "redirect_uri",
		"display_name", "scope_descriptions", "return_origins", "mcp", "state", "reason", "created_at", "updated_at",
	}
}

// MarshalJSON writes the settings beside the other fields.
func (i Integration) MarshalJSON() ([]byte, error) {
	fixed, err := json.Marshal(i.IntegrationInfo)
	if err != nil {
		return nil, err
	}
	return appendMembers(fixed, i.Settings)
}

// UnmarshalJSON takes every field that it does not know as a setting.
func (i *Integration) UnmarshalJSON(b []byte) error {
	var info IntegrationInfo
	if err := json.Unmarshal(b, &info); err != nil {
		return err
	}
	settings, err := otherMembers(b, integrationInfoFields())
	if err != nil {
		return err
	}
	*i = Integration{IntegrationInfo: info, Settings: settings}
	return nil
}

// IntegrationList is a page of integrations, in order of id.
type IntegrationList struct {
	Integrations []Integration `json:"integrations"`
	NextCursor   string        `json:"next_cursor"` // empty: the list is complete
}
