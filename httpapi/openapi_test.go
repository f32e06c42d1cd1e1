package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/connect"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/wire"
)

// served returns the document as the server gives it out.
func served(t *testing.T) []byte {
	t.Helper()
	rec := newWorld(t).call("GET", "/openapi.json", "", "")
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", rec.Code, rec.Header())
	}
	return rec.Body.Bytes()
}

func load(t *testing.T, data []byte) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDocumentIsOpenAPI31(t *testing.T) {
	doc := load(t, served(t))
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("version %s", doc.OpenAPI)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestTheDocumentListsWhatTheRouterAnswers(t *testing.T) {
	var documented []string
	for path, item := range load(t, served(t)).Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	routed := httpapi.Routes()
	slices.Sort(documented)
	slices.Sort(routed)
	for _, r := range routed {
		if !slices.Contains(documented, r) {
			t.Errorf("%s is answered and not documented", r)
		}
	}
	for _, d := range documented {
		if !slices.Contains(routed, d) {
			t.Errorf("%s is documented and not answered", d)
		}
	}
}

// closed forbids members that the document does not name, so that an answer
// that has one fails. The document itself leaves answers open: they may grow.
func closed(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, set := v["additionalProperties"]; !set && v["properties"] != nil {
			v["additionalProperties"] = false
		}
		for _, member := range v {
			closed(member)
		}
	case []any:
		for _, item := range v {
			closed(item)
		}
	}
}

// contract compares real answers with the document.
type contract struct {
	doc  *openapi3.T
	seen map[string]bool // "operation status"
}

func newContract(t *testing.T) *contract {
	var raw map[string]any
	if err := json.Unmarshal(served(t), &raw); err != nil {
		t.Fatal(err)
	}
	closed(raw["components"])
	data, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &contract{doc: load(t, data), seen: map[string]bool{}}
}

// find returns the operation for a request, by matching segments.
func (c *contract) find(method, path string) *openapi3.Operation {
	path, _, _ = strings.Cut(path, "?")
	want := strings.Split(path, "/")
	for _, template := range c.doc.Paths.InMatchingOrder() {
		got := strings.Split(template, "/")
		if len(got) == len(want) && !slices.ContainsFunc(slices.Collect(indexes(got)), func(i int) bool {
			return got[i] != want[i] && !(strings.HasPrefix(got[i], "{") && want[i] != "")
		}) {
			return c.doc.Paths.Value(template).GetOperation(method)
		}
	}
	return nil
}

func indexes(s []string) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range s {
			if !yield(i) {
				return
			}
		}
	}
}

func (c *contract) check(t *testing.T, method, path, body string, rec *httptest.ResponseRecorder) {
	t.Helper()
	what := fmt.Sprintf("%s %s: %d", method, path, rec.Code)
	op := c.find(method, path)
	if op == nil {
		t.Fatalf("%s: not documented", what)
	}
	res := op.Responses.Status(rec.Code)
	if res == nil {
		t.Errorf("%s: the document does not know the status; %s", what, rec.Body)
		return
	}
	c.seen[fmt.Sprintf("%s %d", op.OperationID, rec.Code)] = true
	if rec.Code < 300 && body != "" {
		visit(t, what+": the request", op.RequestBody.Value.Content.Get("application/json").Schema.Value, []byte(body))
	}
	if len(res.Value.Content) == 0 {
		return
	}
	media, _, _ := strings.Cut(rec.Header().Get("Content-Type"), ";")
	content := res.Value.Content.Get(media)
	if content == nil {
		t.Errorf("%s: the document does not know the type %q", what, media)
		return
	}
	if strings.HasSuffix(media, "json") {
		visit(t, what, content.Schema.Value, rec.Body.Bytes())
	}
}

func visit(t *testing.T, what string, schema *openapi3.Schema, data []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if err := schema.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.EnableFormatValidation()); err != nil {
		t.Errorf("%s: %s is not what the document says: %v", what, data, err)
	}
}

