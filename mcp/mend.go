package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
)

// refusal is an integration that is to be looked at again.
type refusal struct {
	id      string
	version uint64
	code    string
	client  bool // the client was refused, and not an end point
	ending  bool // nothing was refused, but the secret ends
}

// trouble is what is remembered of an integration that was refused.
type trouble struct {
	version uint64
	since   time.Time
	tried   time.Time // zero: not yet
	queued  bool
}

// Refused tells that a server refused the client of an integration, or an end
// point. It does not block; of failures that say neither, nothing comes.
func (k *Keeper) Refused(id string, f *credential.Failure) {
	in, ok := k.registry.Integration(id)
	if !ok || in.MCP == nil || f == nil {
		return
	}
	r := refusal{id: id, version: in.Version, code: f.Code}
	switch {
	case f.Code == "invalid_client" || f.Code == "unauthorized_client":
		r.client = true
	case f.Class == credential.Misconfigured && f.Sent, f.Status == http.StatusNotFound, f.Status == http.StatusMethodNotAllowed, f.Status == http.StatusGone:
	default:
		return
	}
	if r.client && in.MCP.Client == registry.ClientGiven {
		return // only the operator can mend it
	}
	k.note(r, in.MCP.MendedAt)
}

// note has an integration looked at again, unless that was done lately.
func (k *Keeper) note(r refusal, mended time.Time) {
	now := time.Now()
	if !r.ending && now.Sub(mended) < mendEvery {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.events[r.id]
	if t == nil || t.version != r.version {
		t = &trouble{version: r.version, since: now}
		k.events[r.id] = t
	}
	if t.queued || !t.tried.IsZero() && now.Sub(t.tried) < tryEvery {
		return
	}
	select {
	case k.waiting <- r:
		t.queued = true
	default: // another time
	}
}

// Run looks at what was refused, and at secrets that end, until ctx does.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-k.waiting:
			k.handle(ctx, r)
		case <-tick.C:
			k.sweep()
		}
	}
}

// sweep forgets what is over, and finds secrets that end.
func (k *Keeper) sweep() {
	now := time.Now()
	k.mu.Lock()
	maps.DeleteFunc(k.events, func(id string, t *trouble) bool {
		in, ok := k.registry.Integration(id)
		return !ok || in.Version != t.version && !t.queued
	})
	k.mu.Unlock()
	if !k.leading() {
		return
	}
	for _, in := range k.registry.Integrations() {
		if in.MCP != nil && in.MCP.Client == registry.ClientRegistered && ending(in.MCP, now) {
			k.note(refusal{id: in.ID, version: in.Version, code: "client_secret_ends", client: true, ending: true}, in.MCP.MendedAt)
		}
	}
}

// handle looks at one integration and notes that.
func (k *Keeper) handle(ctx context.Context, r refusal) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	k.mu.Lock()
	t := k.events[r.id]
	since := time.Now()
	if t != nil {
		since = t.since
	}
	k.mu.Unlock()
	changed, err := k.mend(ctx, r, since)
	k.mu.Lock()
	if t != nil {
		t.queued = false
		if !errors.Is(err, errPatience) {
			t.tried = time.Now()
		}
	}
	k.mu.Unlock()
	switch {
	case errors.Is(err, errPatience):
	case err != nil:
		k.log.WarnContext(ctx, "integration of an MCP server could not be mended", "integration", r.id, "refused", r.code, "err", err)
	case changed:
		k.log.InfoContext(ctx, "integration of an MCP server was looked at again and changed", "integration", r.id, "refused", r.code)
	}
}

var (
	// errPatience: the client may be known again in a moment.
	errPatience = errors.New("mcp: refused for too short a time")
	// errGiven: a server that is another one wants another client.
	errGiven = errors.New("mcp: the MCP server has another authorization server now, where the given client_id is not registered; put the integration again")
)

