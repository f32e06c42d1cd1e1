package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/envelope"
)

// Webhook is an end point of webhooks. It is shared and never changed.
type Webhook struct {
	WebhookSpec
	ID string // unique within its tenant
	// Version grows with every change.
	Version uint64
	// Reason is why it was disabled by something else than an operator.
	Reason string
	// Since is when it was made or enabled again: it gets events from then on.
	Since     time.Time
	CreatedAt time.Time
	UpdatedAt time.Time

	incarnation string
	secrets     []webhookSecret
	rev         uint64
	endpoint    *delivery.Endpoint
	// rest is the stored value as it was read: a newer version's fields are kept.
	rest map[string]json.RawMessage
}

// WebhookSpec is what an operator says about an end point.
type WebhookSpec struct {
	Tenant string // whose events it gets; empty: those of all, and of integrations
	URL    string
	Events []string // types, or delivery.AllEvents
	// Integrations whose events it gets; nil: of all.
	Integrations []string
	Enabled      bool
}

// Name is the end point's name among those of all tenants.
func (w *Webhook) Name() string { return delivery.EndpointID(w.Tenant, w.ID) }

// Overlaps are until when the secrets before the present one sign as well, the
// newest first, as far as that is to come.
func (w *Webhook) Overlaps(now time.Time) (until []time.Time) {
	for _, s := range w.secrets {
		if s.Until.After(now) {
			until = append(until, s.Until)
		}
	}
	return until
}

// webhookSecret is a signing secret, sealed.
type webhookSecret struct {
	Sealed  credential.Sealed `json:"sealed"`
	Version uint64            `json:"version"` // of the end point, under which it was sealed
	// Until is when it ceases to sign; zero: it is the present one.
	Until time.Time `json:"until,omitzero"`
}

// storedWebhook is a Webhook in the store; tenant and id are the key.
type storedWebhook struct {
	Incarnation  string          `json:"incarnation"`
	URL          string          `json:"url"`
	Events       []string        `json:"events"`
	Integrations []string        `json:"integrations,omitempty"`
	Disabled     bool            `json:"disabled,omitempty"`
	Reason       string          `json:"reason,omitempty"`
	Secrets      []webhookSecret `json:"secrets"`
	Version      uint64          `json:"version"`
	Since        time.Time       `json:"since"`
	CreatedAt    time.Time       `json:"created_at"`
	UpdatedAt    time.Time       `json:"updated_at"`
}

// webhookFields are the names of the stored fields that this version knows.
var webhookFields = fieldsOf(reflect.TypeFor[storedWebhook]())

func (w *Webhook) encode() ([]byte, error) {
	known, err := json.Marshal(storedWebhook{
		Incarnation: w.incarnation, URL: w.URL, Events: w.Events, Integrations: w.Integrations, Disabled: !w.Enabled, Reason: w.Reason,
		Secrets: w.secrets, Version: w.Version, Since: w.Since, CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt,
	})
	if err != nil {
		return nil, err
	}
	return withRest(known, w.rest, webhookFields)
}

func decodeWebhook(name string, value []byte, rev uint64) (*Webhook, error) {
	var s storedWebhook
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, fmt.Errorf("webhook %s: %w", name, err)
	}
	var rest map[string]json.RawMessage
	if err := json.Unmarshal(value, &rest); err != nil {
		return nil, fmt.Errorf("webhook %s: %w", name, err)
	}
	w := &Webhook{
		rest: rest, Version: s.Version, Reason: s.Reason, Since: s.Since, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
		WebhookSpec: WebhookSpec{URL: s.URL, Events: s.Events, Integrations: s.Integrations, Enabled: !s.Disabled},
		incarnation: s.Incarnation, secrets: s.Secrets, rev: rev,
	}
	w.Tenant, w.ID = delivery.SplitEndpointID(name)
	w.endpoint = &delivery.Endpoint{
		ID: name, Incarnation: s.Incarnation, Revision: rev, URL: s.URL, Events: s.Events, Tenant: w.Tenant, Integrations: s.Integrations,
		Enabled: w.Enabled, Since: s.Since,
	}
	return w, nil
}

