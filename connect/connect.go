package connect

import (
	"cmp"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
)

// Bounds of links. A link is a way into somebody's account at a provider, so it
// lives no longer than it takes to follow it.
const (
	DefaultTTL = 15 * time.Minute
	MinTTL     = time.Minute
	MaxTTL     = 24 * time.Hour
	// FlowTTL is for how long a person may be at the provider.
	FlowTTL = 15 * time.Minute
	// MaxLinks is how many links are kept at once, those that are over included
	// until they are swept.
	MaxLinks = 100_000

	// keepAfter is for how long a link that is over is kept, to tell a person why
	// it does not work.
	keepAfter = time.Hour
	// lease is after what time an answer that was taken, and of which nothing came,
	// stands in the way of another flow no longer: the node that took it is gone.
	lease = 2 * time.Minute
)

// Errors of links. What a person is shown of them is for package httpapi.
var (
	// ErrNoLink: there is no such link, or it has been swept.
	ErrNoLink = errors.New("no such link")
	// ErrExpired: the link's time is over.
	ErrExpired = errors.New("the link has expired")
	// ErrUsed: somebody connected an account through the link.
	ErrUsed = errors.New("the link was used")
)

// MissingVariables says which variables a person has to tell before they can be
// sent to the provider.
type MissingVariables struct{ Names []string }

// Error names them.
func (e *MissingVariables) Error() string {
	return "the provider's address needs " + strings.Join(e.Names, ", ")
}

// Config is what a Connect is made of; all but the limits is needed.
type Config struct {
	KV           KV
	Sealer       Sealer
	Integrations Integrations
	Accounts     Accounts
	Provider     Provider
	// PublicURL is the base of links and of the callback, without a slash at its
	// end: where browsers reach any node.
	PublicURL string
	Logger    *slog.Logger
	MaxLinks  int // 0: [MaxLinks]
}

// Connect makes links and finishes what is started from them. It holds no state
// that another node would lack. Methods may be called concurrently.
type Connect struct {
	kv           KV
	sealer       Sealer
	integrations Integrations
	accounts     Accounts
	provider     Provider
	public       string
	insecure     string // why links cannot be made; empty: they can
	log          *slog.Logger
	maxLinks     int

	mu        sync.Mutex
	counted   int       // links, when last looked, and those made here since
	countedAt time.Time // zero: never
}

// New returns a Connect. It starts nothing.
func New(c Config) *Connect {
	return &Connect{
		kv: c.KV, sealer: c.Sealer, integrations: c.Integrations, accounts: c.Accounts, provider: c.Provider,
		public: strings.TrimSuffix(c.PublicURL, "/"), insecure: insecure(c.PublicURL), log: c.Logger, maxLinks: cmp.Or(c.MaxLinks, MaxLinks),
	}
}

// insecure says why browsers cannot be trusted with a link below a URL: over
// plain HTTP anybody on the way could take it, or the code.
func insecure(public string) string {
	u, err := url.Parse(public)
	switch {
	case err != nil || u.Host == "":
		return "http.public_url is not a URL"
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return ""
	}
	return "http.public_url must be https for links that people follow; plain http is taken only on this machine itself"
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// PublicURL is the base of links.
func (c *Connect) PublicURL() string { return c.public }

func invalid(reason string) error {
	return &credential.Unavailable{Err: credential.ErrInvalid, Reason: reason}
}
