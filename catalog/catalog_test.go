package catalog

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/grantd/grantd/credential"
)

const minimalFile = `id: p
name: P
token_url: https://p.example/token
sources: [p.example/docs (2026-11-23)]
`

// goodFile has every field.
const goodFile = `id: p
name: P
authorization_url: https://{host}/authorize?x=1
token_url: https://{host}/token
revocation_url: http://127.0.0.1:8080/revoke
introspection_url: http://[::1]:80/introspect
issuer: https://{host}/
pushed_authorization_request_url: https://{host}/par
device_authorization_url: https://{host}/device
userinfo_url: https://{host}/me
jwks_url: https://{host}/jwks
registration_url: https://{host}/reg
mtls_token_url: https://mtls.{host}/token
api_base_url: https://api.p.example/{path_1}
docs_url: http://localhost/docs
url_variables: {host: auth.p.example, path_1: "", dc: ""}
token_auth_method: none
assertion_audience: https://p.example
authorization_response_iss: true
dpop: required
resources: [https://api.p.example/, "urn:x:y"]
token_body_format: json
scope_separator: ","
pkce: required
authorization_params: {access_type: offline}
token_params: {action: requesttoken}
refresh_params: {action: refresh, n: "1"}
token_path: data.token
refresh_rotation: static
refresh_reuse_grace_seconds: 0
access_token_lifetime_seconds: 60
refresh_token_lifetime_seconds: 3600
refresh_token_idle_seconds: 600
terminal_errors: [dead, Dead_2]
transient_errors: [later]
misconfigured_errors: [who.are-you]
rate_limit: {requests_per_second: 2.5, burst: 10, concurrency: 4}
unverified: true
sources: [p.example/docs (2026-11-23)]
` + goodQuirks

func readOne(text string) (*Catalog, error) {
	return Read(fstest.MapFS{"providers/p.yaml": {Data: []byte(text)}}, "providers")
}

func TestBuiltInCatalogueLoads(t *testing.T) {
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	list := c.List()
	if len(list) == 0 {
		t.Fatal("no providers")
	}
	if !slices.IsSortedFunc(list, func(a, b Provider) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("the list is not in order of id")
	}
	for _, p := range list {
		if got, ok := c.Get(p.ID); !ok || got.Name != p.Name {
			t.Errorf("%s is in the list and is not found", p.ID)
		}
		// A catalogue entry without overrides must be good as an override's base.
		if _, err := Override(p, nil); err != nil {
			t.Errorf("%s: %v", p.ID, err)
		}
	}
}

