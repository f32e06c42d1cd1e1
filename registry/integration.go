package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
)

// Integration is one OAuth client registration. It is shared and never changed.
//
// One whose overrides do not fit the catalogue of this build any more is shown
// as broken, with the reason; editing mends it.
type Integration struct {
	IntegrationSpec
	ID string
	// Facts are those of the catalogue with the overrides laid over them.
	Facts     catalog.Provider
	HasSecret bool
	HasKey    bool // it has a client key
	// Version grows with every edit by an operator.
	Version   uint64
	Broken    bool // the provider refuses the client itself
	Reason    string
	Since     time.Time // when it was found broken
	CreatedAt time.Time
	UpdatedAt time.Time // by an operator

	// unusable: it is broken in this build only, and not stored as such.
	unusable bool
	secret   credential.Sealed
	// secretVersion is the version under which secret was sealed.
	secretVersion uint64
	keys          sealedKeys
	// manage is the sealed token of a client that was registered.
	manage sealedManage
	opened *openedKeys
	rev    uint64 // of the stored value
	// rest is the stored value as it was read: a newer version's fields are kept.
	rest map[string]json.RawMessage
}

// IntegrationSpec is what an operator says about an integration.
type IntegrationSpec struct {
	Provider    string // catalogue id, or catalog's "custom"
	ClientID    string
	Scopes      []string
	RedirectURI string
	// ClientKey is a private key for signed assertions and mutual TLS, as
	// clientkey.Parse reads it, or [GenerateKey]; empty keeps the stored one. It is
	// only ever given.
	ClientKey credential.Secret
	// Certificate is the client's certificate in PEM; empty keeps the stored one,
	// unless there is a new key.
	Certificate string
	// DisplayName is who asks for access, for the person who connects an account.
	DisplayName string
	// ScopeDescriptions say in plain words what a scope allows.
	ScopeDescriptions map[string]string
	// ReturnOrigins are the only ones that people are sent to after connecting.
	ReturnOrigins []string
	// Overrides are fields of the catalogue entry that are different here.
	Overrides map[string]json.RawMessage
	// MCP is what was found out from the URL of an MCP server; nil: the operator
	// said all. It is shared and never changed.
	MCP *MCP
}

// storedIntegration is an Integration in the store.
type storedIntegration struct {
	Provider      string                     `json:"provider"`
	ClientID      string                     `json:"client_id"`
	Scopes        []string                   `json:"scopes,omitempty"`
	RedirectURI   string                     `json:"redirect_uri,omitempty"`
	DisplayName   string                     `json:"display_name,omitempty"`
	ScopeTexts    map[string]string          `json:"scope_descriptions,omitempty"`
	ReturnOrigins []string                   `json:"return_origins,omitempty"`
	Overrides     map[string]json.RawMessage `json:"overrides,omitempty"`
	Secret        credential.Sealed          `json:"secret,omitempty"`
	SecretVersion uint64                     `json:"secret_version,omitempty"`
	Key           credential.Sealed          `json:"client_key,omitempty"`
	KeyVersion    uint64                     `json:"client_key_version,omitempty"`
	Certificate   string                     `json:"client_certificate,omitempty"`
	DPoP          credential.Sealed          `json:"dpop_key,omitempty"`
	DPoPVersion   uint64                     `json:"dpop_key_version,omitempty"`
	MCP           *MCP                       `json:"mcp,omitempty"`
	Manage        credential.Sealed          `json:"registration_token,omitempty"`
	ManageVersion uint64                     `json:"registration_token_version,omitempty"`
	Version       uint64                     `json:"version"`
	Broken        bool                       `json:"broken,omitempty"`
	Reason        string                     `json:"reason,omitempty"`
	Since         time.Time                  `json:"since,omitzero"`
	CreatedAt     time.Time                  `json:"created_at"`
	UpdatedAt     time.Time                  `json:"updated_at"`
}

