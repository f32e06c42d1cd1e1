package kill

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// The clients at the provider; integrations and clients have the same names.
const (
	rotating  = "rotating"  // a second use of a refresh token kills the grant
	forgiving = "forgiving" // it is forgiven for reuseGrace

	reuseGrace = time.Minute
	accessTTL  = 2 * time.Second
)

// provider is the strict provider on loopback. Besides its own record it keeps
// every token that it gave away, for the search for plaintext, and which
// tokens came together.
type provider struct {
	*strict.Provider
	server  *httptest.Server
	handler http.Handler
	secrets map[string]credential.Secret // of the clients

	arrived trap // passed by each refresh request, before anything is done about it
	rotated trap // passed by each one that was granted, before the answer is sent

	mu     sync.Mutex
	texts  []string
	paired map[place]uint64 // place of an access token -> that of the refresh token in the same answer
}

// place is a token's place among those of its grant.
type place struct {
	grant    string
	sequence uint64
}

// refreshRequests is more than the provider gets in a run.
const refreshRequests = 1 << 18

func newProvider(t *testing.T, seed uint64) *provider {
	t.Helper()
	p := &provider{paired: map[place]uint64{}, secrets: map[string]credential.Secret{
		rotating: credential.NewSecret("secret-of-the-rotating-client"), forgiving: credential.NewSecret("secret-of-the-forgiving-client"),
	}}
	var err error
	p.Provider, err = strict.New(strict.Options{
		Clients: []strict.Client{
			{ID: rotating, Secret: p.secrets[rotating], Rotation: strict.RotationStrict},
			{ID: forgiving, Secret: p.secrets[forgiving], Rotation: strict.RotationGrace, Grace: reuseGrace},
		},
		AccessTTL:      accessTTL,
		RecordCapacity: refreshRequests,
		Received:       func(strict.Request) { p.arrived.pass() },
		Processed: func(r strict.Request) {
			if r.Outcome == strict.OutcomeGranted {
				p.rotated.pass()
			}
		},
	})
	must(t, err)
	for i, f := range []strict.Fault{
		{Kind: strict.FaultLatency, Probability: 0.5, Delay: time.Millisecond, Jitter: 20 * time.Millisecond},
		{Kind: strict.FaultSlowAnswer, Probability: 0.5, Delay: time.Millisecond, Jitter: 20 * time.Millisecond},
		{Kind: strict.FaultStatus503, Probability: 0.02},
		{Kind: strict.FaultDropRequest, Probability: 0.01},
	} {
		f.Seed = seed + uint64(i)
		_, err := p.AddFault(f)
		must(t, err)
	}
	p.handler = p.Handler()
	p.server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.Close()
		p.server.Close()
	})
	return p
}

// ServeHTTP lets the provider answer, and looks at the tokens that it gives.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &copied{ResponseWriter: w}
	p.handler.ServeHTTP(c, r)
	var given struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if json.Unmarshal(c.body.Bytes(), &given) == nil && given.Access != "" {
		p.gave(given.Access, given.Refresh)
	}
}

func (p *provider) gave(access, refresh string) {
	grant, accessPlace, _ := p.GrantOf(credential.NewSecret(access))
	_, refreshPlace, _ := p.GrantOf(credential.NewSecret(refresh))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.texts = append(p.texts, access, refresh)
	p.paired[place{grant, accessPlace}] = refreshPlace
}

// newGrant is what a person who authorises brings.
func (p *provider) newGrant(client, user string) (strict.Tokens, error) {
	g, err := p.NewGrant(client, user, nil)
	if err == nil {
		p.gave(g.AccessToken.Reveal(), g.RefreshToken.Reveal())
	}
	return g, err
}

// tokens returns the text of every token that was given away.
func (p *provider) tokens() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.texts...)
}

// cameWith returns the place of the refresh token that came with an access token.
func (p *provider) cameWith(access place) (refresh uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	refresh, ok = p.paired[access]
	return refresh, ok
}

// copied is a response, and a copy of its body.
type copied struct {
	http.ResponseWriter
	body bytes.Buffer
}

// Write implements http.ResponseWriter.
func (c *copied) Write(b []byte) (int, error) {
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}

// trap calls a function when it is passed for the nth time after it was set.
type trap struct{ armed atomic.Pointer[snare] }

type snare struct {
	left   atomic.Int64
	spring func()
}

func (t *trap) set(n int, spring func()) {
	s := &snare{spring: spring}
	s.left.Store(int64(n))
	t.armed.Store(s)
}

func (t *trap) clear() { t.armed.Store(nil) }

func (t *trap) pass() {
	if s := t.armed.Load(); s != nil && s.left.Add(-1) == 0 {
		s.spring()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