func TestEveryFieldIsRead(t *testing.T) {
	c, err := readOne(goodFile)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := c.Get("p")
	want := Provider{
		ID: "p", Name: "P",
		AuthorizationURL: "https://{host}/authorize?x=1", TokenURL: "https://{host}/token",
		RevocationURL: "http://127.0.0.1:8080/revoke", IntrospectionURL: "http://[::1]:80/introspect",
		Issuer: "https://{host}/", PushedAuthorizationRequestURL: "https://{host}/par", DeviceAuthorizationURL: "https://{host}/device",
		UserinfoURL: "https://{host}/me", JWKSURL: "https://{host}/jwks", RegistrationURL: "https://{host}/reg", MTLSTokenURL: "https://mtls.{host}/token",
		AssertionAudience: "https://p.example", AuthorizationResponseIss: true, DPoP: DPoPRequired, Resources: []string{"https://api.p.example/", "urn:x:y"},
		APIBaseURL: "https://api.p.example/{path_1}", DocsURL: "http://localhost/docs",
		URLVariables:    map[string]string{"host": "auth.p.example", "path_1": "", "dc": ""},
		TokenAuthMethod: NoSecret, TokenBodyFormat: JSONBody, ScopeSeparator: ",", PKCE: PKCERequired,
		AuthorizationParams: map[string]string{"access_type": "offline"},
		TokenParams:         map[string]string{"action": "requesttoken"},
		RefreshParams:       map[string]string{"action": "refresh", "n": "1"},
		TokenPath:           "data.token",
		RefreshRotation:     Static, AccessTokenLifetime: time.Minute,
		RefreshTokenLifetime: time.Hour, RefreshTokenIdle: 10 * time.Minute,
		TerminalErrors: []string{"dead", "Dead_2"}, TransientErrors: []string{"later"}, MisconfiguredErrors: []string{"who.are-you"},
		RateLimit: RateLimit{RequestsPerSecond: 2.5, Burst: 10, Concurrency: 4},
	}
	wantQuirks(&want)
	if !equal(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
}

// badFiles each have one thing wrong. where is the line and the field that the
// error must name.
var badFiles = []struct{ name, yaml, where, text string }{
	{"unknown key", minimalFile + "tokn_url: x\n", ":5: tokn_url: ", "did you mean token_url?"},
	{"unknown key, far from all", minimalFile + "colour: x\n", ":5: colour: ", "known are"},
	{"yaml: key twice", minimalFile + "name: Q\n", ":5: name: ", "first in line 2"},
	{"yaml: not a mapping", "- a\n- b\n", ":1: ", "one provider"},
	{"yaml: empty", "", ":1: ", "one provider"},
	{"yaml: broken", "id: [", ":1: ", "is not YAML"},
	{"no value", minimalFile + "pkce:\n", ":5: pkce: ", "no value"},
	{"number for text", minimalFile + "scope_separator: 7\n", ":5: scope_separator: ", "must be text"},
	{"number in params", minimalFile + "token_params: {expiring: 1}\n", ":5: token_params: ", "quotes"},
	{"text for list", minimalFile + "terminal_errors: dead\n", ":5: terminal_errors: ", "list"},
	{"text for bool", minimalFile + "unverified: \"yes\"\n", ":5: unverified: ", "true or false"},
	{"plain http", strings.Replace(minimalFile, "https", "http", 1), ":3: token_url: ", "https://"},
	{"http to a name like localhost", minimalFile + "api_base_url: http://localhost.evil.example/\n", ":5: api_base_url: ", "https://"},
	{"other scheme", minimalFile + "docs_url: ftp://p.example/\n", ":5: docs_url: ", "https://"},
	{"relative", minimalFile + "docs_url: /token\n", ":5: docs_url: ", "whole URL"},
	{"password in URL", minimalFile + "api_base_url: https://u:hunter2@p.example/\n", ":5: api_base_url: ", "password"},
	{"fragment", minimalFile + "api_base_url: https://p.example/#a\n", ":5: api_base_url: ", "fragment"},
	{"space in URL", minimalFile + "api_base_url: https://p.example/ a\n", ":5: api_base_url: ", "not a URL"},
	{"variable unknown", minimalFile + "api_base_url: https://{x}.p.example/\n", ":5: api_base_url: ", "{x}"},
	{"brace open", minimalFile + "api_base_url: https://{x.p.example/\nurl_variables: {x: a}\n", ":5: api_base_url: ", "variable"},
	{"variable unused", minimalFile + "url_variables: {x: a}\n", ":5: url_variables: ", "in no URL"},
	{"variable with a slash", minimalFile + "api_base_url: https://{x}/\nurl_variables: {x: evil.example/}\n", ":6: url_variables: ", "host name"},
	{"variable with an at", minimalFile + "api_base_url: https://{x}.p.example/\nurl_variables: {x: a@evil}\n", ":6: url_variables: ", "host name"},
	{"auth method", minimalFile + "token_auth_method: basic\n", ":5: token_auth_method: ", "client_secret_basic"},
	{"body format", minimalFile + "token_body_format: xml\n", ":5: token_body_format: ", "form, json"},
	{"rotation", minimalFile + "refresh_rotation: sometimes\n", ":5: refresh_rotation: ", "rotating, static, none"},
	{"pkce", minimalFile + "pkce: S256\n", ":5: pkce: ", "required"},
	{"dpop", minimalFile + "dpop: yes please\n", ":5: dpop: ", "required, supported"},
	{"resource relative", minimalFile + "resources: [/x]\n", ":5: resources: ", "absolute"},
	{"resource with a fragment", minimalFile + "resources: [\"https://p.example/#a\"]\n", ":5: resources: ", "fragment"},
	{"audience with a space", minimalFile + "assertion_audience: a b\n", ":5: assertion_audience: ", "without spaces"},
	{"issuer of plain http", minimalFile + "issuer: http://p.example\n", ":5: issuer: ", "https://"},
	{"separator", minimalFile + "scope_separator: \", \"\n", ":5: scope_separator: ", "one visible character"},
	{"lifetime zero", minimalFile + "access_token_lifetime_seconds: 0\n", ":5: access_token_lifetime_seconds: ", "from 1"},
	{"lifetime negative", minimalFile + "refresh_token_lifetime_seconds: -1\n", ":5: refresh_token_lifetime_seconds: ", "from 1"},
	{"lifetime broken", minimalFile + "refresh_token_idle_seconds: 1.5\n", ":5: refresh_token_idle_seconds: ", "whole number"},
	{"lifetime absurd", minimalFile + "refresh_token_idle_seconds: 99999999999\n", ":5: refresh_token_idle_seconds: ", "whole number"},
	{"lifetime as text", minimalFile + "refresh_token_idle_seconds: 60d\n", ":5: refresh_token_idle_seconds: ", "whole number"},
	{"grace negative", minimalFile + "refresh_reuse_grace_seconds: -1\n", ":5: refresh_reuse_grace_seconds: ", "from 0"},
	{"grace without refresh", minimalFile + "refresh_rotation: none\nrefresh_reuse_grace_seconds: 5\n", ":6: refresh_reuse_grace_seconds: ", "no sense"},
	{"token path", minimalFile + "token_path: a..b\n", ":5: token_path: ", "joined by dots"},
	{"reserved parameter", minimalFile + "refresh_params: {grant_type: x}\n", ":5: refresh_params: ", "set by the protocol"},
	{"reserved at authorization", minimalFile + "authorization_params: {state: x}\n", ":5: authorization_params: ", "set by the protocol"},
	{"odd parameter", minimalFile + "token_params: {\"a b\": x}\n", ":5: token_params: ", "letters, digits"},
	{"word with a space", minimalFile + "terminal_errors: [Invalid Token]\n", ":5: terminal_errors: ", "one _"},
	{"word with two meanings", minimalFile + "terminal_errors: [a]\ntransient_errors: [A]\n", ":6: transient_errors: ", "terminal_errors already"},
	{"rate zero", minimalFile + "rate_limit: {requests_per_second: 0}\n", ":5: rate_limit: ", "above 0"},
	{"rate of parts", minimalFile + "rate_limit: {burst: 1.5}\n", ":5: rate_limit: ", "whole"},
	{"rate unknown", minimalFile + "rate_limit: {per_day: 1}\n", ":5: rate_limit: ", "per_day"},
	{"id is not the file", strings.Replace(minimalFile, "id: p", "id: q", 1), ":1: id: ", "name of the file"},
	{"id odd", strings.Replace(minimalFile, "id: p", "id: P P", 1), ":1: id: ", "lower-case"},
	{"id missing", strings.Replace(minimalFile, "id: p\n", "", 1), ":1: id: ", "lower-case"},
	{"name missing", strings.Replace(minimalFile, "name: P\n", "", 1), ":1: name: ", "people"},
	{"token_url missing", strings.Replace(minimalFile, "token_url: https://p.example/token\n", "", 1), ":1: token_url: ", "missing"},
	{"sources missing", strings.Replace(minimalFile, "sources: [p.example/docs (2026-11-23)]\n", "", 1), ":1: sources: ", "missing"},
	{"source undated", strings.Replace(minimalFile, " (2026-11-23)", "", 1), ":4: sources: ", "date"},
	{"source of no day", strings.Replace(minimalFile, "2026-11-23", "2026-02-30", 1), ":4: sources: ", "date"},
}

func TestBadFilesAreRefusedByFileLineAndField(t *testing.T) {
	for _, tc := range badFiles {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readOne(tc.yaml)
			if err == nil {
				t.Fatal("accepted")
			}
			if !errors.Is(err, credential.ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
			if want := "providers/p.yaml" + tc.where; !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%q\nshould hold %q and %q", err, want, tc.text)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q shows a password", err)
			}
		})
	}
}

