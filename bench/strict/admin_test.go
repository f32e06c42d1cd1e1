package strict_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/grantd/grantd/bench/strict"
)

// admin calls the admin API, wants the status, and decodes into out.
func (c caller) admin(method, path, body string, status int, out any) string {
	c.t.Helper()
	a, err := c.try(context.Background(), method, "/admin/"+path, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil || a.Status != status {
		c.t.Fatalf("%s %s: %d %v, want %d: %s", method, path, a.Status, err, status, a.Raw)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(a.Raw), out); err != nil {
			c.t.Fatalf("%s %s: %v: %s", method, path, err, a.Raw)
		}
	}
	return a.Raw
}

func TestAdminMakesGrantsThatWork(t *testing.T) {
	p := newProvider(t, strict.Options{})
	for _, c := range []caller{inProcess(t, p), serve(t, p)} {
		var g strict.GrantTokens
		c.admin("POST", "grants", `{"client":"demo-basic","user":"carl","scopes":["a","b"]}`, 201, &g)
		if g.ExpiresIn != 60 || g.TokenType != "Bearer" || c.me(g.AccessToken).Subject != "carl" {
			t.Fatalf("made %+v", g)
		}
		a := c.refresh("demo-basic", g.RefreshToken)
		wantStatus(t, a, 200, "")

		var many strict.GrantBatch
		c.admin("POST", "grants:batch", `{"client":"demo-basic","count":50}`, 201, &many)
		ids := []string{g.Grant}
		for _, m := range many.Grants {
			ids = append(ids, m.Grant)
		}
		query, err := json.Marshal(strict.GrantsQuery{Grants: ids})
		if err != nil {
			t.Fatal(err)
		}
		var sum strict.GrantsReport
		c.admin("POST", "grants:report", string(query), 200, &sum)
		if len(sum.Grants) != 51 || sum.Requests != 1 || sum.Alive != 51 || sum.Replays != 0 || sum.MaxInFlight != 1 {
			t.Fatalf("the report says %+v", sum)
		}

		c.admin("POST", "grants/"+g.Grant+"/expire", "", 204, nil)
		if c.me(a.AccessToken).Status != 401 || !p.GrantAlive(g.Grant) {
			t.Fatal("expire must kill the access token and no more")
		}
		c.admin("POST", "grants/"+g.Grant+"/revoke", "", 204, nil)
		var s strict.GrantStatus
		c.admin("GET", "grants/"+g.Grant, "", 200, &s)
		if s.Alive || s.Rotations != 1 {
			t.Fatalf("the grant stands at %+v", s)
		}
	}
}

