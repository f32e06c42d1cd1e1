package mcp

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
)

func TestURLAloneMakesAnIntegration(t *testing.T) {
	r := newRig(t, nil)
	in := r.put(registry.IntegrationSpec{DisplayName: "Acme"})
	w := r.world
	f := in.Facts
	if in.Provider != catalog.Custom || in.ClientID != "made-1" || f.AuthorizationURL != w.URL+"/authorize" || f.TokenURL != w.URL+"/token" || f.Issuer != w.URL+"/as" || !f.AuthorizationResponseIss {
		t.Errorf("made %+v of %+v", in.IntegrationSpec, f)
	}
	if f.PKCE != catalog.PKCERequired || !slices.Equal(f.Resources, []string{w.URL + "/mcp"}) || !slices.Equal(f.DefaultScopes, []string{"read", "write"}) || f.TokenAuthMethod != catalog.NoSecret {
		t.Errorf("facts %+v", f)
	}
	if m := in.MCP; m.URL != w.URL+"/mcp" || m.Issuer != f.Issuer || m.Client != registry.ClientRegistered || m.RedirectURI != public+"/callback" || !slices.Contains(m.Found, "token_url") {
		t.Errorf("noted %+v", in.MCP)
	}
	sent := r.world.registered[0]
	if sent["client_name"] != "Acme" || sent["scope"] != "read write" || sent["application_type"] != "web" || sent["token_endpoint_auth_method"] != "none" {
		t.Errorf("registered %v", sent)
	}
}

