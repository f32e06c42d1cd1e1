package httpapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/grantd/grantd/connect"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/wire"
)

const (
	asBrowser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	formType  = "application/x-www-form-urlencoded"
)

func linkBody(tenant, integration string) string {
	return fmt.Sprintf(`{"tenant":%q,"integration":%q,"account":"new"}`, tenant, integration)
}

func TestLinksAreMadeWithinTheKeysScope(t *testing.T) {
	w := newWorld(t)
	linker := "gk_linker"
	w.add(linker, keyOf("linker", "acme", []string{"github"}, wire.PermLinksCreate))
	limited := "gk_limited_linker"
	w.add(limited, httpapi.Key{ID: "limited", Tenant: "acme", Accounts: []credential.Ref{{Tenant: "acme", ID: "new"}}, Permissions: []string{wire.PermLinksCreate}})
	for name, c := range map[string]struct {
		key, body string
		want      int
	}{
		"the account that the key is limited to": {limited, linkBody("acme", "github"), 201},
		"an account beside it":                   {limited, `{"tenant":"acme","integration":"github","account":"gh"}`, 404},
		"an account of no name yet":              {limited, `{"tenant":"acme","integration":"github"}`, 404},
		"its own":                                {linker, linkBody("acme", "github"), 201},
		"an admin's":                             {adminKey, linkBody("globex", "slack"), 201},
		"no permission":                          {acmeKey, linkBody("acme", "github"), 403},
		"another tenant":                         {linker, linkBody("globex", "github"), 404},
		"another integration":                    {linker, linkBody("acme", "slack"), 404},
		"no such integration":                    {adminKey, linkBody("acme", "none"), 404},
		"no tenant":                              {linker, `{"integration":"github"}`, 400},
		"a tenant that cannot be":                {linker, linkBody("a/b", "github"), 400},
		"a ttl that cannot be":                   {linker, `{"tenant":"acme","integration":"github","ttl":"1 year"}`, 400},
		"a ttl that is too long":                 {linker, `{"tenant":"acme","integration":"github","ttl":"25h"}`, 400},
		"an empty scope":                         {linker, `{"tenant":"acme","integration":"github","scopes":[""]}`, 400},
		"an unknown field":                       {linker, `{"tenant":"acme","integration":"github","redirect":"x"}`, 400},
	} {
		if rec := w.call("POST", "/v1/links", c.key, c.body); rec.Code != c.want {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	w.fakeConnect.created = nil
	rec := w.call("POST", "/v1/links", linker, `{"tenant":"acme","integration":"github","ttl":"2h","variables":{"a":"b"},"return_url":"https://x","scopes":["s"],"allow_other_identity":true}`)
	n := w.fakeConnect.created[0]
	if rec.Code != 201 || n.Ref.ID == "" || n.TTL.Hours() != 2 || n.Variables["a"] != "b" || n.ReturnURL != "https://x" || !n.AllowOtherIdentity || len(n.Scopes) != 1 {
		t.Errorf("%d, asked for %+v", rec.Code, n)
	}
	if w.log.String() == "" || strings.Contains(w.log.String(), canary) {
		t.Errorf("the log shows a link: %s", w.log)
	}
}

func TestLookingAtALinkBeginsNothing(t *testing.T) {
	w := newWorld(t)
	w.fakeConnect.view = view()
	for name, headers := range map[string][]string{
		"HEAD": {"Accept", asBrowser}, "prefetch": {"Accept", asBrowser, "Sec-Purpose", "prefetch;prerender"}, "an older prefetch": {"Accept", "*/*", "Purpose", "prefetch"},
	} {
		method := "GET"
		if name == "HEAD" {
			method = "HEAD"
		}
		for _, path := range []string{"/connect/x", "/callback?state=a&code=b"} {
			if rec := w.call(method, path, "", "", headers...); rec.Code != 204 || rec.Body.Len() > 0 || rec.Header().Get("Set-Cookie") != "" {
				t.Errorf("%s of %s: %d %s", name, path, rec.Code, rec.Body)
			}
		}
	}
	if w.fakeConnect.looked+w.fakeConnect.started != 0 || w.fakeConnect.params != nil {
		t.Error("it was looked at, or begun")
	}
	rec := w.call("GET", "/connect/x", "", "", "Accept", asBrowser)
	if rec.Code != 200 || w.fakeConnect.started != 0 || rec.Header().Get("Set-Cookie") != "" {
		t.Errorf("a browser: %d, begun %d times", rec.Code, w.fakeConnect.started)
	}
	for _, accept := range []string{"", "*/*", "application/json", "text/html;q=0"} {
		if rec := w.call("GET", "/connect/x", "", "", "Accept", accept); rec.Code != 303 || rec.Header().Get("Location") != "https://idp.example/auth?state=x" {
			t.Errorf("Accept %q: %d %v", accept, rec.Code, rec.Header())
		}
	}
}

func view() connect.View {
	return connect.View{Product: "Acme <CRM>", Provider: "GitHub", Scopes: []connect.Scope{{Name: "repo", Description: "Read your code"}, {Name: "user:email"}}}
}

func TestPageOfALinkTellsWhoAsksForWhat(t *testing.T) {
	w := newWorld(t)
	w.fakeConnect.view = view()
	w.fakeConnect.view.Missing = []connect.Variable{{Name: "subdomain", After: ".example.com"}}
	rec := w.call("GET", "/connect/x", "", "", "Accept", asBrowser)
	body := rec.Body.String()
	for _, want := range []string{
		"<h1>Connect your GitHub account</h1>", "Acme &lt;CRM&gt; wants to use your GitHub account", "Read your code", "<code>user:email</code>",
		`<label for="v-subdomain">subdomain of your GitHub account</label>`, `name="subdomain"`, ".example.com", `<html lang="en">`, `<form method="post">`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	checkPage(t, rec)
	rec = w.call("POST", "/connect/x", "", "subdomain=", "Content-Type", formType)
	if body := rec.Body.String(); rec.Code != 400 || !strings.Contains(body, `role="alert"`) || !strings.Contains(body, `aria-invalid="true"`) {
		t.Errorf("a variable that is missing: %d %s", rec.Code, body)
	}
	rec = w.call("POST", "/connect/x", "", "subdomain=acme", "Content-Type", formType)
	if rec.Code != 303 || w.fakeConnect.told["subdomain"] != "acme" {
		t.Errorf("told: %d, %v", rec.Code, w.fakeConnect.told)
	}
	w.fakeConnect.view = connect.View{Provider: "GitHub", Again: true}
	if body := w.call("GET", "/connect/x", "", "", "Accept", asBrowser).Body.String(); !strings.Contains(body, "again</h1>") || !strings.Contains(body, "The application that sent you this link") {
		t.Errorf("the page of an account that exists: %s", body)
	}
}

// checkPage wants a page that runs nothing, loads nothing, tells nobody, and whose
// style is the one that its policy allows.
func checkPage(t *testing.T, rec *httptest.ResponseRecorder) {
	t.Helper()
	h, body := rec.Header(), rec.Body.String()
	csp := h.Get("Content-Security-Policy")
	style, _, _ := strings.Cut(body[strings.Index(body, "<style>")+len("<style>"):], "</style>")
	sum := sha256.Sum256([]byte(style))
	if !strings.Contains(csp, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %q", csp)
	}
	if h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", h)
	}
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		seen[n.Data]++
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "href" || a.Key == "style" {
				t.Errorf("%s has %s", n.Data, a.Key)
			}
		}
	}
	if seen["script"] != 0 || seen["h1"] != 1 || seen["main"] != 1 || seen["title"] != 1 {
		t.Errorf("the page has %v", seen)
	}
}

