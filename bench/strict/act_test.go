package strict

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/grantd/grantd/credential"
)

func TestAnActedProviderUnderstandsItsOwnWaysOnly(t *testing.T) {
	p, err := New(Options{Clients: []Client{{ID: "app", Secret: credential.NewSecret("app-secret"), Auth: AuthPost}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	g, err := p.NewGrant("app", "ada", []string{"read"})
	if err != nil {
		t.Fatal(err)
	}
	h := p.Act(Shape{
		TokenPath: "/token/get", RefreshPath: "/token/refresh", Method: http.MethodGet,
		Names:      map[string]string{"client_id": "app_key"},
		GrantTypes: map[string]string{"refresh_token": "renew"},
		Needs:      map[string]string{"v": "2"}, RefreshNeeds: map[string]string{"v": "2"},
		Refreshed: Recorded{Body: `{"data":{"at":"{{access_token}}","rt":"{{refresh_token}}","end":{{time+60}}}}`},
		Errors:    map[string]Recorded{"invalid_grant": {Status: 200, Body: `{"ok":false}`}},
		Resources: map[string]Recorded{"/me": {Body: `{"id":7}`}},
	})
	right := url.Values{"app_key": {"app"}, "client_secret": {"app-secret"}, "grant_type": {"renew"}, "refresh_token": {g.RefreshToken.Reveal()}, "v": {"2"}}
	ask := func(method, path string, form url.Values) (int, string) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(method, "http://p.example"+path+"?"+form.Encode(), http.NoBody))
		body, _ := io.ReadAll(rec.Result().Body)
		return rec.Code, string(body)
	}
	with := func(name, value string) url.Values {
		form := url.Values{}
		for n, v := range right {
			form[n] = v
		}
		form.Del(name)
		if value != "" {
			form.Set(strings.TrimPrefix(name, "+"), value)
		}
		return form
	}
	standardName := with("app_key", "")
	standardName.Set("client_id", "app")
	for what, tc := range map[string]struct {
		method, path string
		form         url.Values
	}{
		"the standard's name":       {"GET", "/token/refresh", standardName},
		"the standard's grant type": {"GET", "/token/refresh", with("grant_type", "refresh_token")},
		"another method":            {"POST", "/token/refresh", right},
		"another path":              {"GET", "/token/get", right},
		"no path of its":            {"GET", "/token", right},
		"without what it needs":     {"GET", "/token/refresh", with("v", "")},
	} {
		if status, body := ask(tc.method, tc.path, tc.form); status < 400 {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	if !p.GrantAlive(g.Grant) {
		t.Fatal("what was not understood ended the grant")
	}
	status, body := ask("GET", "/token/refresh", right)
	if status != 200 || !strings.HasPrefix(body, `{"data":{"at":"`) || strings.Contains(body, "{{") {
		t.Fatalf("%d %s", status, body)
	}
	// Replays are the strict provider's: the grant dies, in the other one's words.
	if status, body = ask("GET", "/token/refresh", right); status != 200 || body != `{"ok":false}` || p.GrantAlive(g.Grant) {
		t.Errorf("a replay: %d %s", status, body)
	}
	if status, _ = ask("GET", "/me", url.Values{}); status != http.StatusUnauthorized {
		t.Errorf("a resource without a token: %d", status)
	}
}
