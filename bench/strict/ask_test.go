package strict_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/grantd/grantd/bench/strict"
)

func TestBrowsersAreAskedAndOthersAreNot(t *testing.T) {
	c := inProcess(t, newProvider(t, strict.Options{AskBrowsers: true}))
	q := url.Values{
		"response_type": {"code"}, "client_id": {"demo-basic"}, "redirect_uri": {redirect}, "scope": {"profile"}, "state": {`"><script>`},
		"code_challenge": {challenge()}, "code_challenge_method": {"S256"},
	}
	get := func(q url.Values, header http.Header) answer {
		t.Helper()
		a, err := c.try(t.Context(), http.MethodGet, "/auth?"+q.Encode(), header, "")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	browser := http.Header{"Accept": {"text/html,*/*"}}
	page := get(q, browser)
	if page.Status != http.StatusOK || strings.Contains(page.Raw, "<script>") || !strings.Contains(page.Raw, ">Allow</button>") || !strings.Contains(page.Raw, challenge()) {
		t.Errorf("a browser: %d %s", page.Status, page.Raw)
	}
	if a := get(q, nil); a.Status != http.StatusSeeOther {
		t.Errorf("a script: %d %s", a.Status, a.Raw)
	}
	for decision, want := range map[string]string{"allow": "code=", "deny": "error=access_denied"} {
		q.Set("decision", decision)
		if a := get(q, browser); a.Status != http.StatusSeeOther || !strings.Contains(a.Header.Get("Location"), want) {
			t.Errorf("%s: %d %v", decision, a.Status, a.Header)
		}
	}
}
