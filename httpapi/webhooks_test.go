package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/outbox"
	"github.com/grantd/grantd/wire"
)

const hookBody = `{"url":"https://app.example.com/hooks?token=in-the-url","events":["*"]}`

// sampleDelivery is a delivery that failed once.
func sampleDelivery(pos uint64) delivery.Listed {
	return delivery.Listed{Group: 3, Delivery: delivery.Delivery{
		Webhook: "hook", Place: delivery.Place{At: 5, Pos: pos}, State: delivery.Pending, Attempts: 1, LastAt: time.Now(), NextAt: time.Now(), Status: 500,
		Event: credential.Event{ID: "e1", Type: credential.EventAuthError, Ref: credential.Ref{Tenant: "acme", ID: "a"}, Integration: "crm", At: time.Now()},
	}}
}

func TestTheSecretIsShownOnceWhenItIsMade(t *testing.T) {
	w := newWorld(t)
	rec := w.call("PUT", "/v1/webhooks/hook", adminKey, hookBody)
	var made wire.WebhookWithSecret
	if err := json.Unmarshal(rec.Body.Bytes(), &made); err != nil || rec.Code != 201 || outbox.CheckSecret(credential.NewSecret(made.Secret.Reveal())) != nil || made.Secret.Reveal() != w.hooks.secret.Reveal() {
		t.Fatalf("%d %s %v", rec.Code, rec.Body, err)
	}
	for _, rec := range []string{
		w.call("PUT", "/v1/webhooks/hook", adminKey, hookBody).Body.String(), w.call("GET", "/v1/webhooks/hook", adminKey, "").Body.String(),
		w.call("GET", "/v1/webhooks", adminKey, "").Body.String(),
	} {
		if strings.Contains(rec, "whsec_") || !strings.Contains(rec, `"hook"`) {
			t.Errorf("afterwards: %s", rec)
		}
	}
	given := outbox.NewSecret().Reveal()
	rec = w.call("PUT", "/v1/webhooks/other", adminKey, strings.Replace(hookBody, "{", `{"secret":"`+given+`",`, 1))
	if rec.Code != 201 || !strings.Contains(rec.Body.String(), given) || w.hooks.secret.Reveal() != given {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	rec = w.call("POST", "/v1/webhooks/hook/rotate", adminKey, `{}`)
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), w.hooks.secret.Reveal()) || w.hooks.overlap != 24*time.Hour {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if text := w.log.String(); strings.Contains(text, "whsec_") || strings.Contains(text, "in-the-url") {
		t.Errorf("the log shows a secret: %s", text)
	}
}

