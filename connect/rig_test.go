package connect

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuerURL = "http://127.0.0.1:8421"
	public    = "https://grants.example.com"
)

// memoryKV is a store in memory that can delete many keys at once.
type memoryKV struct {
	registrytest.KV
	deletes []int // how many keys went in each write
	// after, where set, is called with what was written, and may lose the answer.
	after func(value string) error
}

func (kv *memoryKV) lose(rev uint64, err error, key string, value []byte) (uint64, error) {
	if err == nil && kv.after != nil && strings.HasPrefix(key, prefix) {
		err = kv.after(string(value))
	}
	return rev, err
}

// Put implements KV.
func (kv *memoryKV) Put(ctx context.Context, key string, expect uint64, value []byte) (uint64, error) {
	rev, err := kv.KV.Put(ctx, key, expect, value)
	return kv.lose(rev, err, key, value)
}

// PutAndTell implements KV.
func (kv *memoryKV) PutAndTell(ctx context.Context, key string, expect uint64, value []byte, events []credential.Event) (uint64, error) {
	rev, err := kv.KV.PutAndTell(ctx, key, expect, value, events)
	return kv.lose(rev, err, key, value)
}

// DeleteAll implements KV.
func (kv *memoryKV) DeleteAll(ctx context.Context, revisions map[string]uint64) error {
	for key, rev := range revisions {
		if _, have, err := kv.Get(key); err != nil || have != rev {
			return credential.ErrConflict
		}
	}
	for key, rev := range revisions {
		if err := kv.Delete(ctx, key, rev); err != nil {
			return err
		}
	}
	kv.deletes = append(kv.deletes, len(revisions))
	return nil
}

// accounts are those that the flows made.
type accounts struct {
	mu   sync.Mutex
	all  map[credential.Ref]credential.Account
	got  []credential.Import
	fail []error // of the next imports
}

// Account implements Accounts.
func (a *accounts) Account(_ context.Context, ref credential.Ref) (credential.Account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if acc, ok := a.all[ref]; ok {
		return acc, nil
	}
	return credential.Account{}, credential.ErrNotFound
}

// Import implements Accounts, with the actors' rule about identities.
func (a *accounts) Import(_ context.Context, in credential.Import) (credential.Account, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.fail) > 0 {
		err := a.fail[0]
		a.fail = a.fail[1:]
		return credential.Account{}, false, err
	}
	old, had := a.all[in.Ref]
	if had && len(old.Subject) > 0 && len(in.Subject) > 0 && !slices.Equal(old.Subject, in.Subject) && !in.AllowOtherIdentity {
		return credential.Account{}, false, credential.ErrOtherIdentity
	}
	next := credential.Account{
		Ref: in.Ref, Kind: in.Kind, Integration: in.Integration, State: credential.StateActive, Scopes: in.Scopes, RequestedScopes: in.RequestedScopes,
		Generation: old.Generation + 1, Subject: in.Subject, Variables: in.Variables, Facts: in.Facts,
	}
	a.all[in.Ref] = next
	a.got = append(a.got, in)
	return next, !had, nil
}

// protocol is the real client against the strict provider.
type protocol struct {
	client *oauth.Client
	r      *rig
	asked  []Authorization
	// exchanged counts the exchanges; user is who the provider names; during runs
	// while a code is being exchanged; granted replaces the scopes.
	exchanged int
	user      string
	during    func()
	granted   []string
}

func (p *protocol) registration(a Authorization) (oauth.Registration, error) {
	in := p.r.integrations[a.Integration]
	with, err := in.Facts.WithVariables(a.Variables)
	return oauth.Registration{Provider: &with, ClientID: "demo-basic", ClientSecret: credential.NewSecret("demo-basic-secret")}, err
}

// Authorize implements Provider.
func (p *protocol) Authorize(ctx context.Context, a Authorization) (string, error) {
	p.asked = append(p.asked, a)
	reg, err := p.registration(a)
	if err != nil {
		return "", err
	}
	return p.client.Authorize(ctx, reg, oauth.AuthorizationRequest{RedirectURI: a.RedirectURI, State: a.State, Scopes: a.Scopes, Verifier: a.Verifier, Nonce: a.Nonce})
}

// Exchange implements Provider.
func (p *protocol) Exchange(ctx context.Context, a Answer) (credential.Grant, error) {
	p.exchanged++
	if p.during != nil {
		p.during()
	}
	reg, err := p.registration(a.Authorization)
	if err != nil {
		return credential.Grant{}, err
	}
	g, err := p.client.Exchange(ctx, reg, oauth.Exchange{Code: a.Code, RedirectURI: a.RedirectURI, Verifier: a.Verifier})
	g.Subject = credential.Subject{Issuer: issuerURL, User: p.user}
	if p.granted != nil {
		g.Scopes = p.granted
	}
	return g, err
}

