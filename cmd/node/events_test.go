package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/grantd/grantd/wire"
)

// TestEventsAreShownAsTheyCome: a connection that breaks is opened again, and
// one that is refused is the end.
func TestEventsAreShownAsTheyCome(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.RawQuery)
		if len(asked) > 2 {
			w.Header().Set("Content-Type", wire.ProblemType)
			reply(w, 401, wire.Problem{Status: 401, Code: wire.CodeUnauthorized, Detail: "The key was deleted."})
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		n := len(asked)
		_, _ = fmt.Fprintf(w, "id: p%d\nevent: x\ndata: {\"id\":\"e%d\",\"type\":\"integrated_account:authentication_error\",\"timestamp\":\"2026-01-02T12:00:00Z\",\"data\":{\"tenant\":\"acme\",\"account\":\"acme/gh\",\"integration\":\"github\",\"reason\":\"invalid\\u001b[2J_grant\",\"generation\":%d}}\n\n", n, n, n)
		_, _ = io.WriteString(w, "id: p2\nevent: stream:gap\ndata: {\"type\":\"stream:gap\",\"timestamp\":\"2026-01-02T12:00:00Z\",\"data\":{\"lost\":7}}\n\n")
	}))
	defer server.Close()
	for name, args := range map[string][]string{
		"events":      {"events", "--after", "start"},
		"events-json": {"events", "--json", "--types", "a,b", "--account", "acme/gh"},
	} {
		got := runWith([]string{envAddr + "=" + server.URL, envKey + "=" + testKey}, "", args...)
		mu.Lock()
		if got.code != exitFailed {
			t.Errorf("%s: exit %d, stderr %q", name, got.code, got.stderr)
		}
		golden(t, name, got.stdout)
		if len(asked) != 3 || asked[1] == asked[0] {
			t.Errorf("%s asked %q", name, asked)
		}
		asked = nil
		mu.Unlock()
	}
}
