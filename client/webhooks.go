package client

import (
	"context"
	"net/url"
	"strconv"

	"github.com/grantd/grantd/wire"
)

// Hook names an end point of webhooks. Tenant empty, or [wire.All]: the tenant of
// the key or, of a key for all tenants, an end point of none.
type Hook struct{ Tenant, ID string }

func (h Hook) path(of string) string { return "/v1/webhooks/" + url.PathEscape(h.ID) + of }

func (h Hook) query() url.Values {
	if h.Tenant == "" || h.Tenant == wire.All {
		return nil
	}
	return url.Values{"tenant": {h.Tenant}}
}

// PutWebhook makes or replaces an end point, of the tenant in n. The secret is
// shown when it is made, and never again.
func (c *Client) PutWebhook(ctx context.Context, id string, n wire.NewWebhook) (wire.WebhookWithSecret, error) {
	return call[wire.WebhookWithSecret](ctx, c, "PUT", Hook{ID: id}.path(""), nil, n)
}

// Webhook returns one end point.
func (c *Client) Webhook(ctx context.Context, h Hook) (wire.Webhook, error) {
	return call[wire.Webhook](ctx, c, "GET", h.path(""), h.query(), nil)
}

// Webhooks returns a page of end points, in order of tenant and id.
func (c *Client) Webhooks(ctx context.Context, cursor string, limit int) (wire.WebhookList, error) {
	return call[wire.WebhookList](ctx, c, "GET", "/v1/webhooks", pageQuery(cursor, limit), nil)
}

// DeleteWebhook deletes an end point and its deliveries.
func (c *Client) DeleteWebhook(ctx context.Context, h Hook) error {
	_, err := call[struct{}](ctx, c, "DELETE", h.path(""), h.query(), nil)
	return err
}

// RotateWebhook gives an end point another secret, shown this one time.
func (c *Client) RotateWebhook(ctx context.Context, h Hook, r wire.Rotation) (wire.WebhookWithSecret, error) {
	return call[wire.WebhookWithSecret](ctx, c, "POST", h.path("/rotate"), h.query(), r)
}

// TestWebhook sends a message to an end point now, once.
func (c *Client) TestWebhook(ctx context.Context, h Hook) (wire.WebhookTest, error) {
	return call[wire.WebhookTest](ctx, c, "POST", h.path("/test"), h.query(), nil)
}

// DeliveryFilter says which deliveries are listed; zero fields: any.
type DeliveryFilter struct {
	State   string // a wire.Delivery… state
	Account string // tenant/id
	Cursor  string
	Limit   int
}

// Deliveries returns a page of the deliveries to an end point, newest first.
func (c *Client) Deliveries(ctx context.Context, h Hook, f DeliveryFilter) (wire.DeliveryList, error) {
	q := url.Values{}
	for name, value := range map[string]string{"tenant": h.query().Get("tenant"), "state": f.State, "account": f.Account, "cursor": f.Cursor} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return call[wire.DeliveryList](ctx, c, "GET", h.path("/deliveries"), q, nil)
}

// Replay has deliveries made once more.
func (c *Client) Replay(ctx context.Context, h Hook, r wire.Replay) (wire.Replayed, error) {
	return call[wire.Replayed](ctx, c, "POST", h.path("/replay"), h.query(), r)
}
