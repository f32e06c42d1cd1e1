package catalog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// goodQuirks go with goodFile.
const goodQuirks = `categories: [crm, e-commerce]
unverified_fields: [token_cap]
fact_sources: {token_cap: p.example/limits (2026-11-24)}
default_scopes: [read, "https://p.example/all"]
scopes_for_refresh: [offline_access]
scope_parameter: user_scope
answer_scope_separator: ","
authorization_client_id_parameter: app
client_id_parameter: client_key
client_secret_parameter: key
grant_type_parameter: grantType
code_parameter: auth_code
callback_code_parameter: authCode
exchange_grant_type: authorized_code
exchange_params: {type: web_server}
extension_url: https://p.example/extend
extension_grant_type: p_exchange_token
refresh_url: https://{host}/refresh
refresh_grant_type: p_refresh_token
refresh_token_parameter: token
refresh_with_access_token: true
token_request_method: GET
refresh_request_method: POST
token_headers: {X-Version: "2026-01-01"}
access_token_field: authed.token
refresh_token_field: authed.refresh
expires_in_field: authed.expires
refresh_expires_in_field: authed.refresh_expires
scope_field: authed.scope
token_type_field: authed.type
expires_in_unit: timestamp_ms
refresh_expires_in_unit: datetime
expires_in_returned: true
subject_field: user.id
userinfo_subject_field: data.id
error_field: error.code
error_description_field: error.message
ok_field: ok
ok_value: "0"
error_statuses: {"403": transient, "401": terminal}
retry_after_header: X-Reset
retry_after_unit: timestamp
token_cap: 25
revocation_method: DELETE
revocation_auth: bearer
revocation_token_parameter: access_token
revocation_takes: access_token
revocation_params: {all: "1"}
revocation_body_format: json
revocation_revokes: grant
url_variable_patterns: {host: "[a-z]+\\.p\\.example", api: "https://[a-z]+\\.p\\.example"}
url_variable_titles: {path_1: the version}
variable_values: {dc: {us: a.p.example, eu: b.p.example}}
callback_variables: {dc: location}
callback_facts: {realm_id: realmId}
facts: {api: api_domain}
facts_request: {url: "https://{dc}/connections", list_path: data.list, fields: {tenant_ids: tenant.id}}
`

func wantQuirks(p *Provider) {
	p.RequestQuirks = RequestQuirks{
		DefaultScopes: []string{"read", "https://p.example/all"}, ScopesForRefresh: []string{"offline_access"},
		ScopeParameter: "user_scope", AnswerScopeSeparator: ",",
		AuthorizationClientIDParameter: "app", ClientIDParameter: "client_key", ClientSecretParameter: "key",
		GrantTypeParameter: "grantType", CodeParameter: "auth_code", CallbackCodeParameter: "authCode",
		ExchangeGrantType: "authorized_code", ExchangeParams: map[string]string{"type": "web_server"},
		ExtensionURL: "https://p.example/extend", ExtensionGrantType: "p_exchange_token",
		RefreshURL: "https://{host}/refresh", RefreshGrantType: "p_refresh_token", RefreshTokenParameter: "token",
		RefreshWithAccessToken: true, TokenRequestMethod: "GET", RefreshRequestMethod: "POST",
		TokenHeaders: map[string]string{"X-Version": "2026-01-01"},
	}
	p.AnswerQuirks = AnswerQuirks{
		AccessTokenField: "authed.token", RefreshTokenField: "authed.refresh", ExpiresInField: "authed.expires",
		RefreshExpiresInField: "authed.refresh_expires", ScopeField: "authed.scope", TokenTypeField: "authed.type",
		ExpiresInUnit: TimestampMillis, RefreshExpiresInUnit: DateTime, ExpiresInReturned: new(true),
		SubjectField: "user.id", UserinfoSubjectField: "data.id",
		ErrorField: "error.code", ErrorDescriptionField: "error.message", OKField: "ok", OKValue: "0",
		ErrorStatuses:    map[string]string{"403": "transient", "401": "terminal"},
		RetryAfterHeader: "X-Reset", RetryAfterUnit: Timestamp, TokenCap: 25,
	}
	p.RevocationQuirks = RevocationQuirks{
		RevocationMethod: "DELETE", RevocationAuth: RevokeByToken, RevocationTokenParameter: "access_token", RevocationTakes: "access_token",
		RevocationParams: map[string]string{"all": "1"}, RevocationBodyFormat: JSONBody, RevocationRevokes: "grant",
	}
	p.FactRules = FactRules{
		URLVariablePatterns: map[string]string{"host": `[a-z]+\.p\.example`, "api": `https://[a-z]+\.p\.example`},
		URLVariableTitles:   map[string]string{"path_1": "the version"},
		VariableValues:      map[string]map[string]string{"dc": {"us": "a.p.example", "eu": "b.p.example"}},
		CallbackVariables:   map[string]string{"dc": "location"}, CallbackFacts: map[string]string{"realm_id": "realmId"},
		Facts:        map[string]string{"api": "api_domain"},
		FactsRequest: &FactsRequest{URL: "https://{dc}/connections", ListPath: "data.list", Fields: map[string]string{"tenant_ids": "tenant.id"}},
	}
	p.Sourcing = Sourcing{
		Categories: []string{"crm", "e-commerce"}, Unverified: true, UnverifiedFields: []string{"token_cap"},
		Sources: []string{"p.example/docs (2026-11-23)"}, FactSources: map[string]string{"token_cap": "p.example/limits (2026-11-24)"},
	}
}

