package wire

import "log/slog"

// NewWebhook is the body of PUT /v1/webhooks/{id}.
type NewWebhook struct {
	URL string `json:"url"`
	// Events are types of events; "*" is all but integrated_account:refreshed.
	Events []string `json:"events"`
	// Tenant whose events it gets, or [All]; absent: the key's.
	Tenant string `json:"tenant,omitempty"`
	// Integrations whose events it gets; absent, or just [All]: of all.
	Integrations []string `json:"integrations,omitempty"`
	Enabled      *bool    `json:"enabled,omitempty"` // absent: true
	// Secret signs the messages: whsec_ and base64 of 24 to 64 bytes. Absent: one is
	// made for a new end point, and an old one keeps its own.
	Secret Secret `json:"secret,omitempty"`
}

// LogValue shows what is not secret. The URL may hold a token.
func (n NewWebhook) LogValue() slog.Value {
	return slog.GroupValue(slog.String("tenant", n.Tenant), slog.Any("events", n.Events))
}

// Webhook is an end point of webhooks, without its secret.
type Webhook struct {
	ID           string   `json:"id"`
	Tenant       string   `json:"tenant"` // [All]: of no tenant
	URL          string   `json:"url"`
	Events       []string `json:"events"`
	Integrations []string `json:"integrations"` // ["*"]: every one
	Enabled      bool     `json:"enabled"`
	// Reason is why it was disabled by something else than an operator.
	Reason string `json:"reason"`
	// OldSecretsUntil are the times at which secrets before the present one cease to
	// sign as well.
	OldSecretsUntil []Time `json:"old_secrets_until"`
	CreatedAt       Time   `json:"created_at"`
	UpdatedAt       Time   `json:"updated_at"`
}

// WebhookWithSecret is the answer that makes an end point or rotates its secret:
// the only time that the secret is shown.
type WebhookWithSecret struct {
	Webhook
	Secret Secret `json:"secret"`
}

// LogValue shows the end point's name.
func (w WebhookWithSecret) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", w.ID), slog.String("tenant", w.Tenant))
}

// WebhookList is a page of end points, in order of tenant and id.
type WebhookList struct {
	Webhooks   []Webhook `json:"webhooks"`
	NextCursor string    `json:"next_cursor"` // empty: the list is complete
}

// Rotation is the body of POST /v1/webhooks/{id}/rotate.
type Rotation struct {
	// Overlap is for how long the old secret signs as well, such as 24h; absent: 24h.
	Overlap string `json:"overlap,omitempty"`
	Secret  Secret `json:"secret,omitempty"` // absent: one is made
}

// LogValue shows what is not secret.
func (r Rotation) LogValue() slog.Value {
	return slog.GroupValue(slog.String("overlap", r.Overlap))
}

// WebhookTest is what came of a test.
type WebhookTest struct {
	Delivered bool   `json:"delivered"`   // the end point answered 2xx
	Status    int    `json:"http_status"` // 0: there was no answer
	LatencyMS int64  `json:"latency_ms"`
	Answer    string `json:"answer"` // the first bytes, without control characters
	Error     string `json:"error"`  // why there was no answer
}

// States of a delivery.
const (
	DeliveryPending   = "pending"
	DeliveryDelivered = "delivered"
	DeliveryParked    = "parked"
)

// Delivery is an event on its way to an end point.
type Delivery struct {
	ID          string `json:"id"`
	Event       string `json:"event"` // the id that the message carries as webhook-id
	Type        string `json:"type"`
	Account     string `json:"account"` // tenant/id; empty: the event is of no account
	Integration string `json:"integration"`
	State       string `json:"state"`
	Attempts    int    `json:"attempts"`
	EventAt     Time   `json:"event_at"` // when it happened

	// Of the newest attempt.
	LastAttemptAt Time   `json:"last_attempt_at"`
	Status        int    `json:"http_status"` // 0: there was no answer, or no attempt yet
	LatencyMS     int64  `json:"latency_ms"`
	Answer        string `json:"answer"`
	Error         string `json:"error"`

	// NextAttemptAt is null for what is not pending, and for what waits until an
	// earlier event of the same account is delivered or parked.
	NextAttemptAt Time `json:"next_attempt_at"`
}

// DeliveryList is a page of deliveries, newest first.
type DeliveryList struct {
	Deliveries []Delivery `json:"deliveries"`
	NextCursor string     `json:"next_cursor"` // empty: the list is complete
}

// Replay is the body of POST /v1/webhooks/{id}/replay: one delivery, or those of
// events in a range of times, or all that are parked.
type Replay struct {
	Delivery string `json:"delivery,omitempty"`
	From     Time   `json:"from,omitzero"` // with From
	To       Time   `json:"to,omitzero"`   // without To
	Parked   bool   `json:"parked,omitempty"`
}

// Replayed is what came of it.
type Replayed struct {
	Replayed int `json:"replayed"`
	// More: a part was left; ask again once these are delivered.
	More bool `json:"more"`
}