func TestAdminSwitchesFaults(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c := inProcess(t, p)
	var list strict.FaultList
	c.admin("POST", "faults", `{"kind":"status_429","retry_after_ms":2500,"client":"demo-basic","count":1}`, 201, &list)
	a := c.refresh("demo-basic", "x")
	wantStatus(t, a, 429, "rate_limited")
	if a.Header.Get("Retry-After") != "3" {
		t.Fatalf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
	wantStatus(t, c.refresh("demo-basic", "x"), 400, "invalid_grant")
	c.admin("POST", "faults", `{"faults":[{"kind":"html"},{"kind":"latency","delay_ms":1,"jitter_ms":1}]}`, 201, &list)
	if len(list.Faults) != 3 || list.Faults[0].Struck != 1 || list.Faults[2].DelayMS != 1 {
		t.Fatalf("in use: %+v", list.Faults)
	}
	c.admin("DELETE", "faults/"+list.Faults[1].ID, "", 204, nil)
	c.admin("DELETE", "faults/"+list.Faults[1].ID, "", 404, nil)
	c.admin("GET", "faults", "", 200, &list)
	if len(list.Faults) != 2 {
		t.Fatalf("in use: %+v", list.Faults)
	}
	c.admin("DELETE", "faults", "", 204, nil)
	if len(p.Faults()) != 0 {
		t.Fatal("faults are left")
	}
}

func TestAdminShowsTheRecordWithoutSecrets(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	a := c.refresh("demo-basic", g.RefreshToken.Reveal())
	c.refresh("demo-basic", g.RefreshToken.Reveal())
	var all strict.RequestList
	raw := c.admin("GET", "requests", "", 200, &all)
	if len(all.Requests) != 2 || !all.Requests[1].Replay || all.Requests[1].Answered.IsZero() {
		t.Fatalf("the record is %+v", all.Requests)
	}
	var report strict.FullReport
	raw += c.admin("GET", "report", "", 200, &report)
	if report.Replays != 1 || report.Refreshes != 2 || len(report.Violations) != 1 || report.Violations[0].Rule != "I3" {
		t.Fatalf("the report is %+v", report)
	}
	raw += c.admin("GET", "grants/"+g.Grant, "", 200, nil)
	for _, s := range []string{g.RefreshToken.Reveal(), g.AccessToken.Reveal(), a.RefreshToken, a.AccessToken, "demo-basic-secret"} {
		if strings.Contains(raw, s) {
			t.Fatal("a secret is shown")
		}
	}
	var rest strict.RequestList
	c.admin("GET", "requests?after=1&limit=5", "", 200, &rest)
	if len(rest.Requests) != 1 || rest.Requests[0].Number != 2 {
		t.Fatalf("after 1 come %+v", rest.Requests)
	}
	c.admin("POST", "reset", "", 204, nil)
	c.admin("GET", "requests", "", 200, &all)
	if len(all.Requests) != 0 {
		t.Fatal("the record survived the reset")
	}
}

func TestAdminRegistersClients(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c := inProcess(t, p)
	c.admin("POST", "clients", `{"id":"new","secret":"new-secret","rotation":"grace","grace_ms":1000,"access_ttl_ms":5000}`, 204, nil)
	g := newGrant(t, p, "new")
	if a := c.refresh("new", g.RefreshToken.Reveal()); string(a.ExpiresIn) != "5" {
		t.Fatalf("expires_in is %s", a.ExpiresIn)
	}
	c.admin("POST", "clients", `{"id":"new","secret":"changed-secret"}`, 204, nil)
	wantStatus(t, c.refresh("new", "x"), 401, "invalid_client")
	if !p.GrantAlive(g.Grant) {
		t.Fatal("changing a client killed its grants")
	}
}

func TestAdminRefusesWhatItDoesNotUnderstand(t *testing.T) {
	p := newProvider(t, strict.Options{MaxGrants: 5})
	c := inProcess(t, p)
	for _, tc := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "grants", `{"client":"nobody"}`, 400},
		{"POST", "grants", `{"client":"demo-basic","tenant":"x"}`, 400},
		{"POST", "grants", `{"client":"demo-basic"} {}`, 400},
		{"POST", "grants", `{"client":"demo-basic","scopes":["a b"]}`, 400},
		{"POST", "grants:batch", `{"client":"demo-basic","count":0}`, 400},
		{"POST", "grants:batch", fmt.Sprintf(`{"client":"demo-basic","count":%d}`, strict.MaxBatch+1), 400},
		{"POST", "grants:batch", `{"client":"demo-basic","count":6}`, 507},
		{"POST", "grants:report", `{"grants":["g999"]}`, 404},
		{"GET", "grants/g999", "", 404},
		{"GET", "grants/x", "", 404},
		{"POST", "grants/g999/revoke", "", 404},
		{"POST", "faults", `{"kind":"gremlins"}`, 400},
		{"POST", "faults", `{"kind":"latency","delay_ms":9223372036854775807}`, 400},
		{"POST", "faults", `{"faults":[{"kind":"html","colour":"red"}]}`, 400},
		{"POST", "faults", `[`, 400},
		{"POST", "clients", `{"id":"a/b","secret":"x"}`, 400},
		{"GET", "requests?limit=0", "", 400},
		{"GET", "requests?after=-1", "", 400},
		{"PUT", "reset", "", 404},
		{"GET", "moon", "", 404},
	} {
		a, err := c.try(context.Background(), tc.method, "/admin/"+tc.path, nil, tc.body)
		if err != nil || a.Status != tc.status || a.Error == "" {
			t.Errorf("%s %s %s: %d %s %v, want %d", tc.method, tc.path, tc.body, a.Status, a.Raw, err, tc.status)
		}
	}
	a, err := c.try(context.Background(), "POST", "/admin/reset", http.Header{"Origin": {"https://evil.example"}}, "")
	if err != nil || a.Status != http.StatusForbidden {
		t.Errorf("a web page could reset the provider: %d %v", a.Status, err)
	}
}
