package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/outbox"
	"github.com/grantd/grantd/wire"
)

// End points of webhooks are named within their tenant, as accounts are, so that
// no key learns which names others use. A key of one tenant names its own; one of
// all tenants names those of no tenant, or says whose with ?tenant=.

// webhookTenant is the tenant whose end points a request is about; empty: those
// of no tenant. asked is what the request says, empty or wire.All included.
func (x *exchange) webhookTenant(asked string) (string, error) {
	if asked != "" && asked != wire.All {
		if err := credential.CheckName("tenant", asked); err != nil {
			return "", err
		}
		if !x.key.SeesTenant(asked) {
			return "", notFound()
		}
		return asked, nil
	}
	if x.key.Tenant == wire.All {
		return "", nil
	}
	if asked == wire.All {
		return "", notFound()
	}
	return x.key.Tenant, nil
}

// webhook finds the end point that a request names, within the key's scope.
func (x *exchange) webhook(allowed ...string) (w wire.Webhook, tenant string, q url.Values, err error) {
	id, err := x.pathID("webhook")
	if err != nil {
		return w, "", nil, err
	}
	if q, err = x.query(append(allowed, "tenant")...); err != nil {
		return w, "", nil, err
	}
	if tenant, err = x.webhookTenant(q.Get("tenant")); err != nil {
		return w, "", nil, err
	}
	if err := x.need(wire.PermAdmin); err != nil {
		return w, "", nil, err
	}
	w, ok := x.a.Webhooks.Webhook(tenant, id)
	if !ok || !x.coversWebhook(w) {
		return w, "", nil, notFound()
	}
	return w, tenant, q, nil
}

// coversWebhook reports whether all that an end point gets is in the key's scope.
func (x *exchange) coversWebhook(w wire.Webhook) bool {
	scope := Key{Tenant: w.Tenant, Integrations: w.Integrations}
	if slices.Equal(w.Integrations, []string{wire.All}) {
		scope.Integrations = nil
	}
	return x.key.Covers(&scope)
}

// putWebhook answers PUT /v1/webhooks/{id}: 201 made, with its secret, 200
// replaced.
func (a *api) putWebhook(x *exchange) error {
	id, err := x.pathID("webhook")
	if err != nil {
		return err
	}
	var in wire.NewWebhook
	if err := x.decodeBody(&in); err != nil {
		return err
	}
	tenant, err := x.webhookTenant(in.Tenant)
	if err != nil {
		return err
	}
	if err := x.need(wire.PermAdmin); err != nil {
		return err
	}
	if in.Integrations, err = webhookIntegrations(in.Integrations); err != nil {
		return err
	}
	wanted := wire.Webhook{Tenant: tenant, Integrations: in.Integrations}
	if tenant == "" {
		wanted.Tenant = wire.All
	}
	if in.Integrations == nil {
		wanted.Integrations = []string{wire.All}
	}
	if !x.coversWebhook(wanted) {
		return &problem{kind: kindForbidden, detail: "This API key cannot have events sent that it does not see itself. Name integrations that it is for."}
	}
	if old, ok := a.Webhooks.Webhook(tenant, id); ok && !x.coversWebhook(old) {
		return notFound()
	}
	given := credential.NewSecret(in.Secret.Reveal())
	if !given.IsZero() {
		if err := outbox.CheckSecret(given); err != nil {
			return invalid("Field \"secret\": %s.", err)
		}
	}
	fresh := outbox.NewSecret()
	w, created, err := a.Webhooks.PutWebhook(&x.ctx, tenant, id, in, given, fresh)
	if err != nil {
		return err
	}
	if !created {
		return x.json(http.StatusOK, w)
	}
	if given.IsZero() {
		given = fresh
	}
	x.Header().Set("Location", "/v1/webhooks/"+id)
	return x.json(http.StatusCreated, wire.WebhookWithSecret{Webhook: w, Secret: wire.Secret(given.Reveal())})
}

// webhookIntegrations checks the list; nil: all integrations.
func webhookIntegrations(list []string) ([]string, error) {
	if list == nil || slices.Equal(list, []string{wire.All}) {
		return nil, nil
	}
	if len(list) == 0 {
		return nil, invalid("Field \"integrations\" is an empty list: nothing would be sent. Leave the field out, or send [\"*\"], for all integrations.")
	}
	for i, id := range list {
		if err := credential.CheckName("integration", id); err != nil {
			return nil, invalid("Field \"integrations[%d]\" does not name an integration: %s.", i, err)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(list))), nil
}

func (a *api) getWebhook(x *exchange) error {
	w, _, _, err := x.webhook()
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, w)
}

func (a *api) listWebhooks(x *exchange) error {
	if err := x.need(wire.PermAdmin); err != nil {
		return err
	}
	q, err := x.query("limit", "cursor")
	if err != nil {
		return err
	}
	limit, err := limitOf(q)
	if err != nil {
		return err
	}
	after, err := decodeCursor(q)
	if err != nil {
		return err
	}
	list := wire.WebhookList{Webhooks: []wire.Webhook{}}
	for _, w := range a.Webhooks.Webhooks() {
		name := webhookName(w)
		if name <= after || !x.coversWebhook(w) {
			continue
		}
		if len(list.Webhooks) == limit {
			list.NextCursor = encodeCursor(webhookName(list.Webhooks[limit-1]))
			break
		}
		list.Webhooks = append(list.Webhooks, w)
	}
	return x.json(http.StatusOK, list)
}

