package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
)

// Integration is one OAuth client registration. It is shared and never changed.
type Integration struct {
	IntegrationSpec
	ID string
	// Facts are those of the catalogue with the overrides laid over them.
	Facts     catalog.Provider
	HasSecret bool
	// Version grows with every edit by an operator.
	Version   uint64
	Broken    bool // the provider refuses the client itself
	Reason    string
	CreatedAt time.Time
	UpdatedAt time.Time

	secret credential.Sealed
	// secretVersion is the version under which secret was sealed.
	secretVersion uint64
	rev           uint64
}

// IntegrationSpec is what an operator says about an integration.
type IntegrationSpec struct {
	Provider    string // catalogue id, or catalog's "custom"
	ClientID    string
	Scopes      []string
	RedirectURI string
	// Overrides are fields of the catalogue entry that are different here.
	Overrides map[string]json.RawMessage
}

// storedIntegration is an Integration in the store.
type storedIntegration struct {
	Provider      string                     `json:"provider"`
	ClientID      string                     `json:"client_id"`
	Scopes        []string                   `json:"scopes,omitempty"`
	RedirectURI   string                     `json:"redirect_uri,omitempty"`
	Overrides     map[string]json.RawMessage `json:"overrides,omitempty"`
	Secret        credential.Sealed          `json:"secret,omitempty"`
	SecretVersion uint64                     `json:"secret_version,omitempty"`
	Version       uint64                     `json:"version"`
	Broken        bool                       `json:"broken,omitempty"`
	Reason        string                     `json:"reason,omitempty"`
	CreatedAt     time.Time                  `json:"created_at"`
	UpdatedAt     time.Time                  `json:"updated_at"`
}

func (in *Integration) encode() ([]byte, error) {
	return json.Marshal(storedIntegration{
		Provider: in.Provider, ClientID: in.ClientID, Scopes: in.Scopes, RedirectURI: in.RedirectURI, Overrides: in.Overrides,
		Secret: in.secret, SecretVersion: in.secretVersion, Version: in.Version, Broken: in.Broken, Reason: in.Reason,
		CreatedAt: in.CreatedAt, UpdatedAt: in.UpdatedAt,
	})
}

func (r *Registry) decodeIntegration(id string, b []byte) (*Integration, error) {
	var s storedIntegration
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("integration %s: %w", id, err)
	}
	in := &Integration{
		ID:              id,
		IntegrationSpec: IntegrationSpec{Provider: s.Provider, ClientID: s.ClientID, Scopes: s.Scopes, RedirectURI: s.RedirectURI, Overrides: s.Overrides},
		HasSecret:       len(s.Secret) > 0, secret: s.Secret, secretVersion: s.SecretVersion,
		Version: s.Version, Broken: s.Broken, Reason: s.Reason, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
	facts, err := r.resolve(in.IntegrationSpec)
	if err != nil {
		return nil, fmt.Errorf("integration %s: %w", id, err)
	}
	in.Facts = facts
	return in, nil
}

// resolve lays the overrides over the catalogue's facts and checks the result.
func (r *Registry) resolve(spec IntegrationSpec) (catalog.Provider, error) {
	facts := catalog.Provider{ID: catalog.Custom, Name: "Custom"}
	if spec.Provider != catalog.Custom {
		var ok bool
		if facts, ok = r.catalog.Get(spec.Provider); !ok {
			return facts, fmt.Errorf("provider %q is not in the catalogue; use one of GET /v1/providers, or %q with its own end points", spec.Provider, catalog.Custom)
		}
	}
	return catalog.Override(facts, spec.Overrides)
}

// Integration returns what is known of an integration. It does not block.
func (r *Registry) Integration(id string) (*Integration, bool) {
	v, ok := r.integrations.Load(id)
	if !ok {
		return nil, false
	}
	return v.(*Integration), true
}

