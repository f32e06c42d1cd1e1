package httpapi_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

func TestTokenComesWithAProofForOneRequest(t *testing.T) {
	w := newWorld(t)
	ref := credential.Ref{Tenant: "acme", ID: "gh"}
	const query = "?min_ttl=1m&dpop_method=GET&dpop_url=https%3A%2F%2Fapi.example%2Fx%3Fa&dpop_nonce=n"
	if rec := w.call("GET", acmeGitHub+"/token"+query, acmeKey, ""); rec.Code != 400 || !strings.Contains(rec.Body.String(), "not bound to a key") {
		t.Errorf("a bearer token: %d %s", rec.Code, rec.Body)
	}
	w.fakeAccounts.bind(ref)
	rec := w.call("GET", acmeGitHub+"/token"+query, acmeKey, "")
	got := body(t, rec)
	want := "proof github " + got["access_token"].(string) + " GET https://api.example/x?a n"
	if rec.Code != 200 || got["token_type"] != "DPoP" || got["dpop_proof"] != want || w.minTTL != time.Minute {
		t.Errorf("%d %s, want the proof %q", rec.Code, rec.Body, want)
	}
	if got := body(t, w.call("GET", acmeGitHub+"/token", acmeKey, "")); got["dpop_proof"] != nil {
		t.Errorf("a proof that nobody asked for: %v", got)
	}
	for _, bad := range []url.Values{
		{"dpop_method": {"GET"}}, {"dpop_url": {"https://api.example/"}}, {"dpop_nonce": {"n"}},
		{"dpop_method": {"get"}, "dpop_url": {"https://api.example/"}}, {"dpop_method": {"GET"}, "dpop_url": {"/x"}},
		{"dpop_method": {"GET"}, "dpop_url": {"https://u:p@api.example/"}}, {"dpop_method": {"GET"}, "dpop_url": {"ftp://api.example/"}},
		{"dpop_method": {"GET"}, "dpop_url": {"https://api.example/"}, "dpop_nonce": {"a\nb"}},
		{"dpop_method": {"GET"}, "dpop_url": {"https://api.example/" + strings.Repeat("x", 5000)}},
		{"dpop_method": {"GET", "POST"}, "dpop_url": {"https://api.example/"}},
	} {
		if rec := w.call("GET", acmeGitHub+"/token?"+bad.Encode(), acmeKey, ""); rec.Code != 400 {
			t.Errorf("%v: %d %s", bad, rec.Code, rec.Body)
		}
	}
	if rec := w.call("GET", "/v1/accounts/globex/gh/token"+query, acmeKey, ""); rec.Code != 404 {
		t.Errorf("another tenant's account: %d", rec.Code)
	}
}

// bind makes the account's token one that is bound to a key.
func (f *fakeAccounts) bind(ref credential.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records[ref].TokenType = "DPoP"
}

func body(t *testing.T, rec *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v", rec.Body, err)
	}
	return got
}