func TestAnswersAreWhatTheDocumentSays(t *testing.T) {
	c := newContract(t)
	w := newWorld(t)
	do := func(method, path, key, body string) {
		t.Helper()
		c.check(t, method, path, body, w.call(method, path, key, body))
	}
	integration := `{"provider":"custom","client_id":"c","client_secret":"s","scopes":["a"],"redirect_uri":"https://x/cb","token_url":"https://x/t","rate_limit":{"burst":2},"pkce":null}`
	do("PUT", "/v1/integrations/i", adminKey, integration)
	do("PUT", "/v1/integrations/i", adminKey, integration)
	do("PUT", "/v1/integrations/i", adminKey, `{"provider":1}`)
	do("PUT", "/v1/integrations/i", acmeKey, integration)
	do("GET", "/v1/integrations/i", adminKey, "")
	do("GET", "/v1/integrations", adminKey, "")
	do("GET", "/v1/integrations/none", adminKey, "")
	do("GET", "/v1/integrations/i/jwks.json", "", "")
	do("GET", "/v1/integrations/none/jwks.json", "", "")
	do("PUT", "/v1/integrations/files", adminKey, `{"mcp_url":"https://mcp.example.com/mcp"}`)
	do("PUT", "/v1/integrations/files2", adminKey, `{"mcp_url":"https://down.example.com/mcp"}`)
	do("GET", "/v1/integrations/files", adminKey, "")
	do("GET", "/oauth/client/files", "", "")
	do("GET", "/oauth/client/none", "", "")
	do("DELETE", "/v1/integrations/slack", adminKey, "")
	do("DELETE", "/v1/integrations/i", adminKey, "")
	for i, credentials := range []string{
		`{"type":"oauth2","access_token":"a","refresh_token":"r","expires_in":60,"scopes":["a"]}`,
		`{"type":"oauth2","refresh_token":"r"}`, `{"type":"client_credentials","scopes":["a"]}`,
		`{"type":"jwt_bearer","subject":"u","claims":{"x":1},"scopes":["a"]}`, `{"type":"token_exchange","subject_token":"t","subject_token_type":"urn:x"}`,
		`{"type":"jwt_bearer","claims":{"aud":"x"}}`, `{"type":"token_exchange","subject_token":"t"}`, `{"type":"oauth2","refresh_token":"r","subject":"u"}`,
		`{"type":"api_key","api_key":"k"}`, `{"type":"basic","username":"u","password":"p"}`,
	} {
		id := fmt.Sprintf("k%d", i)
		do("POST", "/v1/accounts", acmeKey, `{"tenant":"acme","id":"`+id+`","integration":"github","credentials":`+credentials+`}`)
		do("GET", "/v1/accounts/acme/"+id, acmeKey, "")
		do("GET", "/v1/accounts/acme/"+id+"/token", acmeKey, "")
	}
	do("POST", "/v1/accounts", acmeKey, newAccountBody("acme", "github"))
	do("POST", "/v1/accounts", acmeKey, newAccountBody("acme", "github"))
	do("GET", "/v1/accounts?limit=2", acmeKey, "")
	do("GET", "/v1/accounts?limit=0", acmeKey, "")
	do("GET", acmeGitHub+"/token?min_ttl=30s", acmeKey, "")
	do("GET", "/v1/accounts/globex/gh/token", acmeKey, "")
	do("POST", acmeGitHub+"/refresh", acmeKey, `{"stale_generation":1}`)
	do("POST", acmeGitHub+"/refresh", acmeKey, "")
	do("GET", acmeGitHub+"/history?limit=2", acmeKey, "")
	do("DELETE", acmeGitHub, acmeKey, "")
	do("GET", acmeGitHub+"/token", acmeKey, "")
	do("POST", "/v1/accounts", acmeKey, strings.Replace(newAccountBody("acme", "github"), `"new"`, `"gh"`, 1))
	w.hooks.listed = []delivery.Listed{sampleDelivery(9)}
	do("PUT", "/v1/webhooks/hook", adminKey, `{"url":"https://x/hooks","events":["*","integrated_account:refreshed"],"tenant":"*","integrations":["github"],"enabled":true}`)
	do("PUT", "/v1/webhooks/hook", adminKey, `{"url":"https://x/hooks","events":["*"]}`)
	do("PUT", "/v1/webhooks/hook", adminKey, `{"url":"x","events":["*"]}`)
	do("PUT", "/v1/webhooks/hook", acmeKey, `{"url":"https://x/hooks","events":["*"]}`)
	do("GET", "/v1/webhooks/hook", adminKey, "")
	do("GET", "/v1/webhooks/none", adminKey, "")
	do("GET", "/v1/webhooks", adminKey, "")
	do("POST", "/v1/webhooks/hook/rotate", adminKey, `{"overlap":"24h"}`)
	do("POST", "/v1/webhooks/hook/test", adminKey, "")
	do("GET", "/v1/webhooks/hook/deliveries?state=pending&account=acme/a&limit=3", adminKey, "")
	do("POST", "/v1/webhooks/hook/replay", adminKey, `{"from":"2026-03-01T00:00:00Z","to":"2026-03-02T00:00:00Z"}`)
	do("POST", "/v1/webhooks/hook/replay", adminKey, `{}`)
	do("DELETE", "/v1/webhooks/hook", adminKey, "")
	do("POST", "/v1/keys", adminKey, `{"name":"n","tenant":"acme","integrations":["github"],"permissions":["tokens:read"]}`)
	do("GET", "/v1/keys", adminKey, "")
	do("DELETE", "/v1/keys/made", adminKey, "")
	do("DELETE", "/v1/keys/made", adminKey, "")
	do("GET", "/v1/providers", acmeKey, "")
	do("GET", "/v1/providers/slack", acmeKey, "")
	do("GET", "/v1/providers/none", acmeKey, "")
	for range 2 {
		do("PUT", "/v1/providers/own", adminKey, `{"name":"Own","origin":"api","token_url":"https://own.example/token"}`)
	}
	do("PUT", "/v1/providers/own", adminKey, `{"name":7}`)
	do("PUT", "/v1/providers/own", acmeKey, `{"name":"Own"}`)
	do("GET", "/v1/providers/own", acmeKey, "")
	for range 2 {
		do("DELETE", "/v1/providers/own", adminKey, "")
	}
	do("GET", "/v1/cluster", adminKey, "")
	do("GET", "/v1/cluster", "", "")
	for range 3 {
		do("DELETE", "/v1/cluster/nodes/n2", adminKey, "")
	}
	do("DELETE", "/v1/cluster/nodes/n1", adminKey, "")
	do("DELETE", "/v1/cluster/nodes/none", adminKey, "")
	do("DELETE", "/v1/cluster/nodes/a%2Fb", adminKey, "")
	w.events.Add(1, someEvents()...)
	rec := w.call("GET", "/v1/events?after=start&wait=1s&limit=10", adminKey, "", "Accept", "application/json")
	c.check(t, "GET", "/v1/events", "", rec)
	do("GET", "/v1/events?types=nonsense", adminKey, "")
	do("GET", "/v1/events", readerKey, "")
	for _, path := range []string{"/metrics", "/livez", "/readyz", "/openapi.json", "/ui/", "/ui/app.js", "/ui/none", "/ui", "/"} {
		do("GET", path, "", "")
	}
	person := func(method, path, body string, headers ...string) {
		t.Helper()
		c.check(t, method, path, "", w.call(method, path, "", body, headers...))
	}
	do("POST", "/v1/links", adminKey, linkBody("acme", "github"))
	do("POST", "/v1/links", acmeKey, linkBody("acme", "github"))
	w.fakeConnect.view = view()
	person("GET", "/connect/x", "", "Accept", asBrowser)
	person("GET", "/connect/x", "", "Purpose", "prefetch")
	person("GET", "/connect/x", "")
	person("POST", "/connect/x", "", "Content-Type", formType)
	person("POST", "/connect/x", "a=b", "Content-Type", "text/plain")
	person("GET", "/callback", "", "Purpose", "prefetch")
	person("POST", "/callback", "a=b", "Content-Type", formType)
	for _, outcome := range []connect.Outcome{connect.OutcomeDone, connect.OutcomePending, connect.OutcomeBrowser, connect.OutcomeUnknown, connect.OutcomeOtherIdentity, connect.OutcomeLate, connect.OutcomeRefused, connect.OutcomeNotStored} {
		w.fakeConnect.result = connect.Result{Outcome: outcome}
		person("GET", "/callback?state=x", "")
	}
	w.fakeConnect.result.ReturnURL = "https://app.example.com/"
	person("GET", "/callback?state=x", "")
	w.notReady = errSomething
	do("GET", "/readyz", "", "")
	w.fail = &credential.Unavailable{Err: credential.ErrNoQuorum}
	do("GET", acmeGitHub+"/token", acmeKey, "")
	c.complete(t)
}

