package registry

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
)

// Kinds of clients that integrations of MCP servers have.
const (
	// ClientGiven: the operator told its id.
	ClientGiven = "given"
	// ClientDocument: its id is the address of a document that this installation
	// publishes.
	ClientDocument = "document"
	// ClientRegistered: it was registered (RFC 7591).
	ClientRegistered = "registered"
)

// MCP is what was found out from the URL of an MCP server.
type MCP struct {
	URL string `json:"url"` // as the operator gave it
	// Resource is what tokens are asked for (RFC 8707), Issuer who gives them.
	Resource string `json:"resource"`
	Issuer   string `json:"issuer"`
	// Found are the overrides that were found out and not given, in order.
	Found []string `json:"found,omitempty"`
	// Client is one of the kinds above; RedirectURI is what it was registered with,
	// or its document says.
	Client       string    `json:"client"`
	RedirectURI  string    `json:"redirect_uri,omitempty"`
	RegisteredAt time.Time `json:"registered_at,omitzero"`
	SecretEnds   time.Time `json:"client_secret_expires_at,omitzero"` // zero: never
	// ManageURL is where the server tells of the registration (RFC 7592); empty: it
	// does not.
	ManageURL string `json:"registration_client_uri,omitempty"`
	// LookedAt is when all of it was found; MendedAt when it was looked at again
	// because the client or an end point was refused.
	LookedAt time.Time `json:"looked_at"`
	MendedAt time.Time `json:"mended_at,omitzero"`
}

// MCPClient is the client of an integration, as it changes with it.
type MCPClient struct {
	// New says that it is another one than before: what is stored of that one's
	// secrets goes.
	New    bool
	Secret credential.Secret // empty, and not new: as before
	// Manage is the token of the registration; empty, and not new: as before.
	Manage credential.Secret
	// Only is the version that is replaced, else credential.ErrConflict; 0: any.
	Only uint64
}

// sealedManage is the token of a registration, with the version of the
// integration under which it was sealed.
type sealedManage struct {
	token   credential.Sealed
	version uint64
}

// clientChange is what becomes of an integration's client.
type clientChange struct {
	secret, manage credential.Secret
	fresh          bool
	only           uint64
}

// errOutdated is a conflict that trying again does not end.
var errOutdated = errors.New("the integration is another version")

// outdated reports whether the integration is not the one that was to be replaced.
func (c clientChange) outdated(old *Integration) bool {
	return c.only != 0 && (old == nil || old.Version != c.only)
}

// PutMCP is [Registry.PutIntegration] for an integration that was made from the
// URL of an MCP server: spec.MCP and the overrides that it names were found out.
// Only what was read from the registry before can be replaced, where the client
// says so; else the error is credential.ErrConflict.
func (r *Registry) PutMCP(ctx context.Context, id string, spec IntegrationSpec, client MCPClient) (in *Integration, created bool, err error) {
	return r.put(ctx, id, spec, clientChange{secret: client.Secret, manage: client.Manage, fresh: client.New, only: client.Only})
}

// Check says what is wrong with a spec, as [Registry.PutIntegration] would, and
// changes nothing: credential.ErrInvalid with a reason.
func (r *Registry) Check(id string, spec IntegrationSpec) error {
	if err := credential.CheckName("integration id", id); err != nil {
		return invalid("%w", err)
	}
	facts, err := r.resolve(spec)
	if err != nil {
		return invalid("%w", err)
	}
	if err := checkSpec(spec, facts); err != nil {
		return err
	}
	if strings.HasPrefix(spec.ClientKey.Reveal(), GenerateKey) {
		return nil // it is made when it is stored
	}
	_, err = givenKey(spec)
	return err
}

// changeClient takes away what belongs to another client, and seals the token of
// the new registration.
func (r *Registry) changeClient(ctx context.Context, in, old *Integration, change clientChange) error {
	registered := old != nil && old.MCP != nil && old.MCP.Client == ClientRegistered
	if change.fresh || registered && old.ClientID != in.ClientID {
		in.secret, in.secretVersion, in.HasSecret = nil, 0, false
		in.manage = sealedManage{}
	}
	if in.MCP == nil || in.MCP.Client != ClientRegistered {
		in.manage = sealedManage{}
		return nil
	}
	if change.manage.IsZero() {
		return nil
	}
	var err error
	in.manage.version = in.Version
	in.manage.token, err = r.sealer.Seal(ctx, in.manageLabel(), change.manage)
	return err
}

func (in *Integration) manageLabel() credential.Label {
	return credential.Label{Tenant: envelope.SystemTenant, Account: in.ID, Field: credential.FieldRegistration, Generation: in.manage.version}
}

// RegistrationToken opens the token that manages the integration's registration;
// empty where it has none.
func (r *Registry) RegistrationToken(ctx context.Context, in *Integration) (credential.Secret, error) {
	if len(in.manage.token) == 0 {
		return credential.Secret{}, nil
	}
	return r.sealer.Open(ctx, in.manageLabel(), in.manage.token)
}

// Given are the overrides that the operator gave, without those that were found.
func (s IntegrationSpec) Given() IntegrationSpec {
	if s.MCP == nil {
		return s
	}
	all := s.Overrides
	s.Overrides = make(map[string]json.RawMessage, len(all))
	for name, value := range all {
		if !slices.Contains(s.MCP.Found, name) {
			s.Overrides[name] = value
		}
	}
	return s
}