// Integrations returns all integrations, in order of their ids.
func (r *Registry) Integrations() []*Integration {
	var all []*Integration
	r.integrations.Range(func(_, v any) bool {
		all = append(all, v.(*Integration))
		return true
	})
	slices.SortFunc(all, func(a, b *Integration) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// PutIntegration makes or replaces an integration. An empty secret keeps the
// one that is stored. Editing mends: the integration is no longer broken.
// Errors: credential.ErrInvalid with a reason, and those of the KV.
func (r *Registry) PutIntegration(ctx context.Context, id string, spec IntegrationSpec, secret credential.Secret) (in *Integration, created bool, err error) {
	if err := credential.CheckName("integration id", id); err != nil {
		return nil, false, invalid("%v", err)
	}
	facts, err := r.resolve(spec)
	if err != nil {
		return nil, false, invalid("%v", err)
	}
	if err := checkSpec(spec, facts); err != nil {
		return nil, false, err
	}
	err = r.edit(ctx, id, func(old *Integration) (*Integration, error) {
		now := time.Now().UTC()
		in = &Integration{ID: id, IntegrationSpec: spec, Facts: facts, Version: 1, CreatedAt: now, UpdatedAt: now}
		if created = old == nil; created {
			if r.counts.integrations.Load() >= MaxIntegrations {
				return nil, invalid("%v: at most %d integrations", ErrFull, MaxIntegrations)
			}
		} else {
			in.Version, in.CreatedAt = old.Version+1, old.CreatedAt
			in.secret, in.secretVersion, in.HasSecret = old.secret, old.secretVersion, old.HasSecret
		}
		if !secret.IsZero() {
			in.HasSecret, in.secretVersion = true, in.Version
			var err error
			if in.secret, err = r.sealer.Seal(ctx, in.secretLabel(), secret); err != nil {
				return nil, err
			}
		}
		return in, nil
	})
	return in, created, err
}

func checkSpec(spec IntegrationSpec, facts catalog.Provider) error {
	switch {
	case spec.ClientID == "":
		return invalid("client_id is missing")
	case len(spec.ClientID) > 1024 || len(spec.RedirectURI) > 2048:
		return invalid("client_id has at most 1024 bytes, redirect_uri at most 2048")
	case facts.TokenURL == "":
		return invalid("token_url is missing: provider %q has none in the catalogue, so it must be given", spec.Provider)
	}
	for _, s := range spec.Scopes {
		if s == "" || strings.ContainsAny(s, "\"\\ \t\r\n") {
			return invalid("scope %q: RFC 6749 section 3.3 allows no spaces, quotes or backslashes in a scope", s)
		}
	}
	return nil
}

func (in *Integration) secretLabel() credential.Label {
	return credential.Label{Tenant: envelope.SystemTenant, Account: in.ID, Field: credential.FieldClientSecret, Generation: in.secretVersion}
}

// ClientSecret opens the integration's client secret; empty where it has none.
func (r *Registry) ClientSecret(ctx context.Context, in *Integration) (credential.Secret, error) {
	if !in.HasSecret {
		return credential.Secret{}, nil
	}
	return r.sealer.Open(ctx, in.secretLabel(), in.secret)
}

// DeleteIntegration removes an integration, or fails with
// credential.ErrNotFound. Its accounts stay, and are not refreshed any more.
func (r *Registry) DeleteIntegration(ctx context.Context, id string) error {
	for {
		_, rev, err := r.kv.Get(prefixIntegration + id)
		if err != nil {
			return err
		}
		err = r.kv.Delete(ctx, prefixIntegration+id, rev)
		if errors.Is(err, credential.ErrConflict) && ctx.Err() == nil {
			continue
		}
		r.catchUp(ctx, prefixIntegration+id)
		return err
	}
}

// MarkBroken records that the provider refuses the client, and MarkRecovered
// that it accepts it. Both do nothing where the version is not the current one.
func (r *Registry) MarkBroken(ctx context.Context, id string, version uint64, reason string) error {
	return r.mark(ctx, id, version, true, reason)
}

// MarkRecovered is the reverse of MarkBroken.
func (r *Registry) MarkRecovered(ctx context.Context, id string, version uint64) error {
	return r.mark(ctx, id, version, false, "")
}

func (r *Registry) mark(ctx context.Context, id string, version uint64, broken bool, reason string) error {
	return r.edit(ctx, id, func(old *Integration) (*Integration, error) {
		if old == nil || old.Version != version || old.Broken == broken {
			return nil, nil
		}
		in := *old
		in.Broken, in.Reason = broken, reason
		return &in, nil
	})
}

// edit changes an integration as fn says, again if it was changed meanwhile.
// fn gets nil where there is none, and returns nil to leave it as it is.
func (r *Registry) edit(ctx context.Context, id string, fn func(old *Integration) (*Integration, error)) error {
	key := prefixIntegration + id
	for {
		var old *Integration
		value, rev, err := r.kv.Get(key)
		switch {
		case errors.Is(err, credential.ErrNotFound):
		case err != nil:
			return err
		default:
			if old, err = r.decodeIntegration(id, value); err != nil {
				return err
			}
		}
		in, err := fn(old)
		if err != nil || in == nil {
			return err
		}
		b, err := in.encode()
		if err != nil {
			return err
		}
		_, err = r.kv.Put(ctx, key, rev, b)
		if errors.Is(err, credential.ErrConflict) && ctx.Err() == nil {
			continue
		}
		if err == nil {
			r.catchUp(ctx, key)
		}
		return err
	}
}