// complete wants every answer of success that the document promises to have
// been seen.
func (c *contract) complete(t *testing.T) {
	for path, item := range c.doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if status[0] != '4' && status[0] != '5' && !c.seen[op.OperationID+" "+status] {
					t.Errorf("%s %s: nothing was answered %s", method, path, status)
				}
			}
		}
	}
}

// TestTheDocumentKnowsTheCatalogue keeps the settings of integrations and the
// fields of providers in step with package catalog.
func TestTheDocumentKnowsTheCatalogue(t *testing.T) {
	schemas := load(t, served(t)).Components.Schemas
	for name, own := range map[string][]string{
		"NewIntegration": wire.NewIntegrationFields(),
		"Integration":    {"id", "provider", "client_id", "client_secret_set", "client_key_set", "client_certificate", "scopes", "redirect_uri", "display_name", "scope_descriptions", "return_origins", "mcp", "state", "reason", "created_at", "updated_at"},
		"Provider":       {"id", "name", "origin", "extends", "docs_url", "categories", "unverified", "unverified_fields", "sources", "fact_sources"},
	} {
		got := slices.Sorted(maps.Keys(schemas[name].Value.Properties))
		want := append(catalog.Fields(), own...)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s has the fields %v, want %v", name, got, want)
		}
	}
}

