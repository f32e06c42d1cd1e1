package catalog

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	scopePattern    = regexp.MustCompile(`^[!#-\[\]-~]{1,512}$`) // RFC 6749 section 3.3
	grantPattern    = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)
	headerPattern   = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	printable       = regexp.MustCompile(`^[ -~]{1,512}$`)
	categoryPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
)

func checkQuirks(wrong *problems, p Provider) {
	checkRequests(wrong, p)
	checkAnswers(wrong, p)
	checkRevocation(wrong, p)
	checkVariables(wrong, p)
	checkFacts(wrong, p)
}

func checkRequests(wrong *problems, p Provider) {
	checkScopes(wrong, "default_scopes", p.DefaultScopes)
	checkScopes(wrong, "scopes_for_refresh", p.ScopesForRefresh)
	checkSeparator(wrong, "answer_scope_separator", p.AnswerScopeSeparator)
	taken := map[string]string{}
	for _, n := range []namedURL{
		{"client_id_parameter", p.ClientIDParameter}, {"client_secret_parameter", p.ClientSecretParameter},
		{"grant_type_parameter", p.GrantTypeParameter}, {"code_parameter", p.CodeParameter},
		{"refresh_token_parameter", p.RefreshTokenParameter},
	} {
		checkParameter(wrong, n.field, n.value)
		if first := taken[n.value]; first != "" && n.value != "" {
			wrong.add(n.field, "is the same as %s", first)
		}
		taken[n.value] = n.field
	}
	for _, n := range []namedURL{
		{"scope_parameter", p.ScopeParameter}, {"authorization_client_id_parameter", p.AuthorizationClientIDParameter},
		{"callback_code_parameter", p.CallbackCodeParameter}, {"revocation_token_parameter", p.RevocationTokenParameter},
	} {
		checkParameter(wrong, n.field, n.value)
	}
	for _, n := range []namedURL{
		{"exchange_grant_type", p.ExchangeGrantType}, {"extension_grant_type", p.ExtensionGrantType}, {"refresh_grant_type", p.RefreshGrantType},
	} {
		if n.value != "" && !grantPattern.MatchString(n.value) {
			wrong.add(n.field, "must be a grant type, such as refresh_token")
		}
	}
	if (p.ExtensionURL == "") != (p.ExtensionGrantType == "") {
		wrong.add("extension_grant_type", "and extension_url need each other")
	}
	checkParams(wrong, "exchange_params", p.ExchangeParams, p.ownNames()...)
	oneOf(wrong, "token_request_method", p.TokenRequestMethod, "POST", "GET")
	oneOf(wrong, "refresh_request_method", p.RefreshRequestMethod, "POST", "GET")
	checkHeaders(wrong, p.TokenHeaders)
	if p.RefreshWithAccessToken && p.RefreshRotation == NoRefresh {
		wrong.add("refresh_with_access_token", "makes no sense with refresh_rotation none; take one out")
	}
}

// ownNames are the parameters of a token request that are the protocol's own,
// by the standard's names and by the provider's.
func (p *Provider) ownNames() []string {
	names := append(tokenWords(), p.ClientIDParameter, p.ClientSecretParameter, p.GrantTypeParameter, p.CodeParameter, p.RefreshTokenParameter)
	return slices.DeleteFunc(names, func(s string) bool { return s == "" })
}

func checkScopes(wrong *problems, field string, scopes []string) {
	if len(scopes) > maxEntries {
		wrong.add(field, "has too many entries, at most %d are allowed", maxEntries)
	}
	for _, s := range scopes {
		if !scopePattern.MatchString(s) {
			wrong.add(field, "%q must be one scope: 1 to %d visible characters without quotes and backslashes", shorten(s), maxText)
		}
	}
}

func checkSeparator(wrong *problems, field, s string) {
	if len(s) > 1 || strings.ContainsAny(s, "\x00\r\n\t\"\\") || s > "~" {
		wrong.add(field, "must be one visible character or a space, such as \",\"")
	}
}

func checkParameter(wrong *problems, field, name string) {
	if name != "" && !wordPattern.MatchString(name) {
		wrong.add(field, "must be the name of a parameter: letters, digits and . _ -")
	}
}

func checkPath(wrong *problems, field, path string) {
	if path != "" && (len(path) > maxText || !pathPattern.MatchString(path)) {
		wrong.add(field, "must be names joined by dots, such as data.token")
	}
}

