package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// MaxProviders bounds the entries of the catalogue that operators define by the
// API.
const MaxProviders = 1000

// provider is an entry of the catalogue that an operator defined by the API. It
// is shared and never changed.
type provider struct {
	facts catalog.Provider
	// wrong says why this build, or this node's own folder, cannot use it; empty:
	// it can.
	wrong string
	rev   uint64
}

// storedProvider is a provider in the store: its fields as they were given, so
// that what it extends is that of the node that reads it.
type storedProvider struct {
	Fields    map[string]json.RawMessage `json:"fields"`
	CreatedAt time.Time                  `json:"created_at"`
	UpdatedAt time.Time                  `json:"updated_at"`
}

// Provider finds what is known of a provider: by the API, else in the folder,
// else built in. It does not block.
func (r *Registry) Provider(id string) (catalog.Provider, bool) {
	if v, ok := r.providers.Load(id); ok {
		if p := v.(*provider); p.wrong == "" {
			return p.facts, true
		}
	}
	return r.catalog.Get(id)
}

// Providers returns the whole catalogue in order of id.
func (r *Registry) Providers() []catalog.Provider {
	all := make(map[string]catalog.Provider)
	for _, p := range r.catalog.List() {
		all[p.ID] = p
	}
	r.providers.Range(func(id, v any) bool {
		if p := v.(*provider); p.wrong == "" {
			all[id.(string)] = p.facts
		}
		return true
	})
	list := make([]catalog.Provider, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[id])
	}
	return list
}

// PutProvider makes or replaces an entry of the catalogue, over those of the
// folder and the built-in ones. The integrations that use it go by it at once;
// where one of them could not, nothing is changed. Errors: credential.ErrInvalid
// with a reason, and those of the KV.
func (r *Registry) PutProvider(ctx context.Context, id string, fields map[string]json.RawMessage) (facts catalog.Provider, created bool, err error) {
	if facts, err = r.catalog.Define(id, fields); err != nil {
		return catalog.Provider{}, false, invalid("%w", err)
	}
	if err := r.fits(id, facts); err != nil {
		return catalog.Provider{}, false, err
	}
	key := prefixProvider + id
	err = again(ctx, func() error {
		value, rev, err := r.kv.Get(key)
		now := time.Now().UTC()
		s := storedProvider{Fields: fields, CreatedAt: now, UpdatedAt: now}
		created = errors.Is(err, credential.ErrNotFound)
		switch {
		case created:
			if r.counts.providers.Load() >= MaxProviders {
				return invalid("%w: at most %d providers; delete some that are not used", ErrFull, MaxProviders)
			}
		case err != nil:
			return err
		default:
			var old storedProvider
			if err := json.Unmarshal(value, &old); err != nil {
				return fmt.Errorf("provider %s: %w", id, err)
			}
			s.CreatedAt = old.CreatedAt
		}
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if len(b) > maxRecord {
			return invalid("the provider takes %d bytes, at most %d are allowed", len(b), maxRecord)
		}
		if _, err = r.kv.Put(ctx, key, rev, b); err == nil {
			r.catchUp(ctx, key)
		}
		return err
	})
	if err != nil {
		return catalog.Provider{}, false, err
	}
	return facts, created, nil
}

// DeleteProvider takes an entry away that was defined by the API: the one below
// it, if there is one, counts again. Errors: credential.ErrNotFound,
// credential.ErrInvalid where an integration could not live without it.
func (r *Registry) DeleteProvider(ctx context.Context, id string) error {
	if _, ok := r.providers.Load(id); !ok {
		return credential.ErrNotFound
	}
	below, ok := r.catalog.Get(id)
	if users := r.users(id); !ok && len(users) > 0 {
		return invalid("integration %s uses it, and the catalogue has nothing else of this name; delete the integration first", users[0].ID)
	}
	if ok {
		if err := r.fits(id, below); err != nil {
			return err
		}
	}
	return r.remove(ctx, prefixProvider+id)
}

// fits says whether all integrations that use a provider can go by facts.
func (r *Registry) fits(id string, facts catalog.Provider) error {
	for _, in := range r.users(id) {
		if in.unusable {
			continue // it cannot become worse
		}
		with, err := catalog.Override(facts, in.Overrides)
		if err == nil {
			err = checkSpec(in.IntegrationSpec, with)
		}
		if err != nil {
			return invalid("integration %s uses this provider and could not go by it: %w", in.ID, err)
		}
	}
	return nil
}

// users are the integrations of a provider, in order of their ids.
func (r *Registry) users(id string) []*Integration {
	return slices.DeleteFunc(r.Integrations(), func(in *Integration) bool { return in.Provider != id })
}

func (r *Registry) rememberProvider(id string, value []byte, rev uint64) error {
	v, had := r.providers.Load(id)
	switch {
	case rev == 0 && !had, had && v.(*provider).rev == rev:
		return nil // seen already
	case rev == 0:
		swap(&r.providers, id, nil, &r.counts.providers)
	default:
		var s storedProvider
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("provider %s: %w", id, err)
		}
		p := &provider{rev: rev}
		var err error
		if p.facts, err = r.catalog.Define(id, s.Fields); err != nil {
			p.wrong = strings.ReplaceAll(err.Error(), "\n", "; ")
			r.log.Error("provider defined by the API cannot be used here; the one below it counts", "provider", id, "reason", p.wrong)
		}
		swap(&r.providers, id, p, &r.counts.providers)
	}
	return r.resolveUsers(id)
}

// resolveUsers lets the integrations of a provider go by what is known of it
// now.
func (r *Registry) resolveUsers(id string) error {
	var errs []error
	for _, in := range r.users(id) {
		value, rev, err := r.kv.Get(prefixIntegration + in.ID)
		if errors.Is(err, credential.ErrNotFound) {
			continue // its deletion is on its way
		}
		if err == nil {
			err = r.takeIntegration(in.ID, value, rev)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
