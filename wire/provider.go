package wire

// Provider is a catalogue entry: what is known of one authorization server. A
// field that is absent is not known. Times are in seconds.
type Provider struct {
	ID   string `json:"id"`
	Name string `json:"name"`

	AuthorizationURL string `json:"authorization_url,omitempty"`
	TokenURL         string `json:"token_url,omitempty"`
	RevocationURL    string `json:"revocation_url,omitempty"`
	IntrospectionURL string `json:"introspection_url,omitempty"`
	APIBaseURL       string `json:"api_base_url,omitempty"`
	DocsURL          string `json:"docs_url,omitempty"`
	// URLVariables are the parts in braces of the end points; an empty value
	// has to be given by the integration.
	URLVariables map[string]string `json:"url_variables,omitempty"`

	TokenAuthMethod     string            `json:"token_auth_method,omitempty"`
	TokenBodyFormat     string            `json:"token_body_format,omitempty"`
	ScopeSeparator      string            `json:"scope_separator,omitempty"`
	PKCE                string            `json:"pkce,omitempty"`
	AuthorizationParams map[string]string `json:"authorization_params,omitempty"`
	TokenParams         map[string]string `json:"token_params,omitempty"`
	RefreshParams       map[string]string `json:"refresh_params,omitempty"`
	TokenPath           string            `json:"token_path,omitempty"`

	RefreshRotation      string `json:"refresh_rotation,omitempty"` // rotating, static, none; absent: treated like rotating
	RefreshReuseGrace    int64  `json:"refresh_reuse_grace_seconds,omitempty"`
	AccessTokenLifetime  int64  `json:"access_token_lifetime_seconds,omitempty"`
	RefreshTokenLifetime int64  `json:"refresh_token_lifetime_seconds,omitempty"`
	RefreshTokenIdle     int64  `json:"refresh_token_idle_seconds,omitempty"`

	TerminalErrors      []string `json:"terminal_errors,omitempty"`
	TransientErrors     []string `json:"transient_errors,omitempty"`
	MisconfiguredErrors []string `json:"misconfigured_errors,omitempty"`

	RateLimit  *RateLimit `json:"rate_limit,omitempty"`
	Unverified bool       `json:"unverified"` // rests on one source, and may be stale
	Sources    []string   `json:"sources,omitempty"`
}

// RateLimit is what a provider's token end point bears.
type RateLimit struct {
	RequestsPerSecond float64 `json:"requests_per_second,omitempty"`
	Burst             int     `json:"burst,omitempty"`
	Concurrency       int     `json:"concurrency,omitempty"`
}

// ProviderList is a page of the catalogue, in order of id.
type ProviderList struct {
	Providers  []Provider `json:"providers"`
	NextCursor string     `json:"next_cursor"` // empty: the list is complete
}
