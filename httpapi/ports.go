package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/feed"
	"github.com/grantd/grantd/wire"
)

// Accounts is what the API needs of the account actors. Errors are the
// sentinels of package credential, possibly inside *credential.Unavailable.
// All methods may be called concurrently and end with their context.
type Accounts interface {
	// Token returns a credential that serves for at least minTTL where the
	// provider's lifetimes allow it. It must not block when such a token is at
	// hand: it is called more often than everything else together.
	Token(ctx context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error)
	// Refresh gets a new token. With stale set it does so only if that is still
	// the newest generation.
	Refresh(ctx context.Context, ref credential.Ref, stale *uint64) (credential.Account, error)
	// Import makes an account, or brings new credentials to one that exists.
	Import(ctx context.Context, in credential.Import) (a credential.Account, created bool, err error)
	// Disconnect destroys the tokens, and has the grant revoked in the background.
	Disconnect(ctx context.Context, ref credential.Ref) (credential.Account, error)
	Account(ctx context.Context, ref credential.Ref) (credential.Account, error)
	Accounts(ctx context.Context, q credential.Query) (credential.Page, error)
	// History returns lines numbered below, newest first; below 0: from the newest.
	History(ctx context.Context, ref credential.Ref, below uint64, limit int) (credential.History, error)
	// NoteHandout writes into the history that an agent is about to get a token,
	// which it must not get where that fails.
	NoteHandout(ctx context.Context, ref credential.Ref, to credential.Handout) error
}

// Integrations is the registry of OAuth client registrations. An id that is
// not there is credential.ErrNotFound, a registration that cannot be is
// credential.ErrInvalid with a text that names the field.
type Integrations interface {
	// Prove signs a DPoP proof with the key that the integration's tokens are bound
	// to.
	Prove(ctx context.Context, id string, token credential.Secret, p Proof) (credential.Secret, error)
	// PublicKeys is the JWK Set of the integration's client key; without one it is
	// credential.ErrNotFound.
	PublicKeys(ctx context.Context, id string) ([]byte, error)
	// ClientDocument is what the client id of an integration leads to that is known
	// by a document; else it is credential.ErrNotFound.
	ClientDocument(ctx context.Context, id string) ([]byte, error)
	// PutIntegration makes or replaces a registration; it keeps the stored
	// client secret when there is one and n has none. credential.ErrProviderUnavailable:
	// the MCP server that it is of, or its authorization server, did not answer.
	PutIntegration(ctx context.Context, id string, n wire.NewIntegration) (i wire.Integration, created bool, err error)
	Integration(ctx context.Context, id string) (wire.Integration, error)
	// Integrations returns all of them, in any order.
	Integrations(ctx context.Context) ([]wire.Integration, error)
	DeleteIntegration(ctx context.Context, id string) error
}

// Keys is the registry of API keys.
type Keys interface {
	// Authenticate finds the key that a caller presents. It is called for every
	// request: it must not block, and must not tell by its time how much of a
	// key was right. The Key is shared and never changed.
	Authenticate(presented string) (*Key, bool)
	// CreateKey makes a key of the scope of k, whose ID and CreatedAt it sets,
	// and returns the key itself, which is stored as a hash only.
	CreateKey(ctx context.Context, k Key) (*Key, credential.Secret, error)
	// Keys returns all of them, in any order.
	Keys(ctx context.Context) ([]*Key, error)
	// DeleteKey ends a key; credential.ErrNotFound if there is none of this id.
	DeleteKey(ctx context.Context, id string) error
}

// Webhooks are the end points of webhooks and what is delivered to them. They are
// named by tenant and id; tenant empty: those of no tenant. One that is not there
// is credential.ErrNotFound, one that cannot be is credential.ErrInvalid with a
// text that names the field.
type Webhooks interface {
	// PutWebhook makes or replaces an end point. given, where it is not empty,
	// becomes its secret; else an old one keeps its own, and a new one gets fresh.
	PutWebhook(ctx context.Context, tenant, id string, n wire.NewWebhook, given, fresh credential.Secret) (w wire.Webhook, created bool, err error)
	// Webhook and Webhooks do not block. The list is in order of tenant and id, with
	// those of no tenant among the others by their ids.
	Webhook(tenant, id string) (wire.Webhook, bool)
	Webhooks() []wire.Webhook
	DeleteWebhook(ctx context.Context, tenant, id string) error
	// RotateWebhook gives it another secret, beside which the present one signs for
	// the time of the overlap.
	RotateWebhook(ctx context.Context, tenant, id string, secret credential.Secret, overlap time.Duration) (wire.Webhook, error)
	// TestWebhook sends a message, once, and tells what came of it.
	TestWebhook(ctx context.Context, tenant, id string) (wire.WebhookTest, error)
	// Deliveries returns a page of those of all groups, newest first, behind the
	// cursor.
	Deliveries(ctx context.Context, q delivery.Query, c delivery.Cursor) (all []delivery.Listed, next delivery.Cursor, err error)
	// Replay makes deliveries once more, in one group or, where it is nil, in all.
	Replay(ctx context.Context, r delivery.Replay, group *uint16) (count int, more bool, err error)
}

