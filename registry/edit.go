package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// Bounds of what an operator says about an integration, in bytes but for maxScopes.
const (
	maxClientID     = 1 << 10
	maxClientSecret = 16 << 10
	maxRedirectURI  = 2 << 10
	maxDisplayName  = 128
	maxOrigins      = 32
	maxScopes       = 256
	maxScope        = 512
	maxReason       = 256
	// maxRecord bounds the whole of it, overrides included, as it is stored.
	maxRecord = 64 << 10
)

// PutIntegration makes or replaces an integration. An empty secret keeps the
// one that is stored. Editing mends: the integration is no longer broken, and
// where it was, credential.EventRecovered tells so.
// Errors: credential.ErrInvalid with a reason, and those of the KV.
func (r *Registry) PutIntegration(ctx context.Context, id string, spec IntegrationSpec, secret credential.Secret) (in *Integration, created bool, err error) {
	spec.MCP = nil
	return r.put(ctx, id, spec, clientChange{secret: secret})
}

// put is PutIntegration with all that can change.
func (r *Registry) put(ctx context.Context, id string, spec IntegrationSpec, change clientChange) (in *Integration, created bool, err error) {
	secret := change.secret
	if err := credential.CheckName("integration id", id); err != nil {
		return nil, false, invalid("%w", err)
	}
	facts, err := r.resolve(spec)
	if err != nil {
		return nil, false, invalid("%w", err)
	}
	if err := checkSpec(spec, facts); err != nil {
		return nil, false, err
	}
	if len(secret.Reveal()) > maxClientSecret {
		return nil, false, invalid("client_secret has more than %d bytes", maxClientSecret)
	}
	key, err := givenKey(spec)
	if err != nil {
		return nil, false, err
	}
	spec.ClientKey = credential.Secret{} // it is kept sealed only
	spec.Scopes, spec.Overrides = slices.Clone(spec.Scopes), maps.Clone(spec.Overrides)
	spec.ScopeDescriptions, spec.ReturnOrigins = maps.Clone(spec.ScopeDescriptions), slices.Clone(spec.ReturnOrigins)
	err = r.edit(ctx, id, func(old *Integration) (*Integration, error) {
		if change.outdated(old) {
			return nil, errOutdated
		}
		now := time.Now().UTC()
		in = &Integration{ID: id, IntegrationSpec: spec, Facts: facts, Version: 1, CreatedAt: now, UpdatedAt: now}
		if created = old == nil; created {
			if r.counts.integrations.Load() >= MaxIntegrations {
				return nil, invalid("%w: at most %d integrations; delete some that are not used", ErrFull, MaxIntegrations)
			}
		} else {
			in.Version, in.CreatedAt = old.Version+1, old.CreatedAt
			in.secret, in.secretVersion, in.HasSecret, in.rest = old.secret, old.secretVersion, old.HasSecret, old.rest
			in.manage = old.manage
		}
		if err := r.changeClient(ctx, in, old, change); err != nil {
			return nil, err
		}
		if !secret.IsZero() {
			in.HasSecret, in.secretVersion = true, in.Version
			var err error
			if in.secret, err = r.sealer.Seal(ctx, in.secretLabel(), secret); err != nil {
				return nil, err
			}
		}
		if err := r.sealKeys(ctx, in, old, key); err != nil {
			return nil, err
		}
		return in, nil
	})
	if errors.Is(err, errOutdated) {
		err = credential.ErrConflict
	}
	if err != nil {
		return nil, false, err
	}
	return in, created, nil
}

func checkSpec(spec IntegrationSpec, facts catalog.Provider) error {
	switch {
	case spec.ClientID == "":
		return invalid("client_id is missing")
	case len(spec.ClientID) > maxClientID || strings.ContainsFunc(spec.ClientID, isControl):
		return invalid("client_id must have at most %d bytes and no control characters", maxClientID)
	case facts.TokenURL == "" && facts.Issuer == "":
		return invalid("token_url is missing: the catalogue knows none for provider %q, so it must be given, or an issuer whose metadata tell it", spec.Provider)
	case len(spec.Scopes) > maxScopes:
		return invalid("scopes: at most %d are allowed", maxScopes)
	}
	for i, s := range spec.Scopes {
		if s == "" || len(s) > maxScope || strings.ContainsAny(s, "\"\\ ") || strings.ContainsFunc(s, isControl) {
			return invalid("scopes[%d]: RFC 6749 section 3.3 allows no spaces, quotes, backslashes or control characters in a scope; send each scope as one string of 1 to %d bytes", i, maxScope)
		}
	}
	if err := checkPages(spec); err != nil {
		return err
	}
	return checkRedirect(spec.RedirectURI)
}

// checkPages says what is wrong with what people who connect accounts are shown,
// and where they may be sent.
func checkPages(spec IntegrationSpec) error {
	unfit := func(s string, most int) bool {
		return len(s) > most || !utf8.ValidString(s) || strings.ContainsFunc(s, isControl)
	}
	switch {
	case unfit(spec.DisplayName, maxDisplayName):
		return invalid("display_name must have at most %d bytes and no control characters", maxDisplayName)
	case len(spec.ScopeDescriptions) > maxScopes:
		return invalid("scope_descriptions: at most %d are allowed", maxScopes)
	case len(spec.ReturnOrigins) > maxOrigins:
		return invalid("return_origins: at most %d are allowed", maxOrigins)
	}
	for _, scope := range slices.Sorted(maps.Keys(spec.ScopeDescriptions)) {
		if unfit(spec.ScopeDescriptions[scope], maxScope) {
			return invalid("scope_descriptions: each must have at most %d bytes and no control characters", maxScope)
		}
	}
	for _, origin := range spec.ReturnOrigins {
		if err := checkOrigin(origin); err != nil {
			return err
		}
	}
	return nil
}

