package tests

import (
	"encoding/json"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/bench/strict/stricttest"
	"github.com/grantd/grantd/tests/browser"
	"github.com/grantd/grantd/wire"
)

// connectSeen is what browser/connect.mjs prints.
type connectSeen struct {
	Complaints []struct{ Step, Text, URL string }
	Pages      map[string]struct{ URL, Title, Text, Alert string }
	Looks      map[string]struct {
		Faults []string
		Named  []struct{ Role, Name string }
		Walk   struct {
			Count             int
			Unreached, Unseen []string
		}
		Overflow struct {
			Pixels   int
			Elements []string
		}
	}
	Cookies []struct {
		Name, Path, Domain, SameSite string
		Secure, HTTPOnly             bool
	}
}

// TestConnectLinksInABrowser leads people through links in a real browser without
// JavaScript, over TLS and behind a proxy, as in production.
func TestConnectLinksInABrowser(t *testing.T) {
	chromium := browser.Find(t, "browser")
	var target atomic.Pointer[url.URL]
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target.Load()) }})
	t.Cleanup(proxy.Close)
	product := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<title>product</title>back at the product"))
	}))
	t.Cleanup(product.Close)
	demo := strict.DemoClients()[0]
	demo.RedirectURIs = []string{proxy.URL + "/callback"}
	provider, issuer := stricttest.Serve(t, strict.Options{Clients: []strict.Client{demo}})
	poster := httptest.NewServer(postsAnswers(issuer))
	t.Cleanup(poster.Close)
	g := startGrantd(t, "GRANTD_HTTP_PUBLIC_URL="+proxy.URL)
	base, err := url.Parse(g.base)
	mustDo(t, err)
	target.Store(base)

	integration := func(id string, settings map[string]any) {
		set := map[string]json.RawMessage{}
		for name, v := range map[string]any{"authorization_url": issuer + "/auth", "token_url": issuer + "/token", "issuer": issuer, "authorization_response_iss": true} {
			set[name], _ = json.Marshal(v)
		}
		for name, v := range settings {
			set[name], _ = json.Marshal(v)
		}
		g.must(http.MethodPut, "/v1/integrations/"+id, wire.NewIntegration{
			Provider: wire.ProviderCustom, ClientID: demo.ID, ClientSecret: wire.Secret(demo.Secret.Reveal()), Scopes: []string{"openid", "api"},
			DisplayName: "Acme <CRM>", ScopeDescriptions: map[string]string{"api": "Read your contacts"}, ReturnOrigins: []string{product.URL}, Settings: set,
		}, nil)
	}
	integration("crm", nil)
	integration("denying", map[string]any{"authorization_params": map[string]string{"login_hint": strict.DenyHint}})
	integration("posting", map[string]any{"authorization_url": poster.URL + "/auth"})
	integration("asking", map[string]any{"authorization_url": issuer + "/{page}", "url_variables": map[string]string{"page": ""}})
	link := func(account, integration, back string) string {
		var l wire.Link
		g.must(http.MethodPost, "/v1/links", wire.NewLink{Tenant: "acme", Account: account, Integration: integration, ReturnURL: back}, &l)
		return l.URL.Reveal()
	}
	var seen connectSeen
	chromium.Run(t, "connect.mjs", map[string]any{
		"executable": chromium.Executable, "pictures": t.ArtifactDir(), "links": map[string]string{
			"looked": link("looked", "crm", ""), "looked2": link("looked2", "crm", ""), "plain": link("plain", "crm", ""), "returning": link("returning", "crm", product.URL+"/done?x=1"),
			"denying": link("denying", "denying", ""), "asking": link("asking", "asking", ""), "posting": link("posting", "posting", ""), "stolen": link("stolen", "posting", ""),
			"nothing": proxy.URL + "/connect/" + strings.Repeat("A", 43),
		},
	}, &seen)
	seen.check(t, product.URL)
	for _, id := range []string{"plain", "looked2", "returning", "asking", "posting"} {
		var a wire.Account
		g.must(http.MethodGet, "/v1/accounts/acme/"+id, nil, &a)
		if a.State != wire.StateActive || len(a.RequestedScopes) != 2 {
			t.Errorf("account %s: %+v", id, a)
		}
	}
	for _, id := range []string{"looked", "denying", "stolen"} {
		if err := g.call(t.Context(), http.MethodGet, "/v1/accounts/acme/"+id, nil, nil); err == nil {
			t.Errorf("account %s exists", id)
		}
	}
	for _, v := range provider.Judge() {
		t.Errorf("the provider complains: %+v", v)
	}
}

// postsAnswers is the provider's authorization page with response_mode form_post,
// for browsers without JavaScript: the person sends the answer.
func postsAnswers(issuer string) http.HandlerFunc {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	form := template.Must(template.New("").Parse(`<title>provider</title><form method="post" action="{{.Action}}">{{range $n, $v := .Fields}}<input type="hidden" name="{{$n}}" value="{{index $v 0}}">{{end}}<button>send</button></form>`))
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/auth" { // a browser looks for an icon
			http.NotFound(w, r)
			return
		}
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, issuer+r.URL.String(), nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		resp, err := client.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		to, err := resp.Location()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = form.Execute(w, map[string]any{"Action": to.Scheme + "://" + to.Host + to.Path, "Fields": to.Query()})
	}
}

// check judges what the browser saw.
func (s connectSeen) check(t *testing.T, product string) {
	t.Helper()
	for page, want := range map[string]string{
		"consent": "Acme <CRM> wants to use your", "done": "is connected", "back": "used already", "ended": "is connected", "returned": "back at the product",
		"denied": "Nothing was connected", "refused": "Please check what you entered", "variable": "is connected", "posted": "is connected",
		"held": "send", "stolen": "in the browser in which you began", "expired": "This link does not work",
	} {
		if !strings.Contains(s.Pages[page].Text, want) {
			t.Errorf("page %s reads %q, want %q in it", page, s.Pages[page].Text, want)
		}
	}
	if got := s.Pages["returned"].URL; got != product+"/done?account=acme%2Freturning&status=success&x=1" {
		t.Errorf("returned to %s", got)
	}
	if text := s.Pages["consent"].Text; !strings.Contains(text, "Read your contacts") || !strings.Contains(text, "openid") {
		t.Errorf("what is asked for is not on the page: %s", text)
	}
	for page, looks := range s.Looks {
		if len(looks.Faults) > 0 || len(looks.Walk.Unreached) > 0 || len(looks.Walk.Unseen) > 0 || looks.Overflow.Pixels > 0 {
			t.Errorf("page %s: %+v", page, looks)
		}
		for _, n := range looks.Named {
			if n.Name == "" {
				t.Errorf("page %s: a %s has no name", page, n.Role)
			}
		}
	}
	if len(s.Looks) != 3 {
		t.Errorf("looked at %d pages", len(s.Looks))
	}
	if len(s.Cookies) != 1 || s.Cookies[0].Name != "__Host-grantd-connect" || !s.Cookies[0].Secure || !s.Cookies[0].HTTPOnly || s.Cookies[0].SameSite != "Lax" || s.Cookies[0].Path != "/" {
		t.Errorf("cookies %+v", s.Cookies)
	}
	for _, c := range s.Complaints {
		if !strings.HasPrefix(c.Text, "Failed to load resource: the server responded with a status of 4") { // pages that say what is wrong
			t.Errorf("in %s the browser complains: %s (%s)", c.Step, c.Text, c.URL)
		}
	}
}
