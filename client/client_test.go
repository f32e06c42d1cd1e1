package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func TestCallsAreTheDocumentedRequests(t *testing.T) {
	ctx := context.Background()
	stale := uint64(7)
	for _, c := range []struct {
		want string
		call func(*client.Client) error
	}{
		{"PUT /v1/integrations/i {\"provider\":\"custom\",\"client_id\":\"c\",\"token_url\":\"u\"}", func(c *client.Client) error {
			_, err := c.PutIntegration(ctx, "i", wire.NewIntegration{Provider: "custom", ClientID: "c", Settings: map[string]json.RawMessage{"token_url": json.RawMessage(`"u"`)}})
			return err
		}},
		{"GET /v1/integrations/i", func(c *client.Client) error { _, err := c.Integration(ctx, "i"); return err }},
		{"GET /v1/integrations", func(c *client.Client) error { _, err := c.Integrations(ctx, "", 0); return err }},
		{"DELETE /v1/integrations/i", func(c *client.Client) error { return c.DeleteIntegration(ctx, "i") }},
		{"POST /v1/accounts {\"tenant\":\"acme\",\"integration\":\"i\",\"credentials\":{\"type\":\"api_key\",\"api_key\":\"k\"}}", func(c *client.Client) error {
			_, err := c.CreateAccount(ctx, wire.NewAccount{Tenant: "acme", Integration: "i", Credentials: wire.Credentials{Type: wire.TypeAPIKey, APIKey: "k"}})
			return err
		}},
		{"GET /v1/accounts?cursor=x&limit=5&state=active&tenant=acme", func(c *client.Client) error {
			_, err := c.Accounts(ctx, client.AccountFilter{Tenant: "acme", State: "active", Cursor: "x", Limit: 5})
			return err
		}},
		{"GET /v1/accounts/acme/gh", func(c *client.Client) error { _, err := c.Account(ctx, account); return err }},
		{"GET /v1/accounts/a%2520b/c%2Fd", func(c *client.Client) error { _, err := c.Account(ctx, "a%20b/c/d"); return err }},
		{"GET /v1/accounts/acme/gh/token?min_ttl=30s", func(c *client.Client) error { _, err := c.Token(ctx, account, 30*time.Second); return err }},
		{"GET /v1/accounts/acme/gh/token", func(c *client.Client) error { _, err := c.Token(ctx, account, 0); return err }},
		{"POST /v1/accounts/acme/gh/refresh {\"stale_generation\":7}", func(c *client.Client) error { _, err := c.Refresh(ctx, account, &stale); return err }},
		{"POST /v1/accounts/acme/gh/refresh {}", func(c *client.Client) error { _, err := c.Refresh(ctx, account, nil); return err }},
		{"DELETE /v1/accounts/acme/gh", func(c *client.Client) error { _, err := c.Disconnect(ctx, account); return err }},
		{"GET /v1/accounts/acme/gh/history?limit=3", func(c *client.Client) error { _, err := c.History(ctx, account, "", 3); return err }},
		{"POST /v1/keys {\"tenant\":\"*\",\"permissions\":[\"admin\"]}", func(c *client.Client) error {
			_, err := c.CreateKey(ctx, wire.NewKey{Tenant: wire.All, Permissions: []string{wire.PermAdmin}})
			return err
		}},
		{"GET /v1/keys", func(c *client.Client) error { _, err := c.Keys(ctx, "", 0); return err }},
		{"DELETE /v1/keys/k", func(c *client.Client) error { return c.DeleteKey(ctx, "k") }},
		{`PUT /v1/webhooks/h%2F1 {"url":"u","events":["*"]}`, func(c *client.Client) error {
			_, err := c.PutWebhook(ctx, "h/1", wire.NewWebhook{URL: "u", Events: []string{"*"}})
			return err
		}},
		{"GET /v1/webhooks/h?tenant=acme", func(c *client.Client) error {
			_, err := c.Webhook(ctx, client.Hook{Tenant: "acme", ID: "h"})
			return err
		}},
		{"GET /v1/webhooks?limit=3", func(c *client.Client) error { _, err := c.Webhooks(ctx, "", 3); return err }},
		{"DELETE /v1/webhooks/h", func(c *client.Client) error { return c.DeleteWebhook(ctx, client.Hook{ID: "h"}) }},
		{`POST /v1/webhooks/h/rotate {"overlap":"1h"}`, func(c *client.Client) error {
			_, err := c.RotateWebhook(ctx, client.Hook{ID: "h"}, wire.Rotation{Overlap: "1h"})
			return err
		}},
		{"POST /v1/webhooks/h/test", func(c *client.Client) error {
			_, err := c.TestWebhook(ctx, client.Hook{Tenant: wire.All, ID: "h"})
			return err
		}},
		{"GET /v1/webhooks/h/deliveries?account=acme%2Fgh&cursor=x&limit=5&state=parked&tenant=acme", func(c *client.Client) error {
			_, err := c.Deliveries(ctx, client.Hook{Tenant: "acme", ID: "h"}, client.DeliveryFilter{State: wire.DeliveryParked, Account: account, Cursor: "x", Limit: 5})
			return err
		}},
		{`POST /v1/webhooks/h/replay?tenant=acme {"parked":true}`, func(c *client.Client) error {
			_, err := c.Replay(ctx, client.Hook{Tenant: "acme", ID: "h"}, wire.Replay{Parked: true})
			return err
		}},
		{"GET /v1/providers?cursor=x", func(c *client.Client) error { _, err := c.Providers(ctx, "x", 0); return err }},
		{`PUT /v1/providers/own {"name":"Own"}`, func(c *client.Client) error {
			_, err := c.PutProvider(ctx, "own", map[string]json.RawMessage{"name": json.RawMessage(`"Own"`)})
			return err
		}},
		{"DELETE /v1/providers/own", func(c *client.Client) error { return c.DeleteProvider(ctx, "own") }},
		{"GET /v1/providers/github", func(c *client.Client) error { _, err := c.Provider(ctx, "github"); return err }},
		{"GET /v1/cluster", func(c *client.Client) error { _, err := c.Cluster(ctx); return err }},
		{"DELETE /v1/cluster/nodes/n%2F1", func(c *client.Client) error { _, err := c.RemoveNode(ctx, "n/1"); return err }},
	} {
		f := &fakeAPI{}
		_ = c.call(newClient(t, f)) // the answer is a token's, whatever was asked
		if len(f.requests) != 1 || f.requests[0] != c.want {
			t.Errorf("sent %q, want %q", f.requests, c.want)
			continue
		}
		h := f.headers[0]
		if h.Get("Authorization") != "Bearer "+apiKey || h.Get("User-Agent") != "grantd-go" || (h.Get("Content-Type") != "") != strings.Contains(c.want, "{") {
			t.Errorf("%s: headers %v", c.want, h)
		}
	}
}

