package wire

import "log/slog"

// NewLink is the body of POST /v1/links.
type NewLink struct {
	Integration string `json:"integration"`
	Tenant      string `json:"tenant"`
	// Account is the id of the account to make, or to authorise anew; empty: the
	// server makes one.
	Account string `json:"account,omitempty"`
	// Scopes to ask for besides those that the account has; absent: the
	// integration's.
	Scopes []string `json:"scopes,omitempty"`
	// Variables are values for the URL variables of the provider's end points; the
	// person is asked for those that are missing.
	Variables map[string]string `json:"variables,omitempty"`
	// ReturnURL is where the person is sent afterwards, with status and account in
	// its query; of an origin that the integration allows.
	ReturnURL string `json:"return_url,omitempty"`
	// TTL is for how long the link is good, such as 30m; empty: 15m.
	TTL string `json:"ttl,omitempty"`
	// AllowOtherIdentity lets another user of the provider than the one who
	// connected the account take it over.
	AllowOtherIdentity bool `json:"allow_other_identity,omitempty"`
}

// Link is a connect link. Whoever has it can connect an account: it is to be
// given to one person, and is told once.
type Link struct {
	URL       Secret `json:"url"`
	ExpiresAt Time   `json:"expires_at"`
	// Account is "tenant/id" of the account that the link is for.
	Account string `json:"account"`
}

// LogValue leaves the link itself out.
func (l Link) LogValue() slog.Value {
	return slog.GroupValue(slog.String("account", l.Account), slog.Any("expires_at", l.ExpiresAt))
}
