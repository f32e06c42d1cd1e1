package kill

import (
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/witness"
)

// The clients at the provider; integrations and clients have the same names.
const (
	rotating  = "rotating"  // a second use of a refresh token kills the grant
	forgiving = "forgiving" // it is forgiven for reuseGrace

	reuseGrace = time.Minute
	accessTTL  = 2 * time.Second
)

// provider is the strict provider on loopback. Besides its own record there is
// every token that it gave away, for the search for plaintext, and which
// tokens came together.
type provider struct {
	*strict.Provider
	server  *httptest.Server
	tokens  *witness.Tokens
	secrets map[string]credential.Secret // of the clients

	arrived trap // passed by each refresh request, before anything is done about it
	rotated trap // passed by each one that was granted, before the answer is sent
}

// refreshRequests is more than the provider gets in a run.
const refreshRequests = 1 << 18

func newProvider(t *testing.T, seed uint64) *provider {
	t.Helper()
	p := &provider{secrets: map[string]credential.Secret{
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
	p.tokens = witness.NewTokens(p.Provider)
	p.server = httptest.NewServer(p.tokens.Watch())
	t.Cleanup(func() {
		p.Close()
		p.server.Close()
	})
	return p
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
