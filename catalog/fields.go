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
	// *[]string, *map[string]string, *seconds, *grace or *RateLimit.
	at func(*Provider) any
}

// fields returns all fields, in the order in which they are checked and shown.
func fields() []field {
	return []field{
		{"id", true, func(p *Provider) any { return &p.ID }},
		{"name", true, func(p *Provider) any { return &p.Name }},
		{"authorization_url", false, func(p *Provider) any { return &p.AuthorizationURL }},
		{"token_url", false, func(p *Provider) any { return &p.TokenURL }},
		{"revocation_url", false, func(p *Provider) any { return &p.RevocationURL }},
		{"introspection_url", false, func(p *Provider) any { return &p.IntrospectionURL }},
		{"api_base_url", false, func(p *Provider) any { return &p.APIBaseURL }},
		{"docs_url", true, func(p *Provider) any { return &p.DocsURL }},
		{"url_variables", false, func(p *Provider) any { return &p.URLVariables }},
		{"token_auth_method", false, func(p *Provider) any { return (*string)(&p.TokenAuthMethod) }},
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
		{"unverified", true, func(p *Provider) any { return &p.Unverified }},
		{"sources", true, func(p *Provider) any { return &p.Sources }},
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
