package wire

import (
	"encoding/json"
	"log/slog"
)

// Types of credentials, in accounts and in what is sent to make them.
const (
	TypeOAuth2            = "oauth2"
	TypeClientCredentials = "client_credentials"
	TypeJWTBearer         = "jwt_bearer"
	TypeTokenExchange     = "token_exchange"
	TypeAPIKey            = "api_key"
	TypeBasic             = "basic"
)

// States of an account.
const (
	StatePending      = "pending"
	StateActive       = "active"
	StateNeedsReauth  = "needs_reauth"
	StateDisconnected = "disconnected"
)

// Account is one connected account, without its secrets.
type Account struct {
	ID          string   `json:"id"`
	Tenant      string   `json:"tenant"`
	Type        string   `json:"type"`
	Integration string   `json:"integration"`
	Provider    string   `json:"provider"`
	State       string   `json:"state"`
	Reason      string   `json:"reason"` // why needs_reauth; else empty
	Scopes      []string `json:"scopes"`
	// RequestedScopes were asked for when a person authorised; empty: not known.
	// MissingScopes are those of them that were not granted.
	RequestedScopes []string `json:"requested_scopes"`
	MissingScopes   []string `json:"missing_scopes"`
	// Variables are the account's values for the URL variables of the provider's
	// end points; Facts are what the provider told of it besides tokens.
	Variables     map[string]string `json:"variables"`
	Facts         map[string]string `json:"facts"`
	Generation    uint64            `json:"generation"` // counts the credentials that the account has had
	ExpiresAt     Time              `json:"expires_at"` // of the access token; null: never, or not known
	NextRefreshAt Time              `json:"next_refresh_at"`
	LastRefreshAt Time              `json:"last_refresh_at"`
	Failures      int               `json:"failures"` // refreshes failed in a row
	CreatedAt     Time              `json:"created_at"`
	UpdatedAt     Time              `json:"updated_at"`
}

// Name returns "tenant/id", as accounts are named in paths and logs.
func (a Account) Name() string { return a.Tenant + "/" + a.ID }

// AccountList is a page of accounts, in order of tenant and id.
type AccountList struct {
	Accounts   []Account `json:"accounts"`
	NextCursor string    `json:"next_cursor"` // empty: the list is complete
}

// NewAccount is the body of POST /v1/accounts.
type NewAccount struct {
	Tenant      string      `json:"tenant"`
	ID          string      `json:"id,omitempty"` // empty: the server makes one
	Integration string      `json:"integration"`
	Credentials Credentials `json:"credentials"`
	// Variables are the account's values for the URL variables of the provider's
	// end points; absent: those that it has stay.
	Variables map[string]string `json:"variables,omitempty"`
	// Facts are laid over those that the account has; an empty text takes one away.
	Facts map[string]string `json:"facts,omitempty"`
}

// LogValue names the account and leaves its credentials out.
func (n NewAccount) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("account", n.Tenant+"/"+n.ID),
		slog.String("integration", n.Integration),
		slog.Any("credentials", n.Credentials))
}

// Credentials are what an account is made from. Type says which of the other
// fields may be there; a string that is empty counts as absent.
type Credentials struct {
	Type string `json:"type"`

	AccessToken  Secret `json:"access_token,omitempty"`  // oauth2
	RefreshToken Secret `json:"refresh_token,omitempty"` // oauth2; alone it is enough
	// ExpiresIn is the access token's remaining lifetime in seconds, ExpiresAt
	// its end: at most one of the two. oauth2.
	ExpiresIn *int64   `json:"expires_in,omitempty"`
	ExpiresAt *Time    `json:"expires_at,omitempty"`
	Scopes    []string `json:"scopes,omitempty"` // oauth2 and all that fetch a token each time

	// Subject is whom assertions name, Claims what they hold besides. jwt_bearer.
	Subject string                     `json:"subject,omitempty"`
	Claims  map[string]json.RawMessage `json:"claims,omitempty"`

	SubjectToken     Secret `json:"subject_token,omitempty"` // token_exchange
	SubjectTokenType string `json:"subject_token_type,omitempty"`
	Audience         string `json:"audience,omitempty"`
	Resource         string `json:"resource,omitempty"`

	APIKey Secret `json:"api_key,omitempty"` // api_key

	Username string `json:"username,omitempty"` // basic
	Password Secret `json:"password,omitempty"` // basic
}

// LogValue shows the type only.
func (c Credentials) LogValue() slog.Value {
	return slog.GroupValue(slog.String("type", c.Type))
}

// RefreshRequest is the body of POST /v1/accounts/{account}/refresh; the body
// may be left out altogether.
type RefreshRequest struct {
	// StaleGeneration is the generation of the token that the provider's API
	// refused. The account is refreshed only if that is still the newest.
	StaleGeneration *uint64 `json:"stale_generation,omitempty"`
}

// History is a page of what happened to an account, newest first.
type History struct {
	History    []HistoryLine `json:"history"`
	NextCursor string        `json:"next_cursor"` // empty: the list is complete
}

// HistoryLine is one thing that happened to an account.
type HistoryLine struct {
	Number     uint64 `json:"number"` // counts the account's lines
	At         Time   `json:"at"`
	What       string `json:"what"`
	Reason     string `json:"reason"`
	Detail     string `json:"detail"`
	Generation uint64 `json:"generation"`
	Attempt    string `json:"attempt"` // the refresh that it belongs to; empty: none
	Node       string `json:"node"`    // the node that wrote it
}