// checkHeaders refuses headers that say how a message is framed, sent or
// authenticated.
func checkHeaders(wrong *problems, headers map[string]string) {
	const field = "token_headers"
	if len(headers) > maxEntries {
		wrong.add(field, "has too many entries, at most %d are allowed", maxEntries)
	}
	reserved := []string{
		"authorization", "proxy-authorization", "cookie", "host", "content-length", "content-type", "transfer-encoding",
		"connection", "te", "trailer", "upgrade", "expect", "dpop",
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		switch {
		case slices.Contains(reserved, strings.ToLower(name)):
			wrong.add(field, "%s is set by the protocol and cannot be replaced", shorten(name))
		case !headerPattern.MatchString(name):
			wrong.add(field, "the name %q must be letters, digits and -", shorten(name))
		case !printable.MatchString(headers[name]):
			wrong.add(field, "the value of %s must be 1 to %d visible ASCII characters or spaces", name, maxText)
		}
	}
}

func checkAnswers(wrong *problems, p Provider) {
	for _, n := range []namedURL{
		{"access_token_field", p.AccessTokenField}, {"refresh_token_field", p.RefreshTokenField},
		{"expires_in_field", p.ExpiresInField}, {"refresh_expires_in_field", p.RefreshExpiresInField},
		{"scope_field", p.ScopeField}, {"token_type_field", p.TokenTypeField},
		{"subject_field", p.SubjectField}, {"userinfo_subject_field", p.UserinfoSubjectField},
		{"error_field", p.ErrorField}, {"error_description_field", p.ErrorDescriptionField}, {"ok_field", p.OKField},
	} {
		checkPath(wrong, n.field, n.value)
	}
	units := []string{string(Seconds), string(Milliseconds), string(Timestamp), string(TimestampMillis)}
	oneOf(wrong, "expires_in_unit", string(p.ExpiresInUnit), append(units, string(DateTime))...)
	oneOf(wrong, "refresh_expires_in_unit", string(p.RefreshExpiresInUnit), append(units, string(DateTime))...)
	oneOf(wrong, "retry_after_unit", string(p.RetryAfterUnit), units...)
	if p.ExpiresInReturned != nil && !*p.ExpiresInReturned && p.ExpiresInField != "" {
		wrong.add("expires_in_field", "makes no sense with expires_in_returned false; take one out")
	}
	if p.OKValue != "" && p.OKField == "" {
		wrong.add("ok_value", "needs ok_field")
	}
	if p.OKValue != "" && !grantPattern.MatchString(p.OKValue) {
		wrong.add("ok_value", "must be the text or number of success")
	}
	if p.RetryAfterHeader != "" && !headerPattern.MatchString(p.RetryAfterHeader) {
		wrong.add("retry_after_header", "must be the name of a header: letters, digits and -")
	}
	for _, status := range slices.Sorted(maps.Keys(p.ErrorStatuses)) {
		if n, err := strconv.Atoi(status); err != nil || n < 400 || n > 599 || len(status) != 3 {
			wrong.add("error_statuses", "%q must be an HTTP status from 400 to 599", shorten(status))
		}
		if !slices.Contains([]string{"terminal", "transient", "misconfigured", "unrecognised"}, p.ErrorStatuses[status]) {
			wrong.add("error_statuses", "%s must be terminal, transient, misconfigured or unrecognised", shorten(status))
		}
	}
}

func checkRevocation(wrong *problems, p Provider) {
	oneOf(wrong, "revocation_method", p.RevocationMethod, "POST", "GET", "DELETE")
	oneOf(wrong, "revocation_auth", p.RevocationAuth, RevokeAsClient, RevokeByBasic, RevokeByToken, RevokeByNobody)
	oneOf(wrong, "revocation_takes", p.RevocationTakes, "access_token", "refresh_token")
	oneOf(wrong, "revocation_body_format", string(p.RevocationBodyFormat), string(FormBody), string(JSONBody))
	oneOf(wrong, "revocation_revokes", p.RevocationRevokes, "grant", "token")
	checkParams(wrong, "revocation_params", p.RevocationParams, slices.DeleteFunc([]string{
		"token", "client_id", "client_secret", "client_assertion", "client_assertion_type", p.RevocationTokenParameter, p.ClientIDParameter, p.ClientSecretParameter,
	}, func(s string) bool { return s == "" })...)
	if p.RevocationURL == "" && (p.RevocationMethod != "" || p.RevocationAuth != "" || p.RevocationTokenParameter != "" || p.RevocationTakes != "" || len(p.RevocationParams) > 0 || p.RevocationBodyFormat != "" || p.RevocationRevokes != "") {
		wrong.add("revocation_url", "is missing, and other fields tell how to revoke")
	}
}

