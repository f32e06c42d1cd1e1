package mcp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry"
)

func TestRefusedClientIsRegisteredAnewOnce(t *testing.T) {
	r := newRig(t, nil)
	old := r.put(registry.IntegrationSpec{Scopes: []string{"read"}})
	r.refused("invalid_client")
	in := r.now()
	if in.ClientID != "made-2" || in.Version == old.Version || in.MCP.MendedAt.IsZero() || in.Scopes[0] != "read" {
		t.Fatalf("client %q, %+v", in.ClientID, in.MCP)
	}
	for range 5 {
		r.refused("invalid_client")
	}
	if r.world.registrations() != 2 {
		t.Errorf("%d registrations", r.world.registrations())
	}
}

func TestClientThatIsRefusedForAMomentIsKept(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Patience = time.Hour })
	r.put(registry.IntegrationSpec{})
	for range 5 {
		r.refused("invalid_client")
	}
	if in := r.now(); in.ClientID != "made-1" || r.world.registrations() != 1 {
		t.Errorf("client %q", in.ClientID)
	}
}

func TestServerIsAskedAboutTheClientThatItRefused(t *testing.T) {
	for name, c := range map[string]struct {
		known          http.HandlerFunc
		client, secret string
		registrations  int
	}{
		"it has a new secret": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"client_id":"c1","client_secret":"s2"}`)
		}, "c1", "s2", 1},
		"it knows it as it was": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"client_id":"c1","client_secret":"s1"}`)
		}, "c1", "s1", 1},
		"it is out of order":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "c1", "s1", 1},
		"it does not know it": {nil, "made-2", "", 2},
		"it tells of another": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"client_id":"x"}`) }, "c1", "s1", 1},
		"it gives another place": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"client_id":"c1","redirect_uris":["https://evil.example/"]}`)
		}, "c1", "s1", 1},
	} {
		r := newRig(t, func(c *Config) { c.Patience = time.Hour })
		w := r.world
		w.register = answers(`{"client_id":"c1","client_secret":"s1","registration_access_token":"t1","registration_client_uri":"` + w.URL + `/register/c1"}`)
		before := r.put(registry.IntegrationSpec{})
		if err := r.registry.MarkBroken(t.Context(), "files", before.Version, "invalid_client"); err != nil {
			t.Fatal(err)
		}
		w.change(func() { w.register, w.known = nil, c.known })
		r.refused("invalid_client")
		in := r.now()
		if in.ClientID != c.client || r.secret(in) != c.secret || w.registrations() != c.registrations {
			t.Errorf("%s: client %q, %d registrations", name, in.ClientID, w.registrations())
		}
		if changed := in.Version != before.Version; changed != (c.secret != "s1") || in.Broken == changed {
			t.Errorf("%s: version %d after %d, broken %v", name, in.Version, before.Version, in.Broken)
		}
	}
}

func TestEndPointsAreLookedForAgain(t *testing.T) {
	r := newRig(t, nil)
	r.put(registry.IntegrationSpec{})
	r.Refused("files", &credential.Failure{Class: credential.Unrecognised, Code: "html_answer", Status: http.StatusNotFound, Sent: true})
	r.handle(t.Context(), <-r.waiting)
	if in := r.now(); in.Version != 1 || in.Facts.TokenURL != r.world.URL+"/token" {
		t.Errorf("what is as it was was changed: %+v", in.MCP)
	}
	r.world.change(func() { r.world.server["token_endpoint"] = r.world.URL + "/token2" })
	r.events["files"].tried = time.Time{} // long ago
	r.refused("redirect")
	if in := r.now(); in.Facts.TokenURL != r.world.URL+"/token2" || in.ClientID != "made-1" || r.world.registrations() != 1 {
		t.Errorf("token_url %s, client %q", in.Facts.TokenURL, in.ClientID)
	}
}

func TestAnotherAuthorizationServerGetsNoOldCredentials(t *testing.T) {
	for _, given := range []bool{false, true} {
		r := newRig(t, nil)
		second := newWorld(t)
		spec := registry.IntegrationSpec{}
		if given {
			spec.ClientID = "mine"
		}
		r.put(spec)
		r.world.change(func() { r.world.resource["authorization_servers"] = []string{second.URL + "/as"} })
		r.refused("redirect")
		in := r.now()
		if given && (in.ClientID != "mine" || in.Facts.TokenURL != r.world.URL+"/token") || !given && (second.registrations() != 1 || in.Facts.TokenURL != second.URL+"/token") {
			t.Errorf("given %v: client %q at %s", given, in.ClientID, in.Facts.TokenURL)
		}
	}
}

