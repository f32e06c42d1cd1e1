package node

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/outbox"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/wire"
)

// apiWebhooks shows end points and deliveries to the HTTP API in its own words.
// Deliveries and Replay are the Core's.
type apiWebhooks struct{ *Core }

// PutWebhook implements httpapi.Webhooks.
func (a apiWebhooks) PutWebhook(ctx context.Context, tenant, id string, n wire.NewWebhook, given, fresh credential.Secret) (wire.Webhook, bool, error) {
	spec := registry.WebhookSpec{Tenant: tenant, URL: n.URL, Events: n.Events, Integrations: n.Integrations, Enabled: n.Enabled == nil || *n.Enabled}
	w, created, err := a.Registry.PutWebhook(ctx, id, spec, given, fresh)
	if err != nil {
		return wire.Webhook{}, false, err
	}
	return wireWebhook(w), created, nil
}

// Webhook implements httpapi.Webhooks.
func (a apiWebhooks) Webhook(tenant, id string) (wire.Webhook, bool) {
	w, ok := a.Registry.Webhook(tenant, id)
	if !ok {
		return wire.Webhook{}, false
	}
	return wireWebhook(w), true
}

// Webhooks implements httpapi.Webhooks.
func (a apiWebhooks) Webhooks() []wire.Webhook {
	all := a.Registry.Webhooks()
	out := make([]wire.Webhook, len(all))
	for i, w := range all {
		out[i] = wireWebhook(w)
	}
	return out
}

// DeleteWebhook implements httpapi.Webhooks.
func (a apiWebhooks) DeleteWebhook(ctx context.Context, tenant, id string) error {
	return a.Registry.DeleteWebhook(ctx, tenant, id)
}

// RotateWebhook implements httpapi.Webhooks.
func (a apiWebhooks) RotateWebhook(ctx context.Context, tenant, id string, secret credential.Secret, overlap time.Duration) (wire.Webhook, error) {
	w, err := a.Registry.RotateWebhook(ctx, tenant, id, secret, overlap)
	if err != nil {
		return wire.Webhook{}, err
	}
	return wireWebhook(w), nil
}

// TestWebhook implements httpapi.Webhooks.
func (a apiWebhooks) TestWebhook(ctx context.Context, tenant, id string) (wire.WebhookTest, error) {
	got, err := a.Core.Webhooks.Test(ctx, delivery.EndpointID(tenant, id), "test_"+newBoot())
	if err != nil {
		return wire.WebhookTest{}, err
	}
	return wire.WebhookTest{
		Delivered: got.Taken(), Status: got.Status, LatencyMS: got.Latency.Milliseconds(), Answer: got.Answer, Error: got.Error,
	}, nil
}

func wireWebhook(w *registry.Webhook) wire.Webhook {
	out := wire.Webhook{
		ID: w.ID, Tenant: w.Tenant, URL: w.URL, Events: w.Events, Integrations: w.Integrations, Enabled: w.Enabled, Reason: w.Reason,
		OldSecretsUntil: []wire.Time{}, CreatedAt: wire.At(w.CreatedAt), UpdatedAt: wire.At(w.UpdatedAt),
	}
	if w.Tenant == "" {
		out.Tenant = wire.All
	}
	if w.Integrations == nil {
		out.Integrations = []string{wire.All}
	}
	for _, until := range w.Overlaps(time.Now()) {
		out.OldSecretsUntil = append(out.OldSecretsUntil, wire.At(until))
	}
	return out
}

// webhookFigures are the figures of webhooks, as metrics.
func webhookFigures(d *outbox.Dispatcher) figures {
	var f figures
	c := d.Counters()
	counter := func(name, help string, v interface{ Load() int64 }, labels ...string) {
		f.add(prometheus.CounterValue, "webhook_"+name+"_total", help, func() float64 { return float64(v.Load()) }, labels...)
	}
	const attempts, attemptsHelp = "attempts", "Messages sent to end points of webhooks, by outcome."
	counter(attempts, attemptsHelp, &c.Delivered, "outcome", "delivered")
	counter(attempts, attemptsHelp, &c.Failed, "outcome", "failed")
	counter("parked", "Deliveries given up until somebody replays them.", &c.Parked)
	counter("replayed", "Deliveries that were to be made once more.", &c.Replayed)
	counter("dropped", "Deliveries lost because an end point had too many pending or parked in one shard.", &c.Dropped)
	counter("missed", "Events lost to webhooks because the outbox dropped them before an owner could take them in.", &c.Missed)
	const open, openHelp = "webhook_deliveries", "Deliveries of the shards owned here, by state."
	f.add(prometheus.GaugeValue, open, openHelp, func() float64 { n, _, _ := d.Open(); return float64(n) }, "state", "pending")
	f.add(prometheus.GaugeValue, open, openHelp, func() float64 { _, n, _ := d.Open(); return float64(n) }, "state", "parked")
	f.add(prometheus.GaugeValue, "webhook_attempts_under_way", "Messages being sent.", func() float64 { _, _, n := d.Open(); return float64(n) })
	return f
}