func TestAKeyReachesTheWebhooksOfItsScopeOnly(t *testing.T) {
	w := newWorld(t)
	w.add("gk_boss_github", httpapi.Key{ID: "bg", Tenant: "acme", Integrations: []string{"github"}, Permissions: []string{wire.PermAdmin}})
	for _, c := range []struct {
		method, path, key, body string
		want                    int
	}{
		{"PUT", "/v1/webhooks/hook", adminKey, hookBody, 201},
		{"PUT", "/v1/webhooks/hook", acmeBoss, hookBody, 201}, // another one
		{"PUT", "/v1/webhooks/hook", acmeBoss, strings.Replace(hookBody, "{", `{"tenant":"acme",`, 1), 200},
		{"PUT", "/v1/webhooks/hook", acmeBoss, strings.Replace(hookBody, "{", `{"tenant":"globex",`, 1), 404},
		{"PUT", "/v1/webhooks/hook", acmeBoss, strings.Replace(hookBody, "{", `{"tenant":"*",`, 1), 404},
		{"PUT", "/v1/webhooks/hook", acmeKey, hookBody, 403},
		{"PUT", "/v1/webhooks/hook", adminKey, strings.Replace(hookBody, "{", `{"tenant":"globex",`, 1), 201},
		{"PUT", "/v1/webhooks/mine", "gk_boss_github", hookBody, 403},
		{"PUT", "/v1/webhooks/hook", "gk_boss_github", strings.Replace(hookBody, "{", `{"integrations":["github"],`, 1), 404},
		{"PUT", "/v1/webhooks/mine", "gk_boss_github", strings.Replace(hookBody, "{", `{"integrations":["github"],`, 1), 201},
		{"GET", "/v1/webhooks/hook", "gk_boss_github", "", 404},
		{"GET", "/v1/webhooks/hook", acmeBoss, "", 200},
		{"GET", "/v1/webhooks/hook?tenant=globex", acmeBoss, "", 404},
		{"GET", "/v1/webhooks/hook?tenant=globex", adminKey, "", 200},
		{"GET", "/v1/webhooks/hook?tenant=initech", adminKey, "", 404},
		{"GET", "/v1/webhooks/none/deliveries", acmeBoss, "", 404},
		{"POST", "/v1/webhooks/hook/test", acmeKey, "", 403},
		{"POST", "/v1/webhooks/hook/replay?tenant=globex", acmeBoss, `{"parked":true}`, 404},
		{"DELETE", "/v1/webhooks/hook?tenant=globex", acmeBoss, "", 404},
		{"DELETE", "/v1/webhooks/hook", acmeBoss, "", 204},
		{"GET", "/v1/webhooks/hook", adminKey, "", 200},
	} {
		if rec := w.call(c.method, c.path, c.key, c.body); rec.Code != c.want {
			t.Errorf("%s %s with %s: %d %s, want %d", c.method, c.path, c.key, rec.Code, rec.Body, c.want)
		}
	}
	for key, want := range map[string]string{adminKey: "acme/mine globex/hook */hook", acmeBoss: "acme/mine", "gk_boss_github": "acme/mine"} {
		var names []string
		for cursor := ""; ; {
			var list wire.WebhookList
			rec := w.call("GET", "/v1/webhooks?limit=1&cursor="+cursor, key, "")
			if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil {
				t.Fatal(err)
			}
			for _, h := range list.Webhooks {
				names = append(names, h.Tenant+"/"+h.ID)
			}
			if cursor = list.NextCursor; cursor == "" {
				break
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s lists %s, want %s", key, got, want)
		}
	}
}

func TestDeliveriesAreAskedForAsTheQuerySays(t *testing.T) {
	w := newWorld(t)
	w.call("PUT", "/v1/webhooks/hook", acmeBoss, hookBody)
	w.hooks.listed = []delivery.Listed{sampleDelivery(9), sampleDelivery(7)}
	rec := w.call("GET", "/v1/webhooks/hook/deliveries?state=pending&account=acme/a&limit=1", acmeBoss, "")
	var page wire.DeliveryList
	if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || rec.Code != 200 || len(page.Deliveries) != 1 || page.NextCursor == "" {
		t.Fatalf("%d %s %v", rec.Code, rec.Body, err)
	}
	want := delivery.Query{Webhook: "acme/hook", State: delivery.Pending, Ref: credential.Ref{Tenant: "acme", ID: "a"}, Limit: 1}
	if w.hooks.query != want {
		t.Errorf("asked for %+v", w.hooks.query)
	}
	w.call("GET", "/v1/webhooks/hook/deliveries?limit=1&cursor="+page.NextCursor, acmeBoss, "")
	if w.hooks.cursor != (delivery.Cursor{Group: 3, Place: delivery.Place{At: 5, Pos: 9}}) {
		t.Errorf("went on at %+v", w.hooks.cursor)
	}
	rec = w.call("POST", "/v1/webhooks/hook/replay", acmeBoss, `{"delivery":"`+page.Deliveries[0].ID+`"}`)
	if rec.Code != 200 || w.hooks.group == nil || *w.hooks.group != 3 || w.hooks.replayed.Place.Pos != 9 || w.hooks.replayed.Webhook != "acme/hook" {
		t.Errorf("%d %s, %+v", rec.Code, rec.Body, w.hooks.replayed)
	}
	w.call("POST", "/v1/webhooks/hook/replay", acmeBoss, `{"from":"2026-03-01T00:00:00Z"}`)
	if w.hooks.group != nil || w.hooks.replayed.From.Year() != 2026 {
		t.Errorf("%+v", w.hooks.replayed)
	}
}

func TestBadRequestsAboutWebhooksAreRefused(t *testing.T) {
	w := newWorld(t)
	w.call("PUT", "/v1/webhooks/hook", adminKey, hookBody)
	for _, c := range []struct{ method, path, body string }{
		{"PUT", "", `{"url":"ftp://x","events":["*"]}`}, {"PUT", "", `{"url":"https://x","events":["*"],"secret":"short"}`}, {"PUT", "", `{"url":"https://x","events":["*"],"integrations":[]}`},
		{"PUT", "", `{"url":"https://x","events":["*"],"integrations":["a/b"]}`}, {"PUT", "", `{"url":"https://x","events":["*"],"tenant":"a b"}`}, {"PUT", "", `{"uri":"https://x"}`},
		{"POST", "/rotate", `{"overlap":"soon"}`}, {"POST", "/rotate", `{"overlap":"-1h"}`}, {"POST", "/rotate", `{"secret":"whsec_x"}`},
		{"POST", "/replay", `{}`}, {"POST", "/replay", `{"delivery":"x"}`}, {"POST", "/replay", `{"parked":true,"from":"2026-03-01T00:00:00Z"}`},
		{"POST", "/replay", `{"from":"2026-03-02T00:00:00Z","to":"2026-03-01T00:00:00Z"}`},
		{"GET", "/deliveries?state=lost", ""}, {"GET", "/deliveries?account=x", ""}, {"GET", "/deliveries?cursor=eHg", ""}, {"GET", "/deliveries?limit=0", ""}, {"GET", "?tenant=a%20b", ""},
	} {
		if rec := w.call(c.method, "/v1/webhooks/hook"+c.path, adminKey, c.body); rec.Code != 400 {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, rec.Code, rec.Body)
		}
	}
}