func TestOtherFailuresAreNoReasonToLook(t *testing.T) {
	r := newRig(t, nil)
	r.put(registry.IntegrationSpec{})
	for _, f := range []*credential.Failure{
		{Class: credential.Terminal, Code: "invalid_grant", Status: 400, Sent: true},
		{Class: credential.Transient, Code: "timeout"},
		{Class: credential.Misconfigured, Code: "bad_token_url"},
		{Class: credential.Unrecognised, Code: "invalid_scope", Status: 400, Sent: true},
	} {
		r.Refused("files", f)
	}
	r.Refused("none", &credential.Failure{Class: credential.Misconfigured, Code: "invalid_client", Sent: true})
	if len(r.waiting) != 0 {
		t.Errorf("%d are looked at", len(r.waiting))
	}
}

func TestSecretIsReplacedBeforeItEnds(t *testing.T) {
	r := newRig(t, nil)
	w := r.world
	soon := time.Now().Add(30 * time.Second).Unix()
	w.register = answers(fmt.Sprintf(`{"client_id":"c1","client_secret":"s1","client_secret_expires_at":%d}`, soon))
	in := r.put(registry.IntegrationSpec{})
	if ending(in.MCP, time.Now()) || !ending(in.MCP, time.Now().Add(25*time.Second)) {
		t.Errorf("ends %v, registered %v", in.MCP.SecretEnds, in.MCP.RegisteredAt)
	}
	r.sweep()
	if len(r.waiting) != 0 {
		t.Error("it is replaced too early")
	}
	// As if it had been registered a day ago.
	m := *in.MCP
	m.RegisteredAt = m.RegisteredAt.Add(-24 * time.Hour)
	spec := in.IntegrationSpec
	spec.MCP = &m
	if _, _, err := r.registry.PutMCP(t.Context(), "files", spec, registry.MCPClient{}); err != nil {
		t.Fatal(err)
	}
	r.leading = func() bool { return false }
	r.sweep()
	if len(r.waiting) != 0 {
		t.Error("a node replaces it that does not lead")
	}
	r.leading = func() bool { return true }
	w.change(func() { w.register = answers(`{"client_id":"c2","client_secret":"s2"}`) })
	r.sweep()
	r.handle(t.Context(), <-r.waiting)
	if in := r.now(); in.ClientID != "c2" || r.secret(in) != "s2" || !in.MCP.SecretEnds.IsZero() {
		t.Errorf("client %q, ends %v", in.ClientID, in.MCP.SecretEnds)
	}
}

func TestRunWorksOffWhatIsRefusedUntilItsEnd(t *testing.T) {
	r := newRig(t, nil)
	r.put(registry.IntegrationSpec{})
	changed := make(chan struct{})
	w := r.world
	w.register = func(rw http.ResponseWriter, _ *http.Request) {
		answers(`{"client_id":"c2"}`)(rw, nil)
		close(changed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r.Run(ctx); close(ended) }()
	r.Refused("files", &credential.Failure{Class: credential.Misconfigured, Code: "invalid_client", Sent: true})
	<-changed
	cancel()
	<-ended
}

// TestOperatorIsNotOverwritten: what was put while an integration was looked at
// again stays.
func TestOperatorIsNotOverwritten(t *testing.T) {
	r := newRig(t, nil)
	r.put(registry.IntegrationSpec{})
	w := r.world
	w.register = func(rw http.ResponseWriter, _ *http.Request) {
		if _, _, err := r.registry.PutIntegration(t.Context(), "files", registry.IntegrationSpec{Provider: "github", ClientID: "mine"}, credential.Secret{}); err != nil {
			t.Error(err)
		}
		answers(`{"client_id":"c2"}`)(rw, nil)
	}
	r.refused("invalid_client")
	if in := r.now(); in.ClientID != "mine" || in.MCP != nil || w.registrations() != 2 {
		t.Errorf("client %q after %d registrations", in.ClientID, w.registrations())
	}
}
