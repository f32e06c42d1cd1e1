package wire

import "log/slog"

// Permissions of an API key.
const (
	PermTokensRead    = "tokens:read"
	PermAccountsRead  = "accounts:read"
	PermAccountsWrite = "accounts:write"
	PermLinksCreate   = "links:create"
	PermProxy         = "proxy"
	PermAdmin         = "admin" // everything, within the key's tenant and integrations
)

// Permissions returns all permissions.
func Permissions() []string {
	return []string{PermTokensRead, PermAccountsRead, PermAccountsWrite, PermLinksCreate, PermProxy, PermAdmin}
}

// All stands for every tenant, or every integration, in the scope of a key.
const All = "*"

// NewKey is the body of POST /v1/keys.
type NewKey struct {
	// Name says what the key is for; for people. May be empty.
	Name   string `json:"name,omitempty"`
	Tenant string `json:"tenant"` // a tenant, or [All]
	// Integrations that the key is limited to; absent, or just [All]: every one.
	Integrations []string `json:"integrations,omitempty"`
	Permissions  []string `json:"permissions"`
	// Accounts, as tenant/id, that the key is limited to; absent: every one in its
	// tenant and integrations.
	Accounts []string `json:"accounts,omitempty"`
	// Agent names the AI agent that the key is for: each token that it is handed
	// is noted in the account's history first.
	Agent string `json:"agent,omitempty"`
	// TTL is for how long the key works, such as "15m"; absent: until it is deleted.
	TTL string `json:"ttl,omitempty"`
}

// Key is an API key as it is listed: its scope, and not the key itself.
type Key struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Tenant       string   `json:"tenant"`
	Integrations []string `json:"integrations"` // ["*"]: every one
	Permissions  []string `json:"permissions"`
	Accounts     []string `json:"accounts,omitempty"` // absent: every one in scope
	Agent        string   `json:"agent,omitempty"`
	CreatedAt    Time     `json:"created_at"`
	ExpiresAt    Time     `json:"expires_at"` // null: never
}

// CreatedKey is the answer of POST /v1/keys: the only time that the key itself
// is shown.
type CreatedKey struct {
	Key
	Secret Secret `json:"key"`
}

// LogValue shows the key's id and scope.
func (k CreatedKey) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", k.ID), slog.String("tenant", k.Tenant))
}

// KeyList is a page of keys, in order of id.
type KeyList struct {
	Keys       []Key  `json:"keys"`
	NextCursor string `json:"next_cursor"` // empty: the list is complete
}
