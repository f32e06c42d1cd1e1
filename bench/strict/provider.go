package strict

import (
	"fmt"
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
)

// Provider is the authorization server. All its methods are safe for
// concurrent use and return at once, except where they say otherwise.
type Provider struct {
	o        Options
	mint     *mint
	clients  clients
	grants   *grants
	faults   faults
	record   *record
	counters counters
	machines machineLine

	closed chan struct{} // ends every delay

	mu      sync.Mutex // guards closing against new visits
	closing bool
	visits  sync.WaitGroup // requests of the RoundTripper that are being worked off
}

// New returns a provider. It starts no goroutine; call [Provider.Close] when
// done with it.
func New(o Options) (*Provider, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	p := &Provider{o: o, mint: newMint(), grants: newGrants(o.MaxGrants), record: newRecord(o.RecordCapacity), closed: make(chan struct{})}
	if err := p.clients.reset(o.Clients); err != nil {
		return nil, err
	}
	return p, nil
}

// Close ends every delay that a fault causes, and waits until the requests
// that came in process are worked off. A request delayed before it was looked
// at is dropped. Later requests are refused. What [Provider.Serve] runs is
// ended by its context, not by Close.
func (p *Provider) Close() {
	p.mu.Lock()
	if !p.closing {
		p.closing = true
		close(p.closed)
	}
	p.mu.Unlock()
	p.visits.Wait()
}

// enter counts a request of the RoundTripper in, unless the provider is closing.
func (p *Provider) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.visits.Add(1)
	return true
}

// Tokens are what a grant gives its client.
type Tokens struct {
	Grant        string
	AccessToken  credential.Secret
	RefreshToken credential.Secret
	ExpiresIn    time.Duration // of the access token, when it was issued
	Scopes       []string
}

// NewGrant makes a grant of user for client without a browser, as if its code
// had been redeemed just now. Errors: [ErrClient], [ErrFull].
func (p *Provider) NewGrant(clientID, user string, scopes []string) (Tokens, error) {
	client := p.clients.get(clientID)
	if client == nil {
		return Tokens{}, fmt.Errorf("%w: nobody knows %q; register it first", ErrClient, clientID)
	}
	if !scopesValid(scopes) || user == "" {
		return Tokens{}, fmt.Errorf("strict: a grant needs a user, and scopes without spaces, quotes and backslashes; got user %q, scopes %q", user, scopes)
	}
	now := time.Now()
	g := &grant{client: client.ID, user: user, scope: joinScopes(scopes)}
	is := g.first(use{client: client, now: now, ttl: p.refreshTTL(client)})
	number, err := p.grants.add(g)
	if err != nil {
		return Tokens{}, err
	}
	ttl := p.accessTTL(client)
	return Tokens{
		Grant:        grantName(number),
		AccessToken:  credential.NewSecret(p.mint.write(token{kind: kindAccess, owner: number, seq: is.accessSeq, expires: now.Add(ttl)})),
		RefreshToken: credential.NewSecret(p.mint.write(token{kind: kindRefresh, owner: number, seq: is.refreshSeq})),
		ExpiresIn:    ttl.Truncate(time.Second),
		Scopes:       scopes,
	}, nil
}

func (p *Provider) accessTTL(c *registration) time.Duration {
	if c.AccessTTL != 0 {
		return c.AccessTTL
	}
	return p.o.AccessTTL
}

func (p *Provider) refreshTTL(c *registration) time.Duration {
	if c.RefreshTTL != 0 {
		return c.RefreshTTL
	}
	return p.o.RefreshTTL
}

// PutClient registers a client, or changes one: its grants stay, its tokens
// from client credentials die. Errors: [ErrClient].
func (p *Provider) PutClient(c Client) error { return p.clients.put(c) }

// Revoke kills a grant and all its tokens, as a person does who takes the
// consent back. Errors: [ErrNoGrant].
func (p *Provider) Revoke(grantID string) error {
	return p.withGrant(grantID, func(g *grant) { g.dead = true })
}

// ExpireAccess kills the access tokens of a grant that exist now; the refresh
// token lives on. It is how a provider answers 401 before the time that it
// promised. Errors: [ErrNoGrant].
func (p *Provider) ExpireAccess(grantID string) error {
	return p.withGrant(grantID, func(g *grant) { g.accessFloor = g.accessSeq + 1 })
}

func (p *Provider) withGrant(id string, fn func(*grant)) error {
	number, err := grantNumber(id)
	if err != nil {
		return err
	}
	if !p.grants.with(number, fn) {
		return fmt.Errorf("%w: %s", ErrNoGrant, id)
	}
	return nil
}

// ExpireMachine kills the tokens that a client got for itself by the client
// credentials grant until now. Errors: [ErrClient].
func (p *Provider) ExpireMachine(clientID string) error {
	c := p.clients.get(clientID)
	if c == nil {
		return fmt.Errorf("%w: nobody knows %q", ErrClient, clientID)
	}
	c.machine.revokeAll(p.machines.last())
	return nil
}

// AddFault adds a fault to those there are and returns its id, for
// [Provider.RemoveFault]. Errors: [ErrFault].
func (p *Provider) AddFault(f Fault) (string, error) {
	ids, err := p.faults.set(false, f)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// SetFaults replaces all faults. Without arguments the provider behaves again.
// Requests that a fault delays already are not let go. Errors: [ErrFault].
func (p *Provider) SetFaults(fs ...Fault) error {
	_, err := p.faults.set(true, fs...)
	return err
}

// RemoveFault removes one fault and reports whether it was there.
func (p *Provider) RemoveFault(id string) bool { return p.faults.remove(id) }

// Faults lists the faults and what they did so far.
func (p *Provider) Faults() []FaultStatus { return p.faults.status() }

// Reset forgets grants, faults, record and counters, and leaves the clients of
// the options. All tokens die.
func (p *Provider) Reset() {
	_ = p.clients.reset(p.o.Clients) // they were validated by New
	p.grants.clear()
	_, _ = p.faults.set(true)
	p.record.clear()
	p.counters.clear()
}