// rig is a Connect with all around it.
type rig struct {
	*Connect
	t            *testing.T
	kv           *memoryKV
	accounts     *accounts
	protocol     *protocol
	provider     *strict.Provider
	integrations map[string]Integration
}

// ConnectIntegration implements Integrations.
func (r *rig) ConnectIntegration(id string) (Integration, bool) {
	in, ok := r.integrations[id]
	return in, ok
}

var crm = credential.Ref{Tenant: "acme", ID: "crm"}

// bubble runs fn with a rig in virtual time.
func bubble(t *testing.T, fn func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client := strict.DemoClients()[0]
		client.RedirectURIs = []string{public + "/callback"}
		provider, err := strict.New(strict.Options{Issuer: issuerURL, Clients: []strict.Client{client}})
		if err != nil {
			t.Fatal(err)
		}
		defer provider.Close()
		r := &rig{t: t, kv: &memoryKV{}, accounts: &accounts{all: map[credential.Ref]credential.Account{}}, provider: provider}
		r.integrations = map[string]Integration{"demo": {
			ID: "demo", Product: "Acme CRM", Scopes: []string{"api"}, ReturnOrigins: []string{"https://app.example.com"}, Issuer: issuerURL, IssuerSent: true,
			ScopeDescriptions: map[string]string{"api": "Read your contacts"},
			Facts:             catalog.Provider{Name: "Demo", AuthorizationURL: issuerURL + "/auth", TokenURL: issuerURL + "/token"},
		}}
		r.protocol = &protocol{client: oauth.New(provider.RoundTripper(), oauth.Options{}), r: r, user: "ada"}
		r.Connect = r.node()
		fn(t, r)
	})
}

// lastState is that of the last flow that was begun.
func (r *rig) lastState() string { return r.protocol.asked[len(r.protocol.asked)-1].State }

// count is how many links are stored.
func (r *rig) count() (n int) {
	if err := r.kv.Scan(prefix, func(string, []byte, uint64) error { n++; return nil }); err != nil {
		r.t.Error(err)
	}
	return n
}

// judgeWith is what Finish has done with a record.
func (v *verdict) judgeWith(r *rig) func(*record) (bool, []credential.Event, error) {
	return func(rec *record) (bool, []credential.Event, error) {
		v.integration, _ = r.ConnectIntegration(rec.Integration)
		return v.judge(rec)
	}
}

// node returns a Connect on the same store, as another node has it.
func (r *rig) node() *Connect {
	kek, err := envelope.OpenKEK("file://"+r.t.TempDir()+"/kek.json", true)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.nodeOf(envelope.New(kek, registry.Keysets{KV: &r.kv.KV}))
}

func (r *rig) nodeOf(s Sealer) *Connect {
	return New(Config{
		KV: r.kv, Sealer: s, Integrations: r, Accounts: r.accounts, Provider: r.protocol, PublicURL: public, Logger: slog.New(slog.DiscardHandler), MaxLinks: 20_000,
	})
}

// link makes a link and returns its secret.
func (r *rig) link(n NewLink) string {
	r.t.Helper()
	if n.Integration == "" {
		n.Integration = "demo"
	}
	if n.Ref == (credential.Ref{}) {
		n.Ref = crm
	}
	made, err := r.Create(r.t.Context(), n)
	if err != nil {
		r.t.Fatal(err)
	}
	link, ok := strings.CutPrefix(made.URL.Reveal(), public+"/connect/")
	if !ok {
		r.t.Fatalf("link %s", made.URL.Reveal())
	}
	return link
}

// start begins a flow in a browser that has no mark yet.
func (r *rig) start(link string) Started {
	r.t.Helper()
	s, err := r.Start(r.t.Context(), link, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// consent has the person say yes at the provider, and returns what the callback
// comes with.
func (r *rig) consent(s Started) url.Values {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := r.provider.RoundTripper().RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	to, err := resp.Location()
	if err != nil {
		b, _ := io.ReadAll(resp.Body)
		r.t.Fatalf("the provider answered %s: %s", resp.Status, b)
	}
	return to.Query()
}

// events are the types and reasons of those that were told, in order.
func (r *rig) events() (all []string) {
	for _, e := range r.kv.Events() {
		if e.ID == "" || e.Ref != crm || e.Integration != "demo" {
			r.t.Errorf("event %+v", e)
		}
		all = append(all, string(e.Type)+" "+e.Reason)
	}
	return all
}

func (r *rig) wantEvents(want ...string) {
	r.t.Helper()
	if got := r.events(); !slices.Equal(got, want) {
		r.t.Errorf("events %q, want %q", got, want)
	}
}

func with(v url.Values, name, value string) url.Values {
	c := maps.Clone(v)
	c.Set(name, value)
	return c
}

var errAny = errors.New("any")

func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }
