package catalog

import "slices"

// field is one field of a provider as files and overrides name it. It is the
// one list of them: reading, overriding and the schema's test go by it.
type field struct {
	name string
	// fact marks what describes the catalogue's entry and no integration may
	// replace.
	fact bool
	// at is where the value is kept: *string or a type of it, *bool,
	// *[]string, *map[string]string or another type that decode and encode know.
	at func(*Provider) any
}

// fields returns all fields, in the order in which they are checked and shown.
func fields() []field {
	all := []field{
		{"id", true, func(p *Provider) any { return &p.ID }},
		{"extends", true, func(p *Provider) any { return &p.Extends }},
		{"name", true, func(p *Provider) any { return &p.Name }},
		{"authorization_url", false, func(p *Provider) any { return &p.AuthorizationURL }},
		{"token_url", false, func(p *Provider) any { return &p.TokenURL }},
		{"revocation_url", false, func(p *Provider) any { return &p.RevocationURL }},
		{"introspection_url", false, func(p *Provider) any { return &p.IntrospectionURL }},
		{"issuer", false, func(p *Provider) any { return &p.Issuer }},
		{"pushed_authorization_request_url", false, func(p *Provider) any { return &p.PushedAuthorizationRequestURL }},
		{"device_authorization_url", false, func(p *Provider) any { return &p.DeviceAuthorizationURL }},
		{"userinfo_url", false, func(p *Provider) any { return &p.UserinfoURL }},
		{"jwks_url", false, func(p *Provider) any { return &p.JWKSURL }},
		{"registration_url", false, func(p *Provider) any { return &p.RegistrationURL }},
		{"mtls_token_url", false, func(p *Provider) any { return &p.MTLSTokenURL }},
		{"api_base_url", false, func(p *Provider) any { return &p.APIBaseURL }},
		{"docs_url", true, func(p *Provider) any { return &p.DocsURL }},
		{"url_variables", false, func(p *Provider) any { return &p.URLVariables }},
		{"token_auth_method", false, func(p *Provider) any { return (*string)(&p.TokenAuthMethod) }},
		{"assertion_audience", false, func(p *Provider) any { return &p.AssertionAudience }},
		{"authorization_response_iss", false, func(p *Provider) any { return &p.AuthorizationResponseIss }},
		{"dpop", false, func(p *Provider) any { return (*string)(&p.DPoP) }},
		{"resources", false, func(p *Provider) any { return &p.Resources }},
		{"token_body_format", false, func(p *Provider) any { return (*string)(&p.TokenBodyFormat) }},
		{"scope_separator", false, func(p *Provider) any { return &p.ScopeSeparator }},
		{"pkce", false, func(p *Provider) any { return (*string)(&p.PKCE) }},
		{"authorization_params", false, func(p *Provider) any { return &p.AuthorizationParams }},
		{"token_params", false, func(p *Provider) any { return &p.TokenParams }},
		{"refresh_params", false, func(p *Provider) any { return &p.RefreshParams }},
		{"token_path", false, func(p *Provider) any { return &p.TokenPath }},
		{"refresh_rotation", false, func(p *Provider) any { return (*string)(&p.RefreshRotation) }},
		{"refresh_reuse_grace_seconds", false, func(p *Provider) any { return (*grace)(&p.RefreshReuseGrace) }},
		{"access_token_lifetime_seconds", false, func(p *Provider) any { return (*seconds)(&p.AccessTokenLifetime) }},
		{"refresh_token_lifetime_seconds", false, func(p *Provider) any { return (*seconds)(&p.RefreshTokenLifetime) }},
		{"refresh_token_idle_seconds", false, func(p *Provider) any { return (*seconds)(&p.RefreshTokenIdle) }},
		{"terminal_errors", false, func(p *Provider) any { return &p.TerminalErrors }},
		{"transient_errors", false, func(p *Provider) any { return &p.TransientErrors }},
		{"misconfigured_errors", false, func(p *Provider) any { return &p.MisconfiguredErrors }},
		{"rate_limit", false, func(p *Provider) any { return &p.RateLimit }},
		{"categories", true, func(p *Provider) any { return &p.Categories }},
		{"unverified", true, func(p *Provider) any { return &p.Unverified }},
		{"unverified_fields", true, func(p *Provider) any { return &p.UnverifiedFields }},
		{"sources", true, func(p *Provider) any { return &p.Sources }},
		{"fact_sources", true, func(p *Provider) any { return &p.FactSources }},
	}
	return slices.Concat(all, quirkFields())
}