// Providers is the catalogue. Errors: credential.ErrInvalid with a reason for
// people, credential.ErrNotFound, and those of the store.
type Providers interface {
	Provider(id string) (wire.Provider, bool)
	// Providers returns all of them in order of id; the slice is not changed.
	Providers() []wire.Provider
	// PutProvider makes or replaces an entry, by the names of the catalogue's
	// fields. created: there was none by the API.
	PutProvider(ctx context.Context, id string, fields map[string]json.RawMessage) (p wire.Provider, created bool, err error)
	// DeleteProvider takes away one that was defined by the API.
	DeleteProvider(ctx context.Context, id string) error
}

// Events is the event stream of the whole cluster. Errors are those of package
// feed.
type Events interface {
	Open(ctx context.Context, o feed.Options) (*feed.Stream, error)
}

// ErrLastNode says that a node is the only one, and stays.
var ErrLastNode = errors.New("the last node of a cluster is not removed")

// Deps are what the API works on; all are needed.
type Deps struct {
	Accounts     Accounts
	Integrations Integrations
	Keys         Keys
	Providers    Providers
	Events       Events
	Connect      Connect
	Webhooks     Webhooks
	Cluster      func(ctx context.Context) (wire.Cluster, error)
	// RemoveNode takes a node out of the cluster for good. It begins that, and
	// returns how far it is: called again, it tells of the same removal.
	// credential.ErrNotFound: no such node; ErrLastNode: there is no other one.
	RemoveNode func(ctx context.Context, id string) (wire.NodeRemoval, error)
	// Metrics answers GET /metrics.
	Metrics http.Handler
	// Ready says why the node cannot serve now; nil: it can. The text is shown
	// to whoever asks.
	Ready func(ctx context.Context) error
}

// Key is an API key and its scope.
type Key struct {
	ID     string
	Name   string // for people
	Tenant string // a tenant, or wire.All
	// Integrations that the key is limited to; nil: every one.
	Integrations []string
	// Accounts that the key is limited to; nil: every one.
	Accounts    []credential.Ref
	Permissions []string
	Agent       string // the name of the agent that the key is for; empty: none
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: never
}

// Can reports whether the key has the permission, or wire.PermAdmin, which
// includes all.
func (k *Key) Can(permission string) bool {
	return slices.Contains(k.Permissions, permission) || slices.Contains(k.Permissions, wire.PermAdmin)
}

// Everywhere reports whether neither tenant nor integrations nor accounts limit
// the key.
func (k *Key) Everywhere() bool {
	return k.Tenant == wire.All && k.Integrations == nil && k.Accounts == nil
}

// Scope returns the tenant that the key is limited to, or wire.All, and whether
// it sees every integration.
func (k *Key) Scope() (tenant string, everyIntegration bool) { return k.Tenant, k.Integrations == nil }

// SeesTenant reports whether the tenant is in the key's scope.
func (k *Key) SeesTenant(tenant string) bool { return k.Tenant == wire.All || k.Tenant == tenant }

// SeesAccount reports whether the account is among those that the key is
// limited to, if it is.
func (k *Key) SeesAccount(ref credential.Ref) bool {
	return k.Accounts == nil || slices.Contains(k.Accounts, ref)
}

// SeesIntegration reports whether the integration is in the key's scope.
func (k *Key) SeesIntegration(id string) bool {
	return k.Integrations == nil || slices.Contains(k.Integrations, id)
}

// Covers reports whether the scope of o lies within that of k. How long the
// keys work is not looked at.
func (k *Key) Covers(o *Key) bool {
	if !k.SeesTenant(o.Tenant) {
		return false
	}
	if k.Accounts != nil && (o.Accounts == nil || slices.ContainsFunc(o.Accounts, func(ref credential.Ref) bool { return !k.SeesAccount(ref) })) {
		return false
	}
	if o.Integrations == nil {
		return k.Integrations == nil
	}
	return !slices.ContainsFunc(o.Integrations, func(id string) bool { return !k.SeesIntegration(id) })
}

// outlivedBy reports whether o works longer than k.
func (k *Key) outlivedBy(o *Key) bool {
	return !k.ExpiresAt.IsZero() && (o.ExpiresAt.IsZero() || o.ExpiresAt.After(k.ExpiresAt))
}

// EveryAccount reports whether single accounts do not limit the key.
func (k *Key) EveryAccount() bool { return k.Accounts == nil }