func (w *Webhook) secretLabel(version uint64) credential.Label {
	return credential.Label{Tenant: envelope.SystemTenant, Account: w.Name() + "/" + w.incarnation, Field: credential.FieldWebhookSecret, Generation: version}
}

// endpoints are the end points as the deliverers read them: all of them at once,
// without a lock.
type endpoints struct {
	all     atomic.Pointer[[]*delivery.Endpoint]
	tells   atomic.Bool // somebody wants to hear of refreshes
	mu      sync.Mutex
	changed chan struct{} // closed by the next change; nil: nobody waits
}

// Endpoints returns all end points of webhooks, in order of their names. Neither
// the slice nor what is in it is ever changed. It does not block.
func (r *Registry) Endpoints() []*delivery.Endpoint {
	if all := r.endpoints.all.Load(); all != nil {
		return *all
	}
	return nil
}

// Endpoint returns one of them; it does not block.
func (r *Registry) Endpoint(name string) (*delivery.Endpoint, bool) {
	w, ok := r.Webhook(delivery.SplitEndpointID(name))
	if !ok {
		return nil, false
	}
	return w.endpoint, true
}

// EndpointsChanged returns a channel that is closed when Endpoints may answer
// something else.
func (r *Registry) EndpointsChanged() <-chan struct{} {
	e := &r.endpoints
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	return e.changed
}

// TellsRefreshes reports whether some end point wants to hear of the refreshes of
// an account. It does not block.
func (r *Registry) TellsRefreshes(ref credential.Ref, integration string) bool {
	if !r.endpoints.tells.Load() {
		return false
	}
	e := &credential.Event{Type: credential.EventRefreshed, Ref: ref, Integration: integration}
	return slices.ContainsFunc(r.Endpoints(), func(p *delivery.Endpoint) bool { return p.Enabled && p.Wants(e) })
}

// rememberWebhook puts an end point into memory; rev 0: it is gone.
func (r *Registry) rememberWebhook(name string, value []byte, rev uint64) error {
	var v any
	if rev != 0 {
		w, err := decodeWebhook(name, value, rev)
		if err != nil {
			return err
		}
		v = w
	}
	swap(&r.webhooks, name, v, &r.counts.webhooks)
	var all []*delivery.Endpoint
	tells := false
	r.webhooks.Range(func(_, v any) bool {
		e := v.(*Webhook).endpoint
		all = append(all, e)
		tells = tells || e.Enabled && slices.Contains(e.Events, string(credential.EventRefreshed))
		return true
	})
	slices.SortFunc(all, func(a, b *delivery.Endpoint) int { return strings.Compare(a.ID, b.ID) })
	e := &r.endpoints
	e.all.Store(&all)
	e.tells.Store(tells)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
	return nil
}

// Webhook returns what is known of an end point; tenant empty: of one of no
// tenant. It does not block.
func (r *Registry) Webhook(tenant, id string) (*Webhook, bool) {
	v, ok := r.webhooks.Load(delivery.EndpointID(tenant, id))
	if !ok {
		return nil, false
	}
	return v.(*Webhook), true
}

// Webhooks returns all end points, in order of their names.
func (r *Registry) Webhooks() []*Webhook {
	var all []*Webhook
	r.webhooks.Range(func(_, v any) bool {
		all = append(all, v.(*Webhook))
		return true
	})
	slices.SortFunc(all, func(a, b *Webhook) int { return strings.Compare(a.Name(), b.Name()) })
	return all
}

// WebhookSecrets opens what an end point's messages are signed with now, the
// present secret first.
func (r *Registry) WebhookSecrets(ctx context.Context, name string) ([]credential.Secret, error) {
	w, ok := r.Webhook(delivery.SplitEndpointID(name))
	if !ok {
		return nil, credential.ErrNotFound
	}
	now := time.Now()
	var all []credential.Secret
	for _, s := range w.secrets {
		if !s.Until.IsZero() && !s.Until.After(now) {
			continue
		}
		plain, err := r.sealer.Open(ctx, w.secretLabel(s.Version), s.Sealed)
		if err != nil {
			return nil, err
		}
		all = append(all, plain)
	}
	return all, nil
}

func newIncarnation() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
