package httpapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/wire"
)

func TestAgentGetsATokenOnlyOnceThatIsNoted(t *testing.T) {
	w := newWorld(t)
	if rec := w.call("GET", acmeGitHub+"/token", agentKey, ""); rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if want := []string{"acme/gh bot k1"}; !slices.Equal(w.noted, want) {
		t.Errorf("noted was %q, want %q", w.noted, want)
	}
	w.call("POST", acmeGitHub+"/refresh", agentKey, "")
	if !strings.Contains(w.log.String(), `"agent":"bot"`) {
		t.Errorf("the log does not name the agent: %s", w.log)
	}
	w.noteErr = credential.ErrNoQuorum
	if rec := w.call("GET", acmeGitHub+"/token", agentKey, ""); rec.Code != http.StatusServiceUnavailable || strings.Contains(rec.Body.String(), canary) {
		t.Errorf("a token that could not be noted: %d %s", rec.Code, rec.Body)
	}
	if rec := w.call("GET", acmeGitHub+"/token", acmeKey, ""); rec.Code != http.StatusOK || len(w.noted) != 1 {
		t.Errorf("the token of who is no agent: %d, noted %q", rec.Code, w.noted)
	}
}

func TestKeyOfAnAgentIsLimitedAsAsked(t *testing.T) {
	w := newWorld(t)
	rec := w.call("POST", "/v1/keys", acmeBoss, `{"tenant":"acme","permissions":["tokens:read"],"accounts":["acme/gh","acme/gh"],"agent":"helpdesk-bot","ttl":"15m"}`)
	var k wire.CreatedKey
	if err := json.Unmarshal(rec.Body.Bytes(), &k); err != nil || rec.Code != http.StatusCreated {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	left := time.Until(time.Time(k.ExpiresAt.Time))
	if !slices.Equal(k.Accounts, []string{"acme/gh"}) || k.Agent != "helpdesk-bot" || left > 15*time.Minute || left < 14*time.Minute {
		t.Errorf("made %+v", k.Key)
	}
	for body, field := range map[string]string{
		`"accounts":[]`:                "accounts",
		`"accounts":["acme"]`:          "accounts[0]",
		`"accounts":["globex/gh"]`:     "accounts[0]",
		`"agent":"two words"`:          "agent",
		`"ttl":"soon"`:                 "ttl",
		`"ttl":"-1h"`:                  "ttl",
		`"ttl":"1000000h"`:             "ttl",
		`"accounts":["acme/gh","a b"]`: "accounts[1]",
	} {
		rec := w.call("POST", "/v1/keys", acmeBoss, `{"tenant":"acme","permissions":["tokens:read"],`+body+`}`)
		if rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), field) {
			t.Errorf("%s: %d %s", body, rec.Code, rec.Body)
		}
	}
}

// TestNoKeyMakesOneThatReachesFurther: not in accounts, and not in time.
func TestNoKeyMakesOneThatReachesFurther(t *testing.T) {
	w := newWorld(t)
	gh := credential.Ref{Tenant: "acme", ID: "gh"}
	w.add("gk_limited", httpapi.Key{
		ID: "limited", Tenant: "acme", Accounts: []credential.Ref{gh}, Permissions: []string{wire.PermAdmin}, ExpiresAt: time.Now().Add(time.Hour),
	})
	for limits, status := range map[string]int{
		`"accounts":["acme/gh"],"ttl":"30m"`: http.StatusCreated,
		`"accounts":["acme/sl"],"ttl":"30m"`: http.StatusForbidden,
		`"accounts":["acme/gh"],"ttl":"2h"`:  http.StatusForbidden,
		`"accounts":["acme/gh"]`:             http.StatusForbidden,
		`"ttl":"30m"`:                        http.StatusForbidden,
	} {
		rec := w.call("POST", "/v1/keys", "gk_limited", `{"tenant":"acme","permissions":["tokens:read"],`+limits+`}`)
		if rec.Code != status {
			t.Errorf("%s: %d %s", limits, rec.Code, rec.Body)
		}
	}
}
