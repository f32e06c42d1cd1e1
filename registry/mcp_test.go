package registry_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
)

// foundSpec is an integration as it was found out from an MCP server's URL.
func foundSpec(client string) registry.IntegrationSpec {
	return registry.IntegrationSpec{
		Provider: "custom", ClientID: "made",
		Overrides: map[string]json.RawMessage{"token_url": json.RawMessage(`"https://as.example/token"`), "scope_separator": json.RawMessage(`","`)},
		MCP: &registry.MCP{
			URL: "https://mcp.example/mcp", Resource: "https://mcp.example/mcp", Issuer: "https://as.example", Client: client,
			Found: []string{"token_url"}, SecretEnds: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		},
	}
}

func TestRegisteredClientIsKeptSealedAndFoundAfterARestart(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	_, created, err := r.PutMCP(t.Context(), "files", foundSpec(registry.ClientRegistered), registry.MCPClient{New: true, Secret: credential.NewSecret("the-secret"), Manage: credential.NewSecret("the-token")})
	if err != nil || !created {
		t.Fatal(created, err)
	}
	stored, _, err := kv.Get("integration/files")
	if err != nil || strings.Contains(string(stored), "the-token") || strings.Contains(string(stored), "the-secret") {
		t.Errorf("stored in plain: %v", err)
	}
	in, _ := r.Integration("files") // as it was read from the store
	token, err := r.RegistrationToken(t.Context(), in)
	secret, errSecret := r.ClientSecret(t.Context(), in)
	if err != nil || errSecret != nil || token.Reveal() != "the-token" || secret.Reveal() != "the-secret" {
		t.Errorf("%v, %v", err, errSecret)
	}
	r.Close()
	if in, _ = open(t, kv, nil).Integration("files"); in.MCP.Client != registry.ClientRegistered || in.MCP.SecretEnds.Year() != 2030 || in.Facts.TokenURL != "https://as.example/token" {
		t.Errorf("read %+v", in.MCP)
	}
	if given := in.Given().Overrides; len(given) != 1 || given["scope_separator"] == nil {
		t.Errorf("given was %v", given)
	}
}

func TestSecretsOfARegisteredClientGoWithIt(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	register := func() {
		t.Helper()
		if _, _, err := r.PutMCP(t.Context(), "files", foundSpec(registry.ClientRegistered), registry.MCPClient{New: true, Secret: credential.NewSecret("s"), Manage: credential.NewSecret("t")}); err != nil {
			t.Fatal(err)
		}
	}
	register()
	in, _, err := r.PutMCP(t.Context(), "files", foundSpec(registry.ClientRegistered), registry.MCPClient{})
	if token, errToken := r.RegistrationToken(t.Context(), in); err != nil || errToken != nil || !in.HasSecret || token.Reveal() != "t" {
		t.Errorf("the same client has lost them: %v, %v", err, errToken)
	}
	for name, put := range map[string]func() (*registry.Integration, bool, error){
		"another client": func() (*registry.Integration, bool, error) {
			return r.PutMCP(t.Context(), "files", foundSpec(registry.ClientRegistered), registry.MCPClient{New: true})
		},
		"a client by document": func() (*registry.Integration, bool, error) {
			return r.PutMCP(t.Context(), "files", foundSpec(registry.ClientDocument), registry.MCPClient{New: true})
		},
		"the operator's own": func() (*registry.Integration, bool, error) {
			s := foundSpec("")
			s.ClientID = "mine"
			return r.PutIntegration(t.Context(), "files", s, credential.Secret{})
		},
	} {
		register()
		in, _, err := put()
		token, errToken := r.RegistrationToken(t.Context(), in)
		if err != nil || errToken != nil || in.HasSecret || !token.IsZero() {
			t.Errorf("%s: secret %v, token %v; %v, %v", name, in.HasSecret, !token.IsZero(), err, errToken)
		}
	}
	if in, _ := r.Integration("files"); in.MCP != nil && in.ClientID == "mine" {
		t.Errorf("what was found outlives the operator's own: %+v", in.MCP)
	}
}

func TestOnlyTheVersionThatWasReadIsReplaced(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	in, _, err := r.PutMCP(t.Context(), "files", foundSpec(registry.ClientRegistered), registry.MCPClient{New: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.PutMCP(t.Context(), "files", foundSpec(registry.ClientGiven), registry.MCPClient{Only: in.Version}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, id := range []string{"files", "none"} {
		if _, _, err := r.PutMCP(t.Context(), id, foundSpec(registry.ClientDocument), registry.MCPClient{Only: in.Version}); !errors.Is(err, credential.ErrConflict) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if now, _ := r.Integration("files"); now.MCP.Client != registry.ClientGiven || time.Since(began) > time.Second {
		t.Errorf("%+v after %v", now.MCP, time.Since(began))
	}
}
