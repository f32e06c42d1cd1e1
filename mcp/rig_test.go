package mcp

import (
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
)

// public is the installation's own address.
const public = "https://grants.example.com"

// world is an MCP server and its authorization server at one address, as they are
// told to be.
type world struct {
	*httptest.Server
	mu sync.Mutex
	// resource and server are the two documents; nil members are left out.
	resource, server map[string]any
	challenge        string
	// registered is what was sent to register clients.
	registered []map[string]any
	// register answers a registration; nil: a public client.
	register http.HandlerFunc
	// known answers for a registration that is read; nil: there is none.
	known http.HandlerFunc
}

func newWorld(t *testing.T) *world {
	w := &world{}
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(rw http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		rw.Header().Set("WWW-Authenticate", "Bearer "+w.challenge)
		rw.WriteHeader(http.StatusUnauthorized)
	})
	mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(rw http.ResponseWriter, _ *http.Request) { w.write(rw, func() any { return w.resource }) })
	mux.HandleFunc("/.well-known/oauth-authorization-server/as", func(rw http.ResponseWriter, _ *http.Request) { w.write(rw, func() any { return w.server }) })
	mux.HandleFunc("POST /register", w.serveRegister)
	mux.HandleFunc("GET /register/{id}", func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.known == nil {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.known(rw, r)
	})
	w.Server = httptest.NewServer(mux)
	t.Cleanup(w.Close)
	w.resource = map[string]any{"resource": w.URL + "/mcp", "authorization_servers": []string{w.URL + "/as"}, "scopes_supported": []string{"read", "write"}}
	w.server = map[string]any{
		"issuer": w.URL + "/as", "authorization_endpoint": w.URL + "/authorize", "token_endpoint": w.URL + "/token",
		"registration_endpoint": w.URL + "/register", "code_challenge_methods_supported": []string{"S256"},
		"token_endpoint_auth_methods_supported": []string{"none", "client_secret_basic"}, "authorization_response_iss_parameter_supported": true,
	}
	return w
}

func (w *world) write(rw http.ResponseWriter, of func() any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, _ := json.Marshal(of())
	_, _ = rw.Write(b)
}

func (w *world) serveRegister(rw http.ResponseWriter, r *http.Request) {
	var sent map[string]any
	b, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(b, &sent)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.registered = append(w.registered, sent)
	if w.register != nil {
		w.register(rw, r)
		return
	}
	rw.WriteHeader(http.StatusCreated)
	answer := maps.Clone(sent)
	answer["client_id"] = "made-" + string(rune('0'+len(w.registered)))
	b, _ = json.Marshal(answer)
	_, _ = rw.Write(b)
}

// change changes what the world says.
func (w *world) change(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

func (w *world) registrations() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.registered)
}

// answers has registrations answered with a document.
func answers(document string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(rw, document)
	}
}

type rig struct {
	*Keeper
	t        *testing.T
	registry *registry.Registry
	world    *world
}

func newRig(t *testing.T, change func(*Config)) *rig {
	facts, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	kek, err := envelope.OpenKEK("file://"+t.TempDir()+"/kek.json", true)
	if err != nil {
		t.Fatal(err)
	}
	kv := &registrytest.KV{}
	r, err := registry.Open(registry.Config{KV: kv, Catalog: facts, Sealer: envelope.New(kek, registry.Keysets{KV: kv}), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	rt := oauth.NewTransport(oauth.TransportOptions{Allow: []oauth.Exception{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}})
	t.Cleanup(rt.CloseIdleConnections)
	c := Config{
		Protocol: oauth.New(rt, oauth.Options{Timeout: 5 * time.Second}), Registry: r, PublicURL: public,
		Leading: func() bool { return true }, Logger: slog.New(slog.DiscardHandler), Patience: time.Nanosecond,
	}
	if change != nil {
		change(&c)
	}
	return &rig{Keeper: New(c), t: t, registry: r, world: newWorld(t)}
}

// put makes the integration "files" of the world's MCP server.
func (r *rig) put(spec registry.IntegrationSpec) *registry.Integration {
	r.t.Helper()
	in, _, err := r.Put(r.t.Context(), "files", r.world.URL+"/mcp", spec, credential.Secret{})
	if err != nil {
		r.t.Fatal(err)
	}
	return in
}

// now is the integration as it is stored.
func (r *rig) now() *registry.Integration {
	r.t.Helper()
	in, ok := r.registry.Integration("files")
	if !ok {
		r.t.Fatal("no integration")
	}
	return in
}

func (r *rig) secret(in *registry.Integration) string {
	r.t.Helper()
	s, err := r.registry.ClientSecret(r.t.Context(), in)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Reveal()
}

// refused tells that the client was refused, and works that off.
func (r *rig) refused(code string) {
	r.t.Helper()
	r.Refused("files", &credential.Failure{Class: credential.Misconfigured, Code: code, Sent: true, Status: http.StatusUnauthorized})
	for {
		select {
		case next := <-r.waiting:
			r.handle(r.t.Context(), next)
		default:
			return
		}
	}
}