// TestTheDocumentHasTheFieldsOfPackageWire compares names, both ways.
func TestTheDocumentHasTheFieldsOfPackageWire(t *testing.T) {
	schemas := load(t, served(t)).Components.Schemas
	for name, typ := range map[string]reflect.Type{
		"Problem": reflect.TypeFor[wire.Problem](), "Account": reflect.TypeFor[wire.Account](), "AccountList": reflect.TypeFor[wire.AccountList](),
		"NewAccount": reflect.TypeFor[wire.NewAccount](), "NewLink": reflect.TypeFor[wire.NewLink](), "Link": reflect.TypeFor[wire.Link](), "RefreshRequest": reflect.TypeFor[wire.RefreshRequest](),
		"History": reflect.TypeFor[wire.History](), "HistoryLine": reflect.TypeFor[wire.HistoryLine](),
		"IntegrationList": reflect.TypeFor[wire.IntegrationList](), "NewKey": reflect.TypeFor[wire.NewKey](), "Key": reflect.TypeFor[wire.Key](),
		"MCPServer": reflect.TypeFor[wire.MCPServer](), "KeyList": reflect.TypeFor[wire.KeyList](),
		"Event": reflect.TypeFor[wire.Event](), "EventData": reflect.TypeFor[wire.EventData](), "EventList": reflect.TypeFor[wire.EventList](),
		"Provider": reflect.TypeFor[wire.Provider](), "ProviderList": reflect.TypeFor[wire.ProviderList](),
		"NewWebhook": reflect.TypeFor[wire.NewWebhook](), "Webhook": reflect.TypeFor[wire.Webhook](), "WebhookList": reflect.TypeFor[wire.WebhookList](),
		"Rotation": reflect.TypeFor[wire.Rotation](), "WebhookTest": reflect.TypeFor[wire.WebhookTest](), "Delivery": reflect.TypeFor[wire.Delivery](),
		"DeliveryList": reflect.TypeFor[wire.DeliveryList](), "Replay": reflect.TypeFor[wire.Replay](), "Replayed": reflect.TypeFor[wire.Replayed](),
		"NodeRemoval": reflect.TypeFor[wire.NodeRemoval](), "Cluster": reflect.TypeFor[wire.Cluster](), "Node": reflect.TypeFor[wire.Node](), "Shard": reflect.TypeFor[wire.Shard](),
	} {
		var want []string
		for f := range typ.Fields() {
			field, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			want = append(want, field)
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(schemas[name].Value.Properties)); !slices.Equal(got, want) {
			t.Errorf("%s has the fields %v in the document, %v in package wire", name, got, want)
		}
	}
}

func TestThePageRunsNothingFromElsewhere(t *testing.T) {
	w := newWorld(t)
	rec := w.call("GET", "/ui/", "", "")
	csp := rec.Header().Get("Content-Security-Policy")
	if rec.Code != http.StatusOK || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("%d %q", rec.Code, csp)
	}
}