// webhookName is an end point's name among those of all tenants.
func webhookName(w wire.Webhook) string {
	if w.Tenant == wire.All {
		return delivery.EndpointID("", w.ID)
	}
	return delivery.EndpointID(w.Tenant, w.ID)
}

func (a *api) deleteWebhook(x *exchange) error {
	w, tenant, _, err := x.webhook()
	if err != nil {
		return err
	}
	if err := a.Webhooks.DeleteWebhook(&x.ctx, tenant, w.ID); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

const defaultOverlap = 24 * time.Hour

// rotateWebhook answers POST /v1/webhooks/{id}/rotate.
func (a *api) rotateWebhook(x *exchange) error {
	w, tenant, _, err := x.webhook()
	if err != nil {
		return err
	}
	var in wire.Rotation
	if err := x.decodeBody(&in); err != nil {
		return err
	}
	overlap := defaultOverlap
	if in.Overlap != "" {
		if overlap, err = time.ParseDuration(in.Overlap); err != nil || overlap < 0 {
			return invalid("Field \"overlap\" must be a duration such as 24h, or 0s for none.")
		}
	}
	secret := credential.NewSecret(in.Secret.Reveal())
	if secret.IsZero() {
		secret = outbox.NewSecret()
	} else if err := outbox.CheckSecret(secret); err != nil {
		return invalid("Field \"secret\": %s.", err)
	}
	if w, err = a.Webhooks.RotateWebhook(&x.ctx, tenant, w.ID, secret, overlap); err != nil {
		return err
	}
	return x.json(http.StatusOK, wire.WebhookWithSecret{Webhook: w, Secret: wire.Secret(secret.Reveal())})
}

// testWebhook answers POST /v1/webhooks/{id}/test: a message is sent now, once.
func (a *api) testWebhook(x *exchange) error {
	w, tenant, _, err := x.webhook()
	if err != nil {
		return err
	}
	got, err := a.Webhooks.TestWebhook(&x.ctx, tenant, w.ID)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, got)
}

// deliveries answers GET /v1/webhooks/{id}/deliveries.
func (a *api) deliveries(x *exchange) error {
	w, _, values, err := x.webhook("state", "account", "limit", "cursor")
	if err != nil {
		return err
	}
	q := delivery.Query{Webhook: webhookName(w), State: delivery.State(values.Get("state"))}
	switch q.State {
	case "", delivery.Pending, delivery.Delivered, delivery.Parked:
	default:
		return invalid("Query parameter state must be one of pending, delivered, parked.")
	}
	if name := values.Get("account"); name != "" {
		if q.Ref, err = credential.ParseRef(name); err != nil {
			return err
		}
	}
	if q.Limit, err = limitOf(values); err != nil {
		return err
	}
	after, err := decodeCursor(values)
	if err != nil {
		return err
	}
	var cursor delivery.Cursor
	if after != "" {
		if cursor.Group, cursor.Place, err = delivery.ParseID(after); err != nil {
			return badCursor()
		}
	}
	all, next, err := a.Webhooks.Deliveries(&x.ctx, q, cursor)
	if err != nil {
		return err
	}
	list := wire.DeliveryList{Deliveries: make([]wire.Delivery, len(all))}
	for i := range all {
		list.Deliveries[i] = deliveryOf(&all[i])
	}
	if next != (delivery.Cursor{}) {
		list.NextCursor = encodeCursor(delivery.ID(next.Group, next.Place))
	}
	return x.json(http.StatusOK, list)
}

func deliveryOf(l *delivery.Listed) wire.Delivery {
	e := &l.Event
	d := wire.Delivery{
		ID: l.ID(), Event: e.ID, Type: string(e.Type), Integration: e.Integration, State: string(l.State), Attempts: l.Attempts, EventAt: wire.At(e.At),
		LastAttemptAt: wire.At(l.LastAt), Status: l.Status, LatencyMS: l.Latency.Milliseconds(), Answer: l.Answer, Error: l.Error,
		NextAttemptAt: wire.At(l.NextAt),
	}
	if e.Ref.ID != "" {
		d.Account = e.Ref.String()
	}
	return d
}

// replay answers POST /v1/webhooks/{id}/replay.
func (a *api) replay(x *exchange) error {
	w, _, _, err := x.webhook()
	if err != nil {
		return err
	}
	var in wire.Replay
	if err := x.decodeBody(&in); err != nil {
		return err
	}
	r := delivery.Replay{Webhook: webhookName(w), From: in.From.Time, To: in.To.Time, Parked: in.Parked}
	var group *uint16
	if in.Delivery != "" {
		of, place, err := delivery.ParseID(in.Delivery)
		if err != nil {
			return invalid("Field \"delivery\" is no id of a delivery. Take one from GET /v1/webhooks/%s/deliveries.", w.ID)
		}
		group, r.Place = &of, place
	}
	if err := r.Validate(); err != nil {
		return invalid("Send exactly one of \"delivery\", \"parked\", and a range of \"from\" and \"to\" that does not end before it begins.")
	}
	n, more, err := a.Webhooks.Replay(&x.ctx, r, group)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, wire.Replayed{Replayed: n, More: more})
}
