package httpapi

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestANodeThatStartsLivesAndSendsEverybodyAway(t *testing.T) {
	h := Starting(slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/livez", 200, `{"status":"alive"}`},
		{"POST", "/livez", 405, "method_not_allowed"},
		{"GET", "/readyz", 503, "not_ready"},
		{"GET", "/v1/accounts/a/b/token", 503, "not_ready"},
		{"POST", "/v1/accounts", 503, "not_ready"},
		{"GET", "/", 503, "not_ready"},
	} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(c.method, c.path, nil))
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.body) {
			t.Errorf("%s %s: %d %s", c.method, c.path, rec.Code, rec.Body)
		}
		if c.status == 503 && rec.Header().Get("Retry-After") != "1" {
			t.Errorf("%s %s: Retry-After %q", c.method, c.path, rec.Header().Get("Retry-After"))
		}
	}
}