func TestErrorsCarryWhatTheServerSaid(t *testing.T) {
	f := &fakeAPI{problem: &wire.Problem{Status: 503, Code: wire.CodeProviderUnavailable, Detail: "later", Reason: "timeout"}}
	_, err := newClient(t, f).Account(context.Background(), account)
	var e *client.Error
	if !errors.As(err, &e) || e.RetryAfter != 7*time.Second || e.RequestID != "r1" || !e.Temporary() || client.CodeOf(fmt.Errorf("x: %w", err)) != wire.CodeProviderUnavailable {
		t.Fatalf("%#v", err)
	}
	if want := "grantd: provider_unavailable (HTTP 503): later (reason: timeout)"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if client.CodeOf(io.EOF) != "" {
		t.Error("a foreign error has a code")
	}
}

// TestAnswersThatAreNotGrantdsAreNotRepeated has a server that answers with
// something else, which may hold secrets.
func TestAnswersThatAreNotGrantdsAreNotRepeated(t *testing.T) {
	const page = "<html>s3cr3t</html>"
	for name, h := range map[string]http.HandlerFunc{
		"200 with HTML": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) },
		"502 with HTML": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502); _, _ = io.WriteString(w, page) },
		"404 with JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"s3cr3t":1}`)
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/s3cr3t", http.StatusFound)
		},
		"wrong types": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"tenant":7,"id":"s3cr3t"}`) },
		"too much":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 17<<20)) },
		"a broken off answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, `{`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(h)
			defer srv.Close()
			c, err := client.New(srv.URL, apiKey, client.Options{HTTP: srv.Client()})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Account(t.Context(), account)
			if err == nil || strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), apiKey) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestWrongAddressesKeysAndNamesAreRefusedBeforeAnythingIsSent(t *testing.T) {
	for _, base := range []string{"", "localhost:8420", "ftp://x", "http://", "http://u:p@x", "http://x?q", "http://x#f", "://"} {
		if _, err := client.New(base, apiKey, client.Options{}); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("address %q: %v", base, err)
		}
	}
	if _, err := client.New("http://x", "s3cr3t\n", client.Options{}); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("key with a line break: %v", err)
	}
	f := &fakeAPI{}
	for _, name := range []string{"", "acme", "/gh", "acme/"} {
		if _, err := newClient(t, f).Token(t.Context(), name, 0); err == nil || len(f.requests) > 0 {
			t.Errorf("account %q: %v, sent %v", name, err, f.requests)
		}
	}
}

func TestPrintingAClientShowsNoSecret(t *testing.T) {
	f := &fakeAPI{}
	c := newClient(t, f)
	src := c.TokenSource(account, client.SourceOptions{})
	if _, err := src.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{c, *c, src, &client.Transport{Source: src}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, apiKey) || strings.Contains(s, tokenOf(0).Reveal()) {
				t.Errorf("%s of %T shows a secret: %s", verb, v, s)
			}
		}
	}
}

func TestAllAccountsGoesThroughAllPages(t *testing.T) {
	var cursors []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cursor := r.URL.Query().Get("cursor")
		cursors = append(cursors, cursor)
		list := wire.AccountList{Accounts: []wire.Account{{Tenant: "t", ID: "a" + cursor}}}
		switch cursor {
		case "":
			list.NextCursor = "1"
		case "1":
			list.NextCursor = "2"
		case "2":
			w.WriteHeader(503)
		}
		_ = json.NewEncoder(w).Encode(list)
	}))
	defer srv.Close()
	c, err := client.New(srv.URL, apiKey, client.Options{HTTP: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var last error
	for a, err := range c.AllAccounts(t.Context(), client.AccountFilter{}) {
		if last = err; err == nil {
			names = append(names, a.Name())
		}
	}
	if strings.Join(names, " ") != "t/a t/a1" || last == nil || len(cursors) != 3 {
		t.Errorf("%v, %v, %v", names, last, cursors)
	}
}