func TestAllProblemsOfAllFilesAreTold(t *testing.T) {
	_, err := Read(fstest.MapFS{
		"providers/p.yaml": {Data: []byte(minimalFile + "pkce: x\ntoken_body_format: y\n")},
		"providers/q.yaml": {Data: []byte(minimalFile)},
	}, "providers")
	for _, want := range []string{"p.yaml:5: pkce", "p.yaml:6: token_body_format", "q.yaml:1: id"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %s", err, want)
		}
	}
}

func TestCustomIsTheEmptyProviderAndNotInTheList(t *testing.T) {
	c, err := readOne(minimalFile)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := c.Get(Custom)
	if !ok || !equal(p, Provider{ID: Custom, Name: "Custom"}) {
		t.Errorf("custom is %+v, %v", p, ok)
	}
	if !p.Rotates() || p.Separator() != " " {
		t.Error("what is not known must be treated as rotating, with scopes joined by spaces")
	}
	if len(c.List()) != 1 {
		t.Errorf("%d providers in the list", len(c.List()))
	}
	if _, ok := c.Get("nobody"); ok {
		t.Error("nobody is a provider")
	}
}

func FuzzFilesNeverPanicAndStayChecked(f *testing.F) {
	f.Add(goodFile)
	for _, tc := range badFiles {
		f.Add(tc.yaml)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := readOne(text)
		if err != nil {
			return
		}
		p, ok := c.Get("p")
		if !ok {
			t.Fatal("read without an error, and not there")
		}
		if _, err := Override(p, nil); err != nil {
			t.Fatalf("read without an error, yet %v", err)
		}
	})
}
