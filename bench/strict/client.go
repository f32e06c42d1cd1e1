package strict

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/grantd/grantd/credential"
)

// AuthMethod is how a client proves who it is at the token end point
// (RFC 6749 section 2.3), in the words of RFC 7591.
type AuthMethod string

// The methods of authentication.
const (
	AuthBasic AuthMethod = "client_secret_basic"
	AuthPost  AuthMethod = "client_secret_post"
	AuthNone  AuthMethod = "none" // a public client: its id only
)

// Rotation is what happens to a refresh token that was used.
type Rotation string

// The kinds of rotation.
const (
	// RotationStrict: each use brings a new one, an old one revokes the grant.
	RotationStrict Rotation = "rotating"
	// RotationStatic: the same one stays good.
	RotationStatic Rotation = "static"
	// RotationGrace is RotationStrict, except that the last one but one can be
	// presented again for the client's Grace: the answer then holds a new
	// access token and the current refresh token once more.
	RotationGrace Rotation = "grace"
)

// Client is a registered client.
type Client struct {
	ID     string
	Secret credential.Secret // empty with AuthNone
	// Auth is the registered method; empty: AuthBasic. As at oidc-provider a
	// client with a secret may send it either way, unless OnlyRegisteredAuth.
	Auth               AuthMethod
	OnlyRegisteredAuth bool
	// RedirectURIs are compared exactly; none: any http address of loopback.
	RedirectURIs []string
	Rotation     Rotation      // empty: RotationStrict
	Grace        time.Duration // for RotationGrace
	AccessTTL    time.Duration // 0: the provider's
	RefreshTTL   time.Duration // 0: the provider's
	// OneAccessToken lets the older access tokens of a grant die at a refresh,
	// as fosite and zitadel do; oidc-provider lets them live on.
	OneAccessToken bool
	// RequestsPerSecond, where set, limits the client's requests to the token
	// end point; Burst is how many may come at once (0: 1). What is over it is
	// refused with 429 and Retry-After.
	RequestsPerSecond float64
	Burst             int
}

// DemoClients are the clients registered when no others are given: demo-basic,
// demo-post and demo-public, each with its id and "-secret" as its secret.
func DemoClients() []Client {
	return []Client{
		{ID: "demo-basic", Secret: credential.NewSecret("demo-basic-secret"), Auth: AuthBasic},
		{ID: "demo-post", Secret: credential.NewSecret("demo-post-secret"), Auth: AuthPost},
		{ID: "demo-public", Auth: AuthNone},
	}
}

// ErrClient is wrapped by errors about clients: one that cannot be registered,
// or that nobody knows.
var ErrClient = errors.New("strict: bad client")

// Validate says what is wrong with the client.
func (c Client) Validate() error {
	if err := credential.CheckName("client id", c.ID); err != nil {
		return fmt.Errorf("%w: %w", ErrClient, err)
	}
	switch c.Auth {
	case "", AuthBasic, AuthPost:
		if c.Secret.IsZero() {
			return fmt.Errorf("%w: %s has no secret; give one, or set Auth to %q", ErrClient, c.ID, AuthNone)
		}
	case AuthNone:
		if !c.Secret.IsZero() {
			return fmt.Errorf("%w: %s has a secret, and Auth %q, which does not use one", ErrClient, c.ID, AuthNone)
		}
	default:
		return fmt.Errorf("%w: %s has the unknown Auth %q; use %q, %q or %q", ErrClient, c.ID, c.Auth, AuthBasic, AuthPost, AuthNone)
	}
	if !slices.Contains([]Rotation{"", RotationStrict, RotationStatic, RotationGrace}, c.Rotation) {
		return fmt.Errorf("%w: %s has the unknown Rotation %q; use %q, %q or %q", ErrClient, c.ID, c.Rotation, RotationStrict, RotationStatic, RotationGrace)
	}
	if (c.Rotation == RotationGrace) != (c.Grace > 0) || c.Grace < 0 {
		return fmt.Errorf("%w: %s has Rotation %q and Grace %v; one needs the other", ErrClient, c.ID, c.Rotation, c.Grace)
	}
	if c.AccessTTL != 0 && c.AccessTTL < time.Second || c.RefreshTTL < 0 {
		return fmt.Errorf("%w: %s has AccessTTL %v and RefreshTTL %v; the one must be at least 1s, the other not negative", ErrClient, c.ID, c.AccessTTL, c.RefreshTTL)
	}
	if c.RequestsPerSecond < 0 || c.Burst < 0 {
		return fmt.Errorf("%w: %s has the negative limit %v, %d", ErrClient, c.ID, c.RequestsPerSecond, c.Burst)
	}
	return nil
}

// registration is a client as the provider holds it. It is immutable but for
// its limiter and the set of its revoked tokens, which have their own locks.
type registration struct {
	Client
	number  uint64 // names the client in its machine tokens; never used twice
	secret  [sha256.Size]byte
	limiter *rate.Limiter // nil: no limit
	machine *machineTokens
}

// secretMatches compares in time that depends on nothing but the length of what was presented.
func (r *registration) secretMatches(presented string) bool {
	sum := sha256.Sum256([]byte(presented))
	return subtle.ConstantTimeCompare(sum[:], r.secret[:]) == 1
}

// redirectAllowed says whether the browser may be sent to uri.
func (r *registration) redirectAllowed(uri string) bool {
	if len(r.RedirectURIs) > 0 {
		return slices.Contains(r.RedirectURIs, uri)
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.Fragment != "" || u.User != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// clients is the register of clients: read without a lock, written by copying.
type clients struct {
	mu     sync.Mutex // held by writers only
	number uint64
	byID   atomic.Pointer[map[string]*registration]
}

func (cs *clients) get(id string) *registration { return (*cs.byID.Load())[id] }

// put registers c, in place of the client of that id, if there is one: its
// grants stay its own, its machine tokens die.
func (cs *clients) put(c Client) error {
	if err := c.Validate(); err != nil {
		return err
	}
	c.RedirectURIs = slices.Clone(c.RedirectURIs)
	if c.Auth == "" {
		c.Auth = AuthBasic
	}
	if c.Rotation == "" {
		c.Rotation = RotationStrict
	}
	r := &registration{Client: c, secret: sha256.Sum256([]byte(c.Secret.Reveal())), machine: &machineTokens{}}
	if c.RequestsPerSecond > 0 {
		r.limiter = rate.NewLimiter(rate.Limit(c.RequestsPerSecond), max(1, c.Burst))
	}
	r.ID = strings.Clone(c.ID)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.number++
	r.number = cs.number
	next := map[string]*registration{}
	if old := cs.byID.Load(); old != nil {
		next = maps.Clone(*old)
	}
	next[r.ID] = r
	cs.byID.Store(&next)
	return nil
}

// reset leaves the given clients and no others.
func (cs *clients) reset(initial []Client) error {
	cs.mu.Lock()
	cs.byID.Store(&map[string]*registration{})
	cs.mu.Unlock()
	for _, c := range initial {
		if err := cs.put(c); err != nil {
			return err
		}
	}
	return nil
}