// quirkFields are those in which a provider leaves the standard.
func quirkFields() []field {
	return []field{
		{"default_scopes", false, func(p *Provider) any { return &p.DefaultScopes }},
		{"scopes_for_refresh", false, func(p *Provider) any { return &p.ScopesForRefresh }},
		{"scope_parameter", false, func(p *Provider) any { return &p.ScopeParameter }},
		{"answer_scope_separator", false, func(p *Provider) any { return &p.AnswerScopeSeparator }},
		{"authorization_client_id_parameter", false, func(p *Provider) any { return &p.AuthorizationClientIDParameter }},
		{"client_id_parameter", false, func(p *Provider) any { return &p.ClientIDParameter }},
		{"client_secret_parameter", false, func(p *Provider) any { return &p.ClientSecretParameter }},
		{"grant_type_parameter", false, func(p *Provider) any { return &p.GrantTypeParameter }},
		{"code_parameter", false, func(p *Provider) any { return &p.CodeParameter }},
		{"callback_code_parameter", false, func(p *Provider) any { return &p.CallbackCodeParameter }},
		{"exchange_grant_type", false, func(p *Provider) any { return &p.ExchangeGrantType }},
		{"exchange_params", false, func(p *Provider) any { return &p.ExchangeParams }},
		{"extension_url", false, func(p *Provider) any { return &p.ExtensionURL }},
		{"extension_grant_type", false, func(p *Provider) any { return &p.ExtensionGrantType }},
		{"refresh_url", false, func(p *Provider) any { return &p.RefreshURL }},
		{"refresh_grant_type", false, func(p *Provider) any { return &p.RefreshGrantType }},
		{"refresh_token_parameter", false, func(p *Provider) any { return &p.RefreshTokenParameter }},
		{"refresh_with_access_token", false, func(p *Provider) any { return &p.RefreshWithAccessToken }},
		{"token_request_method", false, func(p *Provider) any { return &p.TokenRequestMethod }},
		{"refresh_request_method", false, func(p *Provider) any { return &p.RefreshRequestMethod }},
		{"token_headers", false, func(p *Provider) any { return &p.TokenHeaders }},
		{"access_token_field", false, func(p *Provider) any { return &p.AccessTokenField }},
		{"refresh_token_field", false, func(p *Provider) any { return &p.RefreshTokenField }},
		{"expires_in_field", false, func(p *Provider) any { return &p.ExpiresInField }},
		{"refresh_expires_in_field", false, func(p *Provider) any { return &p.RefreshExpiresInField }},
		{"scope_field", false, func(p *Provider) any { return &p.ScopeField }},
		{"token_type_field", false, func(p *Provider) any { return &p.TokenTypeField }},
		{"expires_in_unit", false, func(p *Provider) any { return (*string)(&p.ExpiresInUnit) }},
		{"refresh_expires_in_unit", false, func(p *Provider) any { return (*string)(&p.RefreshExpiresInUnit) }},
		{"expires_in_returned", false, func(p *Provider) any { return &p.ExpiresInReturned }},
		{"subject_field", false, func(p *Provider) any { return &p.SubjectField }},
		{"userinfo_subject_field", false, func(p *Provider) any { return &p.UserinfoSubjectField }},
		{"error_field", false, func(p *Provider) any { return &p.ErrorField }},
		{"error_description_field", false, func(p *Provider) any { return &p.ErrorDescriptionField }},
		{"ok_field", false, func(p *Provider) any { return &p.OKField }},
		{"ok_value", false, func(p *Provider) any { return &p.OKValue }},
		{"error_statuses", false, func(p *Provider) any { return &p.ErrorStatuses }},
		{"retry_after_header", false, func(p *Provider) any { return &p.RetryAfterHeader }},
		{"retry_after_unit", false, func(p *Provider) any { return (*string)(&p.RetryAfterUnit) }},
		{"token_cap", false, func(p *Provider) any { return (*count)(&p.TokenCap) }},
		{"revocation_method", false, func(p *Provider) any { return &p.RevocationMethod }},
		{"revocation_auth", false, func(p *Provider) any { return &p.RevocationAuth }},
		{"revocation_token_parameter", false, func(p *Provider) any { return &p.RevocationTokenParameter }},
		{"revocation_takes", false, func(p *Provider) any { return &p.RevocationTakes }},
		{"revocation_params", false, func(p *Provider) any { return &p.RevocationParams }},
		{"revocation_body_format", false, func(p *Provider) any { return (*string)(&p.RevocationBodyFormat) }},
		{"revocation_revokes", false, func(p *Provider) any { return &p.RevocationRevokes }},
		{"url_variable_patterns", false, func(p *Provider) any { return &p.URLVariablePatterns }},
		{"url_variable_titles", false, func(p *Provider) any { return &p.URLVariableTitles }},
		{"variable_values", false, func(p *Provider) any { return &p.VariableValues }},
		{"callback_variables", false, func(p *Provider) any { return &p.CallbackVariables }},
		{"callback_facts", false, func(p *Provider) any { return &p.CallbackFacts }},
		{"facts", false, func(p *Provider) any { return &p.Facts }},
		{"facts_request", false, func(p *Provider) any { return &p.FactsRequest }},
	}
}

// fieldNamed finds a field by its name.
func fieldNamed(name string) (field, bool) {
	all := fields()
	i := slices.IndexFunc(all, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return all[i], true
}

// Fields returns the names of the fields that an integration may override.
func Fields() []string {
	var names []string
	for _, f := range fields() {
		if !f.fact {
			names = append(names, f.name)
		}
	}
	return names
}