// encode writes the integration with the fields that this version does not know:
// in a rolling upgrade, nodes of two versions edit it.
func (in *Integration) encode() ([]byte, error) {
	known, err := json.Marshal(storedIntegration{
		Provider: in.Provider, ClientID: in.ClientID, Scopes: in.Scopes, RedirectURI: in.RedirectURI, Overrides: in.Overrides,
		DisplayName: in.DisplayName, ScopeTexts: in.ScopeDescriptions, ReturnOrigins: in.ReturnOrigins,
		Secret: in.secret, SecretVersion: in.secretVersion, Version: in.Version, Broken: in.Broken, Reason: in.Reason, Since: in.Since,
		Key: in.keys.client, KeyVersion: in.keys.clientVersion, Certificate: in.Certificate, DPoP: in.keys.dpop, DPoPVersion: in.keys.dpopVersion,
		MCP: in.MCP, Manage: in.manage.token, ManageVersion: in.manage.version,
		CreatedAt: in.CreatedAt, UpdatedAt: in.UpdatedAt,
	})
	if err != nil {
		return nil, err
	}
	return withRest(known, in.rest, integrationFields)
}

// withRest adds to a value the fields of the stored one that this version does
// not know.
func withRest(known []byte, rest map[string]json.RawMessage, ours map[string]bool) ([]byte, error) {
	if len(rest) == 0 {
		return known, nil
	}
	all := maps.Clone(rest)
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool { return ours[name] })
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(known, &fields); err != nil {
		return nil, err
	}
	maps.Copy(all, fields)
	return json.Marshal(all)
}

// integrationFields are the names of the stored fields that this version knows.
var integrationFields = fieldsOf(reflect.TypeFor[storedIntegration]())

func fieldsOf(t reflect.Type) map[string]bool {
	names := make(map[string]bool)
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names[name] = true
	}
	return names
}

func (r *Registry) decodeIntegration(id string, b []byte) (*Integration, error) {
	var s storedIntegration
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("integration %s: %w", id, err)
	}
	var rest map[string]json.RawMessage
	if err := json.Unmarshal(b, &rest); err != nil {
		return nil, fmt.Errorf("integration %s: %w", id, err)
	}
	in := &Integration{
		ID: id, rest: rest,
		IntegrationSpec: IntegrationSpec{
			Provider: s.Provider, ClientID: s.ClientID, Scopes: s.Scopes, RedirectURI: s.RedirectURI, Certificate: s.Certificate, Overrides: s.Overrides,
			DisplayName: s.DisplayName, ScopeDescriptions: s.ScopeTexts, ReturnOrigins: s.ReturnOrigins,
			MCP: s.MCP,
		},
		manage:    sealedManage{token: s.Manage, version: s.ManageVersion},
		HasSecret: len(s.Secret) > 0, secret: s.Secret, secretVersion: s.SecretVersion,
		HasKey: len(s.Key) > 0, keys: sealedKeys{client: s.Key, clientVersion: s.KeyVersion, dpop: s.DPoP, dpopVersion: s.DPoPVersion}, opened: &openedKeys{},
		Version: s.Version, Broken: s.Broken, Reason: s.Reason, Since: s.Since, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
	facts, err := r.resolve(in.IntegrationSpec)
	if err != nil {
		in.Broken, in.Reason, in.Since, in.unusable = true, "unusable: "+invalid("%w", err).Error(), in.UpdatedAt, true
	}
	in.Facts = facts
	return in, nil
}

// resolve lays the overrides over the catalogue's facts and checks the result.
func (r *Registry) resolve(spec IntegrationSpec) (catalog.Provider, error) {
	facts, ok := r.Provider(spec.Provider)
	if !ok {
		return catalog.Provider{}, fmt.Errorf("provider: the catalogue has no such provider; use one of GET /v1/providers, or %q with its own end points", catalog.Custom)
	}
	return catalog.Override(facts, spec.Overrides)
}

// Integration returns what is known of an integration. It does not block.
func (r *Registry) Integration(id string) (*Integration, bool) {
	v, ok := r.integrations.Load(id)
	if !ok {
		return nil, false
	}
	return v.(*Integration), true
}

// Integrations returns all integrations, in order of their ids.
func (r *Registry) Integrations() []*Integration {
	var all []*Integration
	r.integrations.Range(func(_, v any) bool {
		all = append(all, v.(*Integration))
		return true
	})
	slices.SortFunc(all, func(a, b *Integration) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (in *Integration) secretLabel() credential.Label {
	return credential.Label{Tenant: envelope.SystemTenant, Account: in.ID, Field: credential.FieldClientSecret, Generation: in.secretVersion}
}

// ClientSecret opens the integration's client secret; empty where it has none.
func (r *Registry) ClientSecret(ctx context.Context, in *Integration) (credential.Secret, error) {
	if !in.HasSecret {
		return credential.Secret{}, nil
	}
	return r.sealer.Open(ctx, in.secretLabel(), in.secret)
}