func TestWhatTheOperatorGivesIsNotLookedFor(t *testing.T) {
	r := newRig(t, nil)
	given := map[string]json.RawMessage{"token_url": json.RawMessage(`"https://mine.example/token"`), "default_scopes": json.RawMessage(`["mine"]`)}
	in, _, err := r.Put(t.Context(), "files", r.world.URL+"/mcp", registry.IntegrationSpec{ClientID: "mine", Scopes: []string{"read"}, Overrides: given}, credential.NewSecret("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	if in.ClientID != "mine" || r.secret(in) != "s3cret" || r.world.registrations() != 0 || in.MCP.Client != registry.ClientGiven {
		t.Errorf("client %q, %+v", in.ClientID, in.MCP)
	}
	if in.Facts.TokenURL != "https://mine.example/token" || slices.Contains(in.MCP.Found, "token_url") || !slices.Equal(in.Facts.DefaultScopes, []string{"mine"}) || len(given) != 2 {
		t.Errorf("facts %+v, found %q, given %q", in.Facts, in.MCP.Found, given)
	}
	if got := in.Given().Overrides; len(got) != 2 {
		t.Errorf("given was %v", got)
	}
	// A secret stays while client and server do.
	if in, _, err = r.Put(t.Context(), "files", r.world.URL+"/mcp", registry.IntegrationSpec{ClientID: "mine"}, credential.Secret{}); err != nil || r.secret(in) != "s3cret" {
		t.Errorf("%v, secret %v", err, in.HasSecret)
	}
	if in, _, err = r.Put(t.Context(), "files", r.world.URL+"/mcp", registry.IntegrationSpec{ClientID: "other"}, credential.Secret{}); err != nil || in.HasSecret {
		t.Errorf("%v: the secret of one client became another's", err)
	}
}

func TestServerThatTakesDocumentsGetsOne(t *testing.T) {
	for public, document := range map[string]bool{
		"https://grants.example.com": true, "https://1.1.1.1": true, "https://grants.example.com:8443/base/": true,
		"http://127.0.0.1:8420": false, "https://127.0.0.1": false, "https://10.0.0.1": false, "https://localhost": false, "https://grants": false, "https://grants.internal": false, "https://[fd00::1]": false,
	} {
		r := newRig(t, func(c *Config) { c.PublicURL = public })
		r.world.server["client_id_metadata_document_supported"] = true
		in := r.put(registry.IntegrationSpec{DisplayName: "Acme"})
		if got := in.MCP.Client == registry.ClientDocument; got != document || document == (r.world.registrations() > 0) {
			t.Errorf("%s: %+v, %d registrations", public, in.MCP, r.world.registrations())
		}
		b, err := r.Document("files")
		if !document {
			if !errors.Is(err, credential.ErrNotFound) {
				t.Errorf("%s: %s, %v", public, b, err)
			}
			continue
		}
		var m oauth.ClientMetadata
		want := strings.TrimSuffix(public, "/") + "/oauth/client/files"
		if json.Unmarshal(b, &m) != nil || m.ClientID != want || in.ClientID != want || m.AuthMethod != "none" || m.Name != "Acme" || len(m.RedirectURIs) != 1 {
			t.Errorf("%s: %s of client %s", public, b, in.ClientID)
		}
	}
}

func TestDocumentNamesTheClientsKey(t *testing.T) {
	r := newRig(t, nil)
	r.world.server["client_id_metadata_document_supported"] = true
	r.world.server["token_endpoint_auth_methods_supported"] = []string{"none", "private_key_jwt"}
	in := r.put(registry.IntegrationSpec{ClientKey: credential.NewSecret(registry.GenerateKey + ":ES256")})
	b, err := r.Document("files")
	if err != nil || in.Facts.TokenAuthMethod != catalog.PrivateKeyJWT || !strings.Contains(string(b), public+"/v1/integrations/files/jwks.json") {
		t.Errorf("%s, %v, %v", b, in.Facts.TokenAuthMethod, err)
	}
}

func TestRegisteredClientIsKeptWhereItFits(t *testing.T) {
	r := newRig(t, nil)
	r.world.register = answers(`{"client_id":"c1","client_secret":"s1","registration_access_token":"t1","registration_client_uri":"` + r.world.URL + `/register/c1"}`)
	r.put(registry.IntegrationSpec{})
	in := r.put(registry.IntegrationSpec{Scopes: []string{"read"}, DisplayName: "Acme"})
	token, err := r.registry.RegistrationToken(t.Context(), in)
	if r.world.registrations() != 1 || in.ClientID != "c1" || r.secret(in) != "s1" || token.Reveal() != "t1" || err != nil || in.Facts.TokenAuthMethod != catalog.ClientSecretBasic {
		t.Errorf("%d registrations, client %q, %v", r.world.registrations(), in.ClientID, err)
	}
	r.world.change(func() { r.world.register = nil })
	in = r.put(registry.IntegrationSpec{RedirectURI: "http://127.0.0.1:9/callback"}) // another one is registered for this
	token, err = r.registry.RegistrationToken(t.Context(), in)
	if r.world.registrations() != 2 || in.ClientID != "made-2" || in.HasSecret || !token.IsZero() || err != nil || r.world.registered[1]["application_type"] != "native" {
		t.Errorf("%d registrations, client %q, secret %v, %v", r.world.registrations(), in.ClientID, in.HasSecret, err)
	}
	// Credentials belong to one authorization server.
	r.world.change(func() { r.world.resource["authorization_servers"] = []string{r.world.URL + "/as2"} })
	if _, _, err = r.Put(t.Context(), "files", r.world.URL+"/mcp", registry.IntegrationSpec{}, credential.Secret{}); !errors.Is(err, credential.ErrInvalid) || r.now().ClientID != "made-2" {
		t.Errorf("a server without metadata: %v, client %q", err, r.now().ClientID)
	}
}

func TestRegistrationGoesOnWithoutScopesThatTheServerDoesNotKnow(t *testing.T) {
	r := newRig(t, nil)
	w := r.world
	w.register = func(rw http.ResponseWriter, _ *http.Request) {
		if w.registered[len(w.registered)-1]["scope"] != nil {
			rw.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(rw, `{"error":"invalid_client_metadata"}`)
			return
		}
		answers(`{"client_id":"c"}`)(rw, nil)
	}
	if in := r.put(registry.IntegrationSpec{}); in.ClientID != "c" || w.registrations() != 2 {
		t.Errorf("client %q after %d", in.ClientID, w.registrations())
	}
}

func TestScopesOfTheChallengeComeFirst(t *testing.T) {
	r := newRig(t, nil)
	r.world.challenge = `scope="files:read"`
	r.world.server["scopes_supported"] = []string{"offline_access", "openid"}
	in := r.put(registry.IntegrationSpec{})
	if f := in.Facts; !slices.Equal(f.DefaultScopes, []string{"files:read"}) || !slices.Equal(f.ScopesForRefresh, []string{"offline_access"}) || f.AuthorizationParams["prompt"] != "consent" {
		t.Errorf("%q, %q, %v", f.DefaultScopes, f.ScopesForRefresh, f.AuthorizationParams)
	}
}

func TestResourceThatWantsBoundTokensGetsThem(t *testing.T) {
	r := newRig(t, nil)
	r.world.resource["dpop_bound_access_tokens_required"] = true
	in := r.put(registry.IntegrationSpec{})
	keys, err := r.registry.ClientKeys(t.Context(), in)
	if err != nil || in.Facts.DPoP != catalog.DPoPRequired || keys.DPoP == nil || r.world.registered[0]["dpop_bound_access_tokens"] != true {
		t.Errorf("dpop %q, registered %v, %v", in.Facts.DPoP, r.world.registered[0], err)
	}
}

// TestBadServersChangeNothing: whatever they say, and whoever they point to.
func TestBadServersChangeNothing(t *testing.T) {
	for name, c := range map[string]struct {
		bend func(w *world)
		says string
	}{
		"metadata of another resource":           {func(w *world) { w.resource["resource"] = "https://bank.example/mcp" }, "resource_mismatch"},
		"metadata of another issuer":             {func(w *world) { w.server["issuer"] = "https://bank.example" }, "issuer_mismatch"},
		"an authorization end point with braces": {func(w *world) { w.server["authorization_endpoint"] = w.URL + "/{x}" }, "bad_metadata"},
		"an issuer but for a slash":              {func(w *world) { w.server["issuer"] = w.URL + "/as/" }, "issuer_mismatch"},
		"a token end point over HTTP":            {func(w *world) { w.server["token_endpoint"] = "http://as.example/token" }, "bad_metadata"},
		"no token end point":                     {func(w *world) { delete(w.server, "token_endpoint") }, "bad_metadata"},
		"no PKCE":                                {func(w *world) { delete(w.server, "code_challenge_methods_supported") }, "no_pkce"},
		"plain PKCE":                             {func(w *world) { w.server["code_challenge_methods_supported"] = []string{"plain"} }, "no_pkce"},
		"no registration":                        {func(w *world) { delete(w.server, "registration_endpoint") }, "client_id"},
		"no way to prove oneself":                {func(w *world) { w.server["token_endpoint_auth_methods_supported"] = []string{"tls_client_auth"} }, "client_id"},
		"registration of another redirect_uri":   {func(w *world) { w.register = answers(`{"client_id":"c","redirect_uris":["https://evil.example/"]}`) }, "redirect_uris"},
		"registration answered with garbage":     {func(w *world) { w.register = answers(`<html>`) }, "bad_registration"},
		"registration that redirects": {func(w *world) {
			w.register = http.RedirectHandler("http://10.0.0.1/", http.StatusTemporaryRedirect).ServeHTTP
		}, "redirect"},
		"an authorization server without a host": {func(w *world) { w.resource["authorization_servers"] = []string{"https://"} }, "bad_resource_metadata"},
	} {
		r := newRig(t, nil)
		c.bend(r.world)
		_, _, err := r.Put(t.Context(), "files", r.world.URL+"/mcp", registry.IntegrationSpec{}, credential.Secret{})
		if !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if all := r.registry.Integrations(); len(all) != 0 {
			t.Errorf("%s: stored %+v", name, all[0])
		}
	}
}

func TestAuthorizationServerInsideIsNotReached(t *testing.T) {
	r, inside := newRig(t, nil), newWorld(t)
	port := netip.MustParseAddrPort(r.world.Listener.Addr().String()).Port()
	rt := oauth.NewTransport(oauth.TransportOptions{Allow: []oauth.Exception{{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Port: port}}})
	t.Cleanup(rt.CloseIdleConnections)
	r.protocol = oauth.New(rt, oauth.Options{})
	r.world.resource["authorization_servers"] = []string{inside.URL + "/as"}
	_, _, err := r.Put(t.Context(), "files", r.world.URL+"/mcp", registry.IntegrationSpec{}, credential.Secret{})
	if !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), "address_refused") {
		t.Error(err)
	}
	r.world.resource["authorization_servers"] = []string{r.world.URL + "/as"}
	r.world.server["registration_endpoint"] = inside.URL + "/register"
	_, _, err = r.Put(t.Context(), "files", r.world.URL+"/mcp", registry.IntegrationSpec{}, credential.Secret{})
	if !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), "address_refused") || inside.registrations() != 0 {
		t.Errorf("%v, %d registrations inside", err, inside.registrations())
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	r := newRig(t, nil)
	for name, c := range map[string]struct {
		address string
		spec    registry.IntegrationSpec
		secret  string
	}{
		"plain HTTP":                {"http://mcp.example.com/mcp", registry.IntegrationSpec{}, ""},
		"a fragment":                {r.world.URL + "/mcp#x", registry.IntegrationSpec{}, ""},
		"a secret without client":   {r.world.URL + "/mcp", registry.IntegrationSpec{}, "s"},
		"an unknown setting":        {r.world.URL + "/mcp", registry.IntegrationSpec{Overrides: map[string]json.RawMessage{"token_ulr": json.RawMessage(`"x"`)}}, ""},
		"a return origin with path": {r.world.URL + "/mcp", registry.IntegrationSpec{ReturnOrigins: []string{"https://app.example.com/x"}}, ""},
		"a key that is none":        {r.world.URL + "/mcp", registry.IntegrationSpec{ClientKey: credential.NewSecret("key")}, ""},
		"an issuer that the server does not name": {r.world.URL + "/mcp", registry.IntegrationSpec{
			Overrides: map[string]json.RawMessage{"issuer": json.RawMessage(`"https://as.example"`)}}, ""},
	} {
		_, _, err := r.Put(t.Context(), "files", c.address, c.spec, credential.NewSecret(c.secret))
		if !errors.Is(err, credential.ErrInvalid) || len(r.registry.Integrations()) != 0 || r.world.registrations() != 0 {
			t.Errorf("%s: %v, %d registrations", name, err, r.world.registrations())
		}
	}
	if _, _, err := r.Put(t.Context(), "no/name", r.world.URL+"/mcp", registry.IntegrationSpec{}, credential.Secret{}); !errors.Is(err, credential.ErrInvalid) || r.world.registrations() != 0 {
		t.Errorf("a name that cannot be: %v, %d registrations", err, r.world.registrations())
	}
	r.world.Close()
	_, _, err := r.Put(t.Context(), "files", r.world.URL+"/mcp", registry.IntegrationSpec{}, credential.Secret{})
	if !errors.Is(err, credential.ErrProviderUnavailable) {
		t.Errorf("a server that is down: %v", err)
	}
}
