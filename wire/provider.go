package wire

// Provider is a catalogue entry: what is known of one authorization server. A
// field that is absent is not known. Times are in seconds.
type Provider struct {
	ID string `json:"id"`
	// Origin is where the entry is from: builtin, folder (the operator's own) or
	// api; Extends, from which entry below it has what it does not say itself.
	Origin  string `json:"origin"`
	Extends string `json:"extends,omitempty"`
	Name    string `json:"name"`

	AuthorizationURL string `json:"authorization_url,omitempty"`
	TokenURL         string `json:"token_url,omitempty"`
	RevocationURL    string `json:"revocation_url,omitempty"`
	IntrospectionURL string `json:"introspection_url,omitempty"`
	// Issuer's metadata (RFC 8414, OpenID) tell the end points that are absent.
	Issuer                        string `json:"issuer,omitempty"`
	PushedAuthorizationRequestURL string `json:"pushed_authorization_request_url,omitempty"` // RFC 9126
	DeviceAuthorizationURL        string `json:"device_authorization_url,omitempty"`         // RFC 8628
	UserinfoURL                   string `json:"userinfo_url,omitempty"`
	JWKSURL                       string `json:"jwks_url,omitempty"`
	RegistrationURL               string `json:"registration_url,omitempty"` // RFC 7591
	MTLSTokenURL                  string `json:"mtls_token_url,omitempty"`   // RFC 8705 section 5
	APIBaseURL                    string `json:"api_base_url,omitempty"`
	DocsURL                       string `json:"docs_url,omitempty"`
	// URLVariables are the parts in braces of the end points; an empty value
	// has to be given by the integration.
	URLVariables map[string]string `json:"url_variables,omitempty"`

	TokenAuthMethod          string            `json:"token_auth_method,omitempty"`
	AssertionAudience        string            `json:"assertion_audience,omitempty"`
	AuthorizationResponseIss bool              `json:"authorization_response_iss,omitempty"` // RFC 9207
	DPoP                     string            `json:"dpop,omitempty"`                       // required, supported
	Resources                []string          `json:"resources,omitempty"`                  // RFC 8707
	TokenBodyFormat          string            `json:"token_body_format,omitempty"`
	ScopeSeparator           string            `json:"scope_separator,omitempty"`
	PKCE                     string            `json:"pkce,omitempty"`
	AuthorizationParams      map[string]string `json:"authorization_params,omitempty"`
	TokenParams              map[string]string `json:"token_params,omitempty"`
	RefreshParams            map[string]string `json:"refresh_params,omitempty"`
	TokenPath                string            `json:"token_path,omitempty"`

	RefreshRotation      string `json:"refresh_rotation,omitempty"` // rotating, static, none; absent: treated like rotating
	RefreshReuseGrace    int64  `json:"refresh_reuse_grace_seconds,omitempty"`
	AccessTokenLifetime  int64  `json:"access_token_lifetime_seconds,omitempty"`
	RefreshTokenLifetime int64  `json:"refresh_token_lifetime_seconds,omitempty"`
	RefreshTokenIdle     int64  `json:"refresh_token_idle_seconds,omitempty"`

	TerminalErrors      []string `json:"terminal_errors,omitempty"`
	TransientErrors     []string `json:"transient_errors,omitempty"`
	MisconfiguredErrors []string `json:"misconfigured_errors,omitempty"`

	RateLimit *RateLimit `json:"rate_limit,omitempty"`

	// How the provider leaves the standard; docs/catalogue.md explains each.
	DefaultScopes                  []string          `json:"default_scopes,omitempty"`
	ScopesForRefresh               []string          `json:"scopes_for_refresh,omitempty"`
	ScopeParameter                 string            `json:"scope_parameter,omitempty"`
	AnswerScopeSeparator           string            `json:"answer_scope_separator,omitempty"`
	AuthorizationClientIDParameter string            `json:"authorization_client_id_parameter,omitempty"`
	ClientIDParameter              string            `json:"client_id_parameter,omitempty"`
	ClientSecretParameter          string            `json:"client_secret_parameter,omitempty"`
	GrantTypeParameter             string            `json:"grant_type_parameter,omitempty"`
	CodeParameter                  string            `json:"code_parameter,omitempty"`
	CallbackCodeParameter          string            `json:"callback_code_parameter,omitempty"`
	ExchangeGrantType              string            `json:"exchange_grant_type,omitempty"`
	ExchangeParams                 map[string]string `json:"exchange_params,omitempty"`
	ExtensionURL                   string            `json:"extension_url,omitempty"`
	ExtensionGrantType             string            `json:"extension_grant_type,omitempty"`
	RefreshURL                     string            `json:"refresh_url,omitempty"`
	RefreshGrantType               string            `json:"refresh_grant_type,omitempty"`
	RefreshTokenParameter          string            `json:"refresh_token_parameter,omitempty"`
	RefreshWithAccessToken         bool              `json:"refresh_with_access_token,omitempty"`
	TokenRequestMethod             string            `json:"token_request_method,omitempty"`
	RefreshRequestMethod           string            `json:"refresh_request_method,omitempty"`
	TokenHeaders                   map[string]string `json:"token_headers,omitempty"`

	AccessTokenField      string            `json:"access_token_field,omitempty"`
	RefreshTokenField     string            `json:"refresh_token_field,omitempty"`
	ExpiresInField        string            `json:"expires_in_field,omitempty"`
	RefreshExpiresInField string            `json:"refresh_expires_in_field,omitempty"`
	ScopeField            string            `json:"scope_field,omitempty"`
	TokenTypeField        string            `json:"token_type_field,omitempty"`
	ExpiresInUnit         string            `json:"expires_in_unit,omitempty"`
	RefreshExpiresInUnit  string            `json:"refresh_expires_in_unit,omitempty"`
	ExpiresInReturned     *bool             `json:"expires_in_returned,omitempty"`
	SubjectField          string            `json:"subject_field,omitempty"`
	UserinfoSubjectField  string            `json:"userinfo_subject_field,omitempty"`
	ErrorField            string            `json:"error_field,omitempty"`
	ErrorDescriptionField string            `json:"error_description_field,omitempty"`
	OKField               string            `json:"ok_field,omitempty"`
	OKValue               string            `json:"ok_value,omitempty"`
	ErrorStatuses         map[string]string `json:"error_statuses,omitempty"`
	RetryAfterHeader      string            `json:"retry_after_header,omitempty"`
	RetryAfterUnit        string            `json:"retry_after_unit,omitempty"`
	TokenCap              int               `json:"token_cap,omitempty"`

	RevocationMethod         string            `json:"revocation_method,omitempty"`
	RevocationAuth           string            `json:"revocation_auth,omitempty"`
	RevocationTokenParameter string            `json:"revocation_token_parameter,omitempty"`
	RevocationTakes          string            `json:"revocation_takes,omitempty"`
	RevocationParams         map[string]string `json:"revocation_params,omitempty"`
	RevocationBodyFormat     string            `json:"revocation_body_format,omitempty"`
	RevocationRevokes        string            `json:"revocation_revokes,omitempty"`

	URLVariablePatterns map[string]string            `json:"url_variable_patterns,omitempty"`
	URLVariableTitles   map[string]string            `json:"url_variable_titles,omitempty"`
	VariableValues      map[string]map[string]string `json:"variable_values,omitempty"`
	CallbackVariables   map[string]string            `json:"callback_variables,omitempty"`
	CallbackFacts       map[string]string            `json:"callback_facts,omitempty"`
	Facts               map[string]string            `json:"facts,omitempty"`
	FactsRequest        *FactsRequest                `json:"facts_request,omitempty"`

	Categories       []string          `json:"categories,omitempty"`
	Unverified       bool              `json:"unverified"` // rests on one source, and may be stale
	UnverifiedFields []string          `json:"unverified_fields,omitempty"`
	Sources          []string          `json:"sources,omitempty"`
	FactSources      map[string]string `json:"fact_sources,omitempty"`
}

// FactsRequest is a GET with the new access token after an exchange, for facts
// that the token answer does not tell.
type FactsRequest struct {
	URL      string            `json:"url"`
	ListPath string            `json:"list_path,omitempty"`
	Fields   map[string]string `json:"fields"`
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
