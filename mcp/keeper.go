package mcp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
)

// Times and bounds.
const (
	// lookTimeout bounds all requests for one integration.
	lookTimeout = 25 * time.Second
	// DefaultPatience is for how long a client has to be refused before it is
	// replaced, where its server cannot be asked whether it knows it: a server that
	// is out of order may refuse everybody for a while.
	DefaultPatience = 5 * time.Minute
	// mendEvery is how often an integration is looked at again, at most.
	mendEvery = 24 * time.Hour
	// tryEvery is how often that is tried where it does not succeed.
	tryEvery = 10 * time.Minute
	// checkEvery is how often secrets are looked for that end.
	checkEvery = time.Hour
	// maxEarly is how long before its end a secret is replaced, at most.
	maxEarly = 7 * 24 * time.Hour
	// maxWaiting bounds the integrations that wait for being looked at.
	maxWaiting = 64
)

// DocumentPath is where the document of an integration's client is published,
// below the public URL, with the integration's id behind it.
const DocumentPath = "/oauth/client/"

// Protocol is what is asked of MCP servers and authorization servers; see
// oauth.Client. Errors are *credential.Failure.
type Protocol interface {
	FindResource(ctx context.Context, address string) (*oauth.Resource, error)
	Discover(ctx context.Context, issuer string) (*oauth.Metadata, error)
	Doubt(issuer string)
	Register(ctx context.Context, endpoint string, m oauth.ClientMetadata) (oauth.Registered, error)
	ReadRegistration(ctx context.Context, old oauth.Registered, m oauth.ClientMetadata) (oauth.Registered, error)
}

// Registry is where integrations are kept; see registry.Registry.
type Registry interface {
	Integration(id string) (*registry.Integration, bool)
	Integrations() []*registry.Integration
	Check(id string, spec registry.IntegrationSpec) error
	PutMCP(ctx context.Context, id string, spec registry.IntegrationSpec, client registry.MCPClient) (*registry.Integration, bool, error)
	ClientSecret(ctx context.Context, in *registry.Integration) (credential.Secret, error)
	RegistrationToken(ctx context.Context, in *registry.Integration) (credential.Secret, error)
}

// Config is what a Keeper is made of; all but Patience is needed.
type Config struct {
	Protocol Protocol
	Registry Registry
	// PublicURL is the base of the callback and of clients' documents, where
	// browsers and authorization servers reach any node.
	PublicURL string
	// Leading reports whether this node is the one that replaces secrets which end.
	Leading  func() bool
	Logger   *slog.Logger
	Patience time.Duration // 0: [DefaultPatience]
}

// Keeper makes integrations of MCP servers and keeps them going. Methods may be
// called concurrently.
type Keeper struct {
	protocol Protocol
	registry Registry
	public   string
	leading  func() bool
	log      *slog.Logger
	patience time.Duration

	waiting chan refusal

	mu     sync.Mutex
	events map[string]*trouble // by integration, only of those that were refused
}

// New returns a Keeper. Have one goroutine call [Keeper.Run].
func New(c Config) *Keeper {
	return &Keeper{
		protocol: c.Protocol, registry: c.Registry, public: strings.TrimSuffix(c.PublicURL, "/"), leading: c.Leading, log: c.Logger,
		patience: cmp.Or(c.Patience, DefaultPatience), waiting: make(chan refusal, maxWaiting), events: make(map[string]*trouble),
	}
}

// Put makes or replaces an integration of the MCP server at address. The spec is
// the operator's; its client id and overrides may be empty. A client that was
// registered before is kept where it still fits: the grants of its accounts
// belong to it. Where anything cannot be found, nothing is changed.
//
// Errors: credential.ErrInvalid with a reason, credential.ErrProviderUnavailable
// where a server could not be asked, and those of the registry.
func (k *Keeper) Put(ctx context.Context, id, address string, spec registry.IntegrationSpec, secret credential.Secret) (*registry.Integration, bool, error) {
	if err := oauth.CheckResource(address); err != nil {
		return nil, false, invalid("mcp_url: " + reasonOf(err))
	}
	if spec.ClientID == "" && !secret.IsZero() {
		return nil, false, invalid("client_secret is of no use without client_id; leave both out to have a client registered")
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	old, _ := k.registry.Integration(id)
	found, err := k.look(ctx, address, spec)
	if err != nil {
		return nil, false, told(err)
	}
	if err := k.storable(id, spec, found); err != nil {
		return nil, false, err
	}
	client, err := k.choose(ctx, id, &spec, found, old, secret)
	if err != nil {
		return nil, false, told(err)
	}
	return k.registry.PutMCP(ctx, id, found.complete(spec), client)
}

// storable says why an integration could not be stored, before a client is made
// for it.
func (k *Keeper) storable(id string, spec registry.IntegrationSpec, found *findings) error {
	full := found.complete(spec)
	full.ClientID = cmp.Or(full.ClientID, "to-be-made")
	return k.registry.Check(id, full)
}

// Document is what the client id of an integration leads to: credential.ErrNotFound
// where its client is not known by a document.
func (k *Keeper) Document(id string) ([]byte, error) {
	in, ok := k.registry.Integration(id)
	if !ok || in.MCP == nil || in.MCP.Client != registry.ClientDocument {
		return nil, credential.ErrNotFound
	}
	m := k.metadata(id, in.IntegrationSpec, string(in.Facts.TokenAuthMethod))
	m.ClientID, m.ApplicationType = in.ClientID, ""
	return json.Marshal(m)
}

// publishes says why authorization servers cannot fetch a document from here;
// empty: they can, as far as can be told.
func (k *Keeper) publishes() string {
	u, err := url.Parse(k.public)
	if err != nil || u.Scheme != "https" {
		return "http.public_url is not https"
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr = addr.Unmap(); !addr.IsGlobalUnicast() || addr.IsPrivate() {
			return "http.public_url is an address that others cannot reach"
		}
		return ""
	}
	if name := strings.ToLower(strings.TrimSuffix(host, ".")); !strings.Contains(name, ".") || strings.HasSuffix(name, ".localhost") || strings.HasSuffix(name, ".local") || strings.HasSuffix(name, ".internal") {
		return "http.public_url has a name that others cannot reach"
	}
	return ""
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

func invalid(reason string) error {
	return &credential.Unavailable{Err: credential.ErrInvalid, Reason: reason}
}

func reasonOf(err error) string {
	if u, ok := errors.AsType[*credential.Unavailable](err); ok {
		return u.Reason
	}
	return err.Error()
}

// told is a failure as whoever asked for an integration is told it.
func told(err error) error {
	f, ok := errors.AsType[*credential.Failure](err)
	switch {
	case !ok:
		return err
	case f.Class == credential.Transient || f.Class == credential.Ambiguous:
		return &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: f.Detail, RetryAfter: f.RetryAfter}
	}
	return invalid("mcp_url: " + f.Code + ": " + f.Detail)
}