// mend finds anew what can be found, and stores it if it is different. changed
// false, without an error: it is as it was, so that the operator has to look.
func (k *Keeper) mend(ctx context.Context, r refusal, since time.Time) (changed bool, err error) {
	in, ok := k.registry.Integration(r.id)
	if !ok || in.MCP == nil || in.Version != r.version {
		return false, nil // somebody was faster
	}
	if r.client && !r.ending && in.MCP.Client == registry.ClientRegistered && in.MCP.ManageURL == "" && time.Since(since) < k.patience {
		return false, errPatience
	}
	spec := in.Given()
	k.protocol.Doubt(in.MCP.Issuer)
	found, err := k.look(ctx, in.MCP.URL, spec)
	if err != nil {
		return false, err
	}
	if err := k.storable(in.ID, spec, found); err != nil {
		return false, err
	}
	client := registry.MCPClient{}
	switch moved := found.mcp.Issuer != in.MCP.Issuer; {
	case in.MCP.Client == registry.ClientGiven && moved:
		return false, errGiven
	case in.MCP.Client == registry.ClientGiven:
		found.mcp.Client = registry.ClientGiven
	case moved || in.MCP.Client == registry.ClientDocument:
		spec.ClientID = ""
		client, err = k.choose(ctx, in.ID, &spec, found, in, credential.Secret{})
	case r.client:
		client, err = k.replace(ctx, in, &spec, found, r)
	default:
		keep(&spec, found, in)
	}
	if err != nil {
		return false, err
	}
	found.mcp.MendedAt = found.mcp.LookedAt
	full := found.complete(spec)
	if !client.New && client.Secret.IsZero() && full.ClientID == in.ClientID && sameSettings(full, in.IntegrationSpec) {
		return false, nil
	}
	client.Only = in.Version
	_, _, err = k.registry.PutMCP(ctx, in.ID, full, client)
	return err == nil, err
}

func sameSettings(a, b registry.IntegrationSpec) bool {
	return a.MCP.Resource == b.MCP.Resource && maps.EqualFunc(a.Overrides, b.Overrides, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) })
}

// replace asks the server about the client that it refused, where it can be asked,
// and takes what it says; else, and where it does not know the client, it
// registers another one.
func (k *Keeper) replace(ctx context.Context, in *registry.Integration, spec *registry.IntegrationSpec, found *findings, r refusal) (registry.MCPClient, error) {
	client, gone, err := k.reread(ctx, in, found)
	switch {
	case err != nil:
		return registry.MCPClient{}, err
	case !gone && (!r.ending || !ending(&found.mcp, time.Now())):
		spec.ClientID = in.ClientID
		return client, nil
	}
	method, err := authMethod(found.server, in.HasKey)
	if err != nil {
		return registry.MCPClient{}, err
	}
	if found.server.RegistrationURL == "" {
		return registry.MCPClient{}, noClient("the authorization server registers no clients by itself any more; give client_id")
	}
	return k.register(ctx, in.ID, spec, found, method)
}

// reread asks for the registration (RFC 7592); gone: there is none, or nobody can
// be asked.
func (k *Keeper) reread(ctx context.Context, in *registry.Integration, found *findings) (client registry.MCPClient, gone bool, err error) {
	if in.MCP.ManageURL == "" {
		return client, true, nil
	}
	token, err := k.registry.RegistrationToken(ctx, in)
	if err != nil {
		return client, false, err
	}
	secret, err := k.registry.ClientSecret(ctx, in)
	if err != nil {
		return client, false, err
	}
	old := oauth.Registered{ClientID: in.ClientID, ManageURL: in.MCP.ManageURL, ManageToken: token}
	now, err := k.protocol.ReadRegistration(ctx, old, k.metadata(in.ID, in.IntegrationSpec, string(catalog.PrivateKeyJWT)))
	if f, ok := errors.AsType[*credential.Failure](err); ok && f.Code == oauth.CodeClientGone {
		return client, true, nil
	}
	if err != nil {
		return client, false, err
	}
	found.registered(now, in.MCP.RedirectURI, in.Given())
	if now.Secret.Reveal() != secret.Reveal() {
		client.Secret = now.Secret
	} else {
		found.mcp.RegisteredAt = in.MCP.RegisteredAt
	}
	if now.ManageToken.Reveal() != token.Reveal() {
		client.Manage = now.ManageToken
	}
	return client, false, nil
}