func TestBrowserIsMarkedByACookieThatOnlyThisHostGets(t *testing.T) {
	w := newWorld(t)
	cookie := func() *http.Cookie {
		rec := w.call("POST", "/connect/x", "", "", "Content-Type", formType)
		all := rec.Result().Cookies()
		if len(all) != 1 {
			t.Fatalf("%d, cookies %v", rec.Code, all)
		}
		return all[0]
	}
	if c := cookie(); c.Name != "__Host-grantd-connect" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Value != linkMark {
		t.Errorf("cookie %+v", c)
	}
	w.fakeConnect.public = "http://127.0.0.1:8420"
	if c := cookie(); strings.HasPrefix(c.Name, "__") || c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie on this machine %+v", c)
	}
	w.fakeConnect.public = "https://grants.example.com"
	for sent, want := range map[string]string{
		"__Host-grantd-connect=a":                          "a",
		"__Host-grantd-connect=a; __Host-grantd-connect=b": "", // nobody knows which is ours
		"grantd-connect=a":                                 "",
		"other=1; __Host-grantd-connect=a":                 "a",
	} {
		w.call("GET", "/callback?state=s&code=c", "", "", "Cookie", sent)
		if w.fakeConnect.browser != want {
			t.Errorf("%s: the mark is %q", sent, w.fakeConnect.browser)
		}
	}
}