func checkVariables(wrong *problems, p Provider) {
	facts := p.factNames()
	for _, name := range slices.Sorted(maps.Keys(p.URLVariablePatterns)) {
		pattern := p.URLVariablePatterns[name]
		_, variable := p.URLVariables[name]
		if _, err := wholePattern(pattern); err != nil || len(pattern) > maxText || pattern == "" {
			wrong.add("url_variable_patterns", "the pattern of %q is not a regular expression of RE2", shorten(name))
		} else if !variable && !slices.Contains(facts, name) {
			wrong.add("url_variable_patterns", "%q is neither in url_variables nor a fact; take it out", shorten(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.URLVariableTitles)) {
		if _, variable := p.URLVariables[name]; !variable {
			wrong.add("url_variable_titles", "%q is not in url_variables; take it out", shorten(name))
		}
		if !isLine(p.URLVariableTitles[name]) {
			wrong.add("url_variable_titles", "that of %q must be one line of 1 to %d bytes", shorten(name), maxText)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.VariableValues)) {
		checkTable(wrong, p, name)
	}
	for _, name := range slices.Sorted(maps.Keys(p.CallbackVariables)) {
		if _, variable := p.URLVariables[name]; !variable {
			wrong.add("callback_variables", "%q is not in url_variables", shorten(name))
		}
		// Under the provider's own domain any label is its own, if it is one label.
		if (p.decidesHost(name) || p.URLVariablePatterns[name] == "") && !p.bounded(name) {
			wrong.add("callback_variables", "%q needs a table in variable_values, or a pattern in url_variable_patterns that keeps to the provider's own hosts", shorten(name))
		}
		checkParameter(wrong, "callback_variables", p.CallbackVariables[name])
	}
}

func checkTable(wrong *problems, p Provider, name string) {
	const field = "variable_values"
	if _, variable := p.URLVariables[name]; !variable {
		wrong.add(field, "%q is not in url_variables; take it out", shorten(name))
	}
	table := p.VariableValues[name]
	if len(table) == 0 || len(table) > maxEntries {
		wrong.add(field, "that of %q must have 1 to %d entries", shorten(name), maxEntries)
	}
	for _, said := range slices.Sorted(maps.Keys(table)) {
		if len(said) > maxText || !isVariableValue(table[said]) {
			wrong.add(field, "that of %q: each value must be a host name or a part of one: letters, digits and inner . and -", shorten(name))
			return
		}
	}
}

func isLine(s string) bool {
	return strings.TrimSpace(s) != "" && len(s) <= maxText && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func checkFacts(wrong *problems, p Provider) {
	seen := map[string]string{}
	names := func(field string, rules map[string]string) {
		if len(rules) > maxEntries {
			wrong.add(field, "has too many entries, at most %d are allowed", maxEntries)
		}
		for _, name := range slices.Sorted(maps.Keys(rules)) {
			if !isVariable(name) {
				wrong.add(field, "%q must be lower-case letters, digits and _", shorten(name))
			}
			if first := seen[name]; first != "" {
				wrong.add(field, "%q stands in %s already", shorten(name), first)
			}
			seen[name] = field
			if field == "callback_facts" {
				checkParameter(wrong, field, rules[name])
			} else if rules[name] == "" {
				wrong.add(field, "%q has no path", shorten(name))
			} else {
				checkPath(wrong, field, rules[name])
			}
		}
	}
	names("facts", p.Facts)
	names("callback_facts", p.CallbackFacts)
	if r := p.FactsRequest; r != nil {
		if r.URL == "" || len(r.Fields) == 0 {
			wrong.add("facts_request", "must have url and fields")
		}
		checkPath(wrong, "facts_request", r.ListPath)
		names("facts_request", r.Fields)
	}
	for _, name := range slices.Sorted(maps.Keys(p.URLVariables)) {
		if first := seen[name]; first != "" {
			wrong.add(first, "%q is a variable of url_variables too; choose another name", shorten(name))
		}
	}
}

// checkSourcing says what is wrong with what an entry says about itself.
func checkSourcing(wrong *problems, p Provider) {
	given := func(name string) bool {
		f, known := fieldNamed(name)
		if !known {
			return false
		}
		v, err := encode(f.at(&p))
		return err == nil && v != nil
	}
	if len(p.Categories) > maxEntries || slices.ContainsFunc(p.Categories, func(s string) bool { return len(s) > 64 || !categoryPattern.MatchString(s) }) {
		wrong.add("categories", "must be at most %d words of lower-case letters, digits and inner hyphens", maxEntries)
	}
	for _, name := range p.UnverifiedFields {
		if !given(name) {
			wrong.add("unverified_fields", "%q is no field that it has", shorten(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.FactSources)) {
		if !given(name) {
			wrong.add("fact_sources", "%q is no field that it has", shorten(name))
		}
		if text := wrongSource(p.FactSources[name]); text != "" {
			wrong.add("fact_sources", "%s", text)
		}
	}
}

// wrongSource says what is wrong with a source.
func wrongSource(s string) string {
	m := sourcePattern.FindStringSubmatch(s)
	if len(s) > maxText || m == nil || !isDate(m[1]) {
		return fmt.Sprintf("%q must be a page or repository with its date, such as \"docs.example.com/oauth (2026-11-23)\"", shorten(s))
	}
	return ""
}
