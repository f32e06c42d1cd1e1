package httpapi_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/wire"
)

// fakeWebhooks keeps end points in memory, and deliveries that never change.
type fakeWebhooks struct {
	mu       sync.Mutex
	byName   map[string]wire.Webhook
	secret   credential.Secret // that was set last
	overlap  time.Duration
	listed   []delivery.Listed
	query    delivery.Query // that was asked last
	cursor   delivery.Cursor
	replayed delivery.Replay
	group    *uint16
}

func (f *fakeWebhooks) PutWebhook(_ context.Context, tenant, id string, n wire.NewWebhook, given, fresh credential.Secret) (wire.Webhook, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !strings.HasPrefix(n.URL, "https://") {
		return wire.Webhook{}, false, fmt.Errorf("%w: url must be an absolute URL", credential.ErrInvalid)
	}
	name := delivery.EndpointID(tenant, id)
	_, found := f.byName[name]
	w := wire.Webhook{
		ID: id, Tenant: tenant, URL: n.URL, Events: n.Events, Integrations: n.Integrations, Enabled: n.Enabled == nil || *n.Enabled,
		OldSecretsUntil: []wire.Time{}, CreatedAt: wire.At(time.Now()), UpdatedAt: wire.At(time.Now()),
	}
	if tenant == "" {
		w.Tenant = wire.All
	}
	if w.Integrations == nil {
		w.Integrations = []string{wire.All}
	}
	if f.secret = given; given.IsZero() && !found {
		f.secret = fresh
	}
	f.byName[name] = w
	return w, !found, nil
}

func (f *fakeWebhooks) Webhook(tenant, id string) (wire.Webhook, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.byName[delivery.EndpointID(tenant, id)]
	return w, ok
}

func (f *fakeWebhooks) Webhooks() (all []wire.Webhook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		all = append(all, f.byName[name])
	}
	return all
}

func (f *fakeWebhooks) DeleteWebhook(_ context.Context, tenant, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byName, delivery.EndpointID(tenant, id))
	return nil
}

func (f *fakeWebhooks) RotateWebhook(_ context.Context, tenant, id string, secret credential.Secret, overlap time.Duration) (wire.Webhook, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secret, f.overlap = secret, overlap
	w := f.byName[delivery.EndpointID(tenant, id)]
	w.OldSecretsUntil = []wire.Time{wire.At(time.Now().Add(overlap))}
	return w, nil
}

func (f *fakeWebhooks) TestWebhook(context.Context, string, string) (wire.WebhookTest, error) {
	return wire.WebhookTest{Status: 500, LatencyMS: 12, Answer: "no"}, nil
}

func (f *fakeWebhooks) Deliveries(_ context.Context, q delivery.Query, c delivery.Cursor) ([]delivery.Listed, delivery.Cursor, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.query, f.cursor = q, c
	if len(f.listed) > q.Limit {
		last := f.listed[q.Limit-1]
		return f.listed[:q.Limit], delivery.Cursor{Group: last.Group, Place: last.Place}, nil
	}
	return f.listed, delivery.Cursor{}, nil
}

func (f *fakeWebhooks) Replay(_ context.Context, r delivery.Replay, group *uint16) (int, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replayed, f.group = r, group
	return 3, false, nil
}