func TestFormsOfOtherSitesBeginNothing(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		headers []string
		want    int
	}{
		"our own page":             {[]string{"Sec-Fetch-Site", "same-origin", "Origin", "https://grants.example.com"}, 303},
		"another site":             {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		"a sister host":            {[]string{"Sec-Fetch-Site", "same-site"}, 403},
		"another, in old browsers": {[]string{"Origin", "https://evil.example"}, 403},
		"hidden, in old browsers":  {[]string{"Origin", "null"}, 403},
		"ours, in old browsers":    {[]string{"Origin", "https://grants.example.com"}, 303},
		"a script":                 {nil, 303},
	} {
		w.fakeConnect.started = 0
		rec := w.call("POST", "/connect/x", "", "", append(c.headers, "Content-Type", formType)...)
		if rec.Code != c.want || (w.fakeConnect.started > 0) != (c.want == 303) {
			t.Errorf("%s: %d, begun %d times", name, rec.Code, w.fakeConnect.started)
		}
	}
	if rec := w.call("POST", "/connect/x", "", `{}`); rec.Code != 415 {
		t.Errorf("JSON: %d", rec.Code)
	}
	if rec := w.call("POST", "/connect/x", "", strings.Repeat("a", 1<<17), "Content-Type", formType); rec.Code != 413 {
		t.Errorf("a large form: %d", rec.Code)
	}
}

func TestEachOutcomeHasAPageThatSaysWhatToDo(t *testing.T) {
	w := newWorld(t)
	seen := map[string]connect.Outcome{}
	for outcome, status := range map[connect.Outcome]int{
		connect.OutcomeDone: 200, connect.OutcomeDenied: 200, connect.OutcomeRefused: 502, connect.OutcomeOtherIdentity: 409, connect.OutcomeIssuer: 400,
		connect.OutcomeLate: 410, connect.OutcomeInterrupted: 503, connect.OutcomeRepeated: 410, connect.OutcomeUsed: 410, connect.OutcomePending: 202,
		connect.OutcomeBrowser: 403, connect.OutcomeUnknown: 400,
	} {
		w.fakeConnect.result = connect.Result{Outcome: outcome, Reason: "some_code", Product: "Acme", Provider: "GitHub"}
		rec := w.call("GET", "/callback?state=s&code="+canary, "", "")
		if rec.Code != status {
			t.Errorf("%s: %d", outcome, rec.Code)
		}
		checkPage(t, rec)
		if other, twice := seen[rec.Body.String()]; twice || strings.Contains(rec.Body.String(), canary) {
			t.Errorf("the page of %s is that of %s, or shows the code", outcome, other)
		}
		seen[rec.Body.String()] = outcome
		if outcome != connect.OutcomeDone && outcome != connect.OutcomePending && !strings.Contains(strings.ToLower(rec.Body.String()), "link") {
			t.Errorf("%s: nothing says what to do: %s", outcome, rec.Body)
		}
	}
	w.fakeConnect.result = connect.Result{Outcome: connect.OutcomeDone, Missing: []string{"a<b"}}
	if body := w.call("GET", "/callback", "", "").Body.String(); !strings.Contains(body, "Missing: a&lt;b") {
		t.Errorf("missing scopes are not shown: %s", body)
	}
	for err, status := range map[error]int{
		connect.ErrNoLink: 404, connect.ErrExpired: 410, connect.ErrUsed: 410, credential.ErrNoQuorum: 503, credential.ErrMisconfigured: 503,
	} {
		w.fakeConnect.err = err
		for _, accept := range []string{asBrowser, "*/*"} {
			rec := w.call("GET", "/connect/"+canary, "", "", "Accept", accept)
			if rec.Code != status {
				t.Errorf("%v: %d", err, rec.Code)
			}
			checkPage(t, rec)
		}
	}
	if strings.Contains(w.log.String(), canary) {
		t.Error("the log shows a link or a code")
	}
}

func TestCallbackIsPassedOnAsItCame(t *testing.T) {
	w := newWorld(t)
	w.call("GET", "/callback?state=s&code=a&code=b&iss=i", "", "")
	if got := w.fakeConnect.params; len(got["code"]) != 2 || got.Get("iss") != "i" {
		t.Errorf("parameters %v", got)
	}
	w.fakeConnect.params = nil
	if rec := w.call("GET", "/callback?state=s;code=a", "", ""); rec.Code != 400 || w.fakeConnect.params != nil {
		t.Errorf("a query that does not parse: %d", rec.Code)
	}
	w.fakeConnect.result = connect.Result{Outcome: connect.OutcomeDone, ReturnURL: "https://app.example.com/?status=success"}
	rec := w.call("GET", "/callback?state=s", "", "")
	if rec.Code != 303 || rec.Header().Get("Location") != "https://app.example.com/?status=success" || rec.Header().Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
	w.fakeConnect.params = nil
	posted := url.Values{"state": {"s"}, "code": {"a", "b"}}
	rec = w.call("POST", "/callback", "", posted.Encode(), "Content-Type", formType)
	if rec.Code != 303 || rec.Header().Get("Location") != "https://grants.example.com/callback?"+posted.Encode() || w.fakeConnect.params != nil {
		t.Errorf("posted: %d %v", rec.Code, rec.Header())
	}
}

func keyOf(id, tenant string, integrations []string, permissions ...string) httpapi.Key {
	return httpapi.Key{ID: id, Tenant: tenant, Integrations: integrations, Permissions: permissions}
}