func TestGoodFileHasEveryField(t *testing.T) {
	for _, name := range fieldNames() {
		if name != "extends" && !strings.Contains("\n"+goodFile, "\n"+name+": ") {
			t.Errorf("%s is not in it", name)
		}
	}
}

func TestAProviderIsWrittenAsItWasRead(t *testing.T) {
	c, err := readOne(goodFile)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := c.Get("p")
	got, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(goodFile), &n); err != nil {
		t.Fatal(err)
	}
	raw, err := toJSON(&n)
	if err != nil {
		t.Fatal(err)
	}
	var want, have map[string]any
	if json.Unmarshal(raw, &want) != nil || json.Unmarshal(got, &have) != nil {
		t.Fatal("no JSON")
	}
	delete(want, "refresh_reuse_grace_seconds") // none is the same as not known
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", have, want)
	}
}

func TestACloneSharesNothing(t *testing.T) {
	p := base(t)
	q := p.Clone()
	q.VariableValues["dc"]["us"] = "x"
	q.FactsRequest.Fields["tenant_ids"] = "x"
	q.FactSources["token_cap"], q.TokenHeaders["X-Version"], q.ErrorStatuses["403"] = "x", "x", "x"
	q.ExchangeParams["type"], q.RevocationParams["all"], q.Facts["api"] = "x", "x", "x"
	*q.ExpiresInReturned = false
	q.DefaultScopes[0], q.Categories[0] = "x", "x"
	if want := base(t); !equal(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
}

// badQuirks each have one thing wrong, in line 5 unless where says otherwise.
var badQuirks = []struct{ name, yaml, where, text string }{
	{"scope with a space", "default_scopes: [a b]", ":5: default_scopes: ", "one scope"},
	{"parameter's name", "scope_parameter: a b", ":5: scope_parameter: ", "name of a parameter"},
	{"two parameters of one name", "client_id_parameter: a\nclient_secret_parameter: a", ":6: client_secret_parameter: ", "same as client_id_parameter"},
	{"grant type", "refresh_grant_type: a b", ":5: refresh_grant_type: ", "grant type"},
	{"extension without its grant", "extension_url: https://p.example/x", ":1: extension_grant_type: ", "need each other"},
	{"exchange_params replace the protocol's", "exchange_params: {code: x}", ":5: exchange_params: ", "set by the protocol"},
	{"exchange_params replace the provider's own", "client_id_parameter: key\nexchange_params: {key: x}", ":6: exchange_params: ", "set by the protocol"},
	{"method", "token_request_method: PUT", ":5: token_request_method: ", "POST, GET"},
	{"header of the protocol", "token_headers: {Authorization: x}", ":5: token_headers: ", "set by the protocol"},
	{"header with a line break", "token_headers: {A: \"b\\nc\"}", ":5: token_headers: ", "visible ASCII"},
	{"header's name", "token_headers: {\"A:\": b}", ":5: token_headers: ", "letters, digits"},
	{"traded itself without refresh", "refresh_rotation: none\nrefresh_with_access_token: true", ":6: refresh_with_access_token: ", "no sense"},
	{"path", "access_token_field: a..b", ":5: access_token_field: ", "joined by dots"},
	{"unit", "expires_in_unit: hours", ":5: expires_in_unit: ", "timestamp_ms"},
	{"unit of Retry-After", "retry_after_unit: datetime", ":5: retry_after_unit: ", "must be one of"},
	{"expiry in a place and absent", "expires_in_returned: false\nexpires_in_field: x", ":6: expires_in_field: ", "no sense"},
	{"ok_value alone", "ok_value: \"0\"", ":5: ok_value: ", "needs ok_field"},
	{"status", "error_statuses: {\"200\": transient}", ":5: error_statuses: ", "400 to 599"},
	{"status as a number", "error_statuses: {403: transient}", ":5: error_statuses: ", "quotes"},
	{"class", "error_statuses: {\"403\": dead}", ":5: error_statuses: ", "terminal, transient"},
	{"cap", "token_cap: 0", ":5: token_cap: ", "whole number"},
	{"revocation without its address", "revocation_method: DELETE", ":1: revocation_url: ", "is missing"},
	{"revocation auth", "revocation_url: https://p.example/r\nrevocation_auth: me", ":6: revocation_auth: ", "bearer"},
	{"token in the host", "revocation_url: \"https://{token}.p.example/\"", ":5: revocation_url: ", "in its host"},
	{"pattern of nothing", "url_variable_patterns: {x: a}", ":5: url_variable_patterns: ", "neither"},
	{"pattern that is none", "api_base_url: https://{x}.p.example\nurl_variables: {x: \"\"}\nurl_variable_patterns: {x: \"(\"}", ":7: url_variable_patterns: ", "regular expression"},
	{"default beside its pattern", "api_base_url: https://{x}.p.example\nurl_variables: {x: abc}\nurl_variable_patterns: {x: \"[0-9]+\"}", ":6: url_variables: ", "does not match"},
	{"default beside its table", "api_base_url: https://{x}.p.example\nurl_variables: {x: abc}\nvariable_values: {x: {a: b}}", ":6: url_variables: ", "one of b"},
	{"title of nothing", "url_variable_titles: {x: a}", ":5: url_variable_titles: ", "not in url_variables"},
	{"table with an address", "api_base_url: https://{x}.p.example\nurl_variables: {x: \"\"}\nvariable_values: {x: {a: \"b/c\"}}", ":7: variable_values: ", "host name"},
	{"callback chooses any host", "api_base_url: https://{x}\nurl_variables: {x: \"\"}\ncallback_variables: {x: loc}", ":7: callback_variables: ", "needs a table"},
	{"callback chooses any host by pattern", "api_base_url: https://{x}\nurl_variables: {x: \"\"}\nurl_variable_patterns: {x: \"[a-z.]+\"}\ncallback_variables: {x: loc}", ":8: callback_variables: ", "needs a table"},
	{"fact's name", "facts: {A: b}", ":5: facts: ", "lower-case"},
	{"fact twice", "facts: {a: b}\ncallback_facts: {a: c}", ":6: callback_facts: ", "facts already"},
	{"fact named as a variable", "api_base_url: https://{x}.p.example\nurl_variables: {x: \"\"}\nfacts: {x: b}", ":7: facts: ", "another name"},
	{"facts_request without fields", "facts_request: {url: \"https://p.example/\"}", ":5: facts_request: ", "url and fields"},
	{"facts_request with more", "facts_request: {url: \"https://p.example/\", method: POST}", ":5: facts_request: ", "list_path"},
	{"facts_request in the clear", "facts_request: {url: \"http://p.example/\", fields: {a: b}}", ":5: facts_request: ", "https://"},
	{"whole address from a fact without pattern", "facts: {a: b}\napi_base_url: \"{a}\"", ":6: api_base_url: ", "needs a pattern"},
	{"whole address from a loose fact", "facts: {a: b}\nurl_variable_patterns: {a: \"https://.*\"}\napi_base_url: \"{a}\"", ":7: api_base_url: ", "other hosts"},
	{"host from a loose fact", "facts: {a: b}\napi_base_url: \"https://{a}/v1\"", ":6: api_base_url: ", "chooses the host"},
	{"fact in the token address", "facts: {a: b}\nrefresh_url: \"https://{a}.p.example\"", ":6: refresh_url: ", "{a}"},
	{"category", "categories: [CRM]", ":5: categories: ", "lower-case"},
	{"doubt about nothing", "unverified_fields: [token_cap]", ":5: unverified_fields: ", "no field"},
	{"source of nothing", "fact_sources: {token_cap: p.example (2026-11-23)}", ":5: fact_sources: ", "no field"},
	{"source without a date", "fact_sources: {token_url: p.example}", ":5: fact_sources: ", "date"},
}

func TestBadQuirksAreRefusedByFileLineAndField(t *testing.T) {
	for _, tc := range badQuirks {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readOne(minimalFile + tc.yaml + "\n")
			if want := "providers/p.yaml" + tc.where; err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%v\nshould hold %q and %q", err, want, tc.text)
			}
		})
	}
}

func TestEveryBadQuirkOfItsOwnFormIsRefusedByTheSchemaToo(t *testing.T) {
	s := compileSchema(t)
	missed := []string{}
	for _, tc := range badQuirks {
		var n yaml.Node
		if yaml.Unmarshal([]byte(minimalFile+tc.yaml), &n) != nil {
			t.Fatal(tc.name)
		}
		if raw, err := toJSON(&n); err != nil || raw == nil {
			continue
		}
		if s.Validate(yamlValue(t, []byte(minimalFile+tc.yaml))) == nil {
			missed = append(missed, tc.name)
		}
	}
	// What one field means for another is for the loader.
	if len(missed) > 30 || slices.Contains(missed, "unit") || slices.Contains(missed, "header's name") {
		t.Errorf("the schema lets %d pass: %v", len(missed), missed)
	}
}