// checkOrigin wants an origin as browsers write it (RFC 6454 section 6.2): it is
// compared to the letter.
func checkOrigin(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || s != u.Scheme+"://"+u.Host || s != strings.ToLower(s) || strings.ContainsAny(s, "\\@ ") || strings.HasSuffix(s, ":443") && u.Scheme == "https" || strings.HasSuffix(s, ":80") && u.Scheme == "http" {
		return invalid("return_origins: each must be an origin as browsers write it, such as https://app.example.com: lower case, no path, no slash at the end, no usual port")
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if local := u.Hostname() == "localhost" || err == nil && addr.IsLoopback(); u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return invalid("return_origins: each must begin with https://; http:// is allowed only for this machine itself")
	}
	return nil
}

// checkRedirect says what is wrong with a redirect URI (RFC 6749 section
// 3.1.2); empty: there is none.
func checkRedirect(uri string) error {
	if uri == "" {
		return nil
	}
	u, err := url.Parse(uri)
	if err != nil || len(uri) > maxRedirectURI || u.Host == "" || u.Fragment != "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return invalid("redirect_uri must be an absolute http or https URL of at most %d bytes, without user and fragment", maxRedirectURI)
	}
	return nil
}

// DeleteIntegration removes an integration, or fails with
// credential.ErrNotFound. Its accounts stay, and are not refreshed any more.
func (r *Registry) DeleteIntegration(ctx context.Context, id string) error {
	return r.remove(ctx, prefixIntegration+id)
}

// MarkBroken records that the provider refuses the client itself, and why, and
// tells of it with credential.EventMisconfigured, in the same write. It does
// nothing where the version is not the current one: an operator may have mended
// it meanwhile.
func (r *Registry) MarkBroken(ctx context.Context, id string, version uint64, reason string) error {
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	return r.setBroken(ctx, id, version, true, reason)
}

// MarkRecovered records that the provider accepts the client again, and tells of
// it with credential.EventRecovered, in the same write. It does nothing where the
// version is not the current one.
func (r *Registry) MarkRecovered(ctx context.Context, id string, version uint64) error {
	return r.setBroken(ctx, id, version, false, "")
}

func (r *Registry) setBroken(ctx context.Context, id string, version uint64, broken bool, reason string) error {
	return r.edit(ctx, id, func(old *Integration) (*Integration, error) {
		if old == nil || old.unusable || old.Version != version || old.Broken == broken {
			return nil, nil
		}
		in := *old
		in.Broken, in.Reason, in.Since = broken, reason, time.Time{}
		if broken {
			in.Since = time.Now().UTC()
		}
		return &in, nil
	})
}

// edit changes an integration as fn says, again if it was changed meanwhile.
// fn gets nil where there is none, and returns nil to leave it as it is.
func (r *Registry) edit(ctx context.Context, id string, fn func(old *Integration) (*Integration, error)) error {
	key := prefixIntegration + id
	return again(ctx, func() error {
		old, rev, err := r.stored(id)
		if err != nil {
			return err
		}
		in, err := fn(old)
		if err != nil || in == nil {
			return err
		}
		b, err := in.encode()
		if err != nil {
			return err
		}
		if len(b) > maxRecord {
			return invalid("the integration takes %d bytes, at most %d are allowed; shorten its settings", len(b), maxRecord)
		}
		if events := changeOfHealth(old, in); events != nil {
			_, err = r.kv.PutAndTell(ctx, key, rev, b, events)
		} else {
			_, err = r.kv.Put(ctx, key, rev, b)
		}
		if err == nil {
			r.catchUp(ctx, key)
		}
		return err
	})
}

// reasonEdited is why an integration recovered that an operator has changed: he
// is believed to have mended it.
const reasonEdited = "edited"

// changeOfHealth is what is to be told of a change from old, which is nil for a
// new integration; nil: nothing.
func changeOfHealth(old, in *Integration) []credential.Event {
	was := old != nil && old.Broken && !old.unusable
	if was == in.Broken {
		return nil
	}
	e := credential.Event{ID: newEventID(), Type: credential.EventMisconfigured, At: time.Now().UTC(), Reason: in.Reason, Integration: in.ID}
	if was {
		e.Type = credential.EventRecovered
		if in.Version != old.Version {
			e.Reason = reasonEdited
		}
	}
	return []credential.Event{e}
}

// Emit adds events to the outbox beside the registry, of things that change no
// state. Events without an ID or a time get one. Called again with the same IDs
// after an error, it adds what receivers know for the same event; for errors see
// [KV].
func (r *Registry) Emit(ctx context.Context, events ...credential.Event) error {
	events = slices.Clone(events)
	for i := range events {
		if events[i].ID == "" {
			events[i].ID = newEventID()
		}
		if events[i].At.IsZero() {
			events[i].At = time.Now().UTC()
		}
	}
	return r.kv.Emit(ctx, events...)
}

func newEventID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// stored reads an integration from the store; nil: there is none.
func (r *Registry) stored(id string) (*Integration, uint64, error) {
	value, rev, err := r.kv.Get(prefixIntegration + id)
	if errors.Is(err, credential.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	in, err := r.decodeIntegration(id, value)
	return in, rev, err
}
