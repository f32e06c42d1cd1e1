package registry

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

// Bounds of what is said about an end point, and of its secrets.
const (
	maxWebhookURL   = 2 << 10
	maxOldSecrets   = 3
	maxSecretBytes  = 256
	maxOverlap      = 30 * 24 * time.Hour
	maxIntegrations = 1000
)

// PutWebhook makes or replaces an end point. A secret that is given becomes its
// secret at once. Without one, an old end point keeps the one that it has, and a
// new one gets the other, fresh. Errors: credential.ErrInvalid with a reason, and
// those of the KV.
func (r *Registry) PutWebhook(ctx context.Context, id string, spec WebhookSpec, given, fresh credential.Secret) (w *Webhook, created bool, err error) {
	if err := checkWebhook(id, spec, given); err != nil {
		return nil, false, err
	}
	spec.Events, spec.Integrations = slices.Clone(spec.Events), slices.Clone(spec.Integrations)
	w, err = r.editWebhook(ctx, spec.Tenant, id, func(old *Webhook) (*Webhook, error) {
		now, secret := time.Now().UTC(), given
		w := &Webhook{WebhookSpec: spec, ID: id, Version: 1, Since: now, CreatedAt: now, UpdatedAt: now, incarnation: newIncarnation()}
		if created = old == nil; created {
			if r.counts.webhooks.Load() >= MaxWebhooks {
				return nil, invalid("%w: at most %d webhooks; delete some that are not used", ErrFull, MaxWebhooks)
			}
			if secret.IsZero() {
				secret = fresh
			}
			if secret.IsZero() {
				return nil, invalid("a new webhook needs a signing secret")
			}
		} else {
			w.Version, w.CreatedAt, w.incarnation, w.secrets, w.rest = old.Version+1, old.CreatedAt, old.incarnation, old.secrets, old.rest
			if old.Enabled || !spec.Enabled {
				w.Since = old.Since
			}
		}
		if secret.IsZero() {
			return w, nil
		}
		return w, r.newSecret(ctx, w, secret, time.Time{})
	})
	return w, created, err
}

// RotateWebhook gives an end point another secret. The one before signs as well
// for the time of the overlap. credential.ErrNotFound: there is none of the name.
func (r *Registry) RotateWebhook(ctx context.Context, tenant, id string, secret credential.Secret, overlap time.Duration) (*Webhook, error) {
	if overlap < 0 || overlap > maxOverlap {
		return nil, invalid("the overlap must be from 0s to %v", maxOverlap)
	}
	return r.editWebhook(ctx, tenant, id, func(old *Webhook) (*Webhook, error) {
		if old == nil {
			return nil, credential.ErrNotFound
		}
		now := time.Now().UTC()
		w := *old
		w.Version, w.UpdatedAt = old.Version+1, now
		if len(old.Overlaps(now)) >= maxOldSecrets && overlap > 0 {
			return nil, invalid("%d older secrets still sign; wait until one of them has ended, or rotate without an overlap", maxOldSecrets)
		}
		return &w, r.newSecret(ctx, &w, secret, now.Add(overlap))
	})
}

// newSecret makes a secret the present one. The one before ends at a time; zero:
// it and all others end now.
func (r *Registry) newSecret(ctx context.Context, w *Webhook, secret credential.Secret, until time.Time) error {
	sealed, err := r.sealer.Seal(ctx, w.secretLabel(w.Version), secret)
	if err != nil {
		return err
	}
	all := []webhookSecret{{Sealed: sealed, Version: w.Version}}
	now := time.Now()
	for _, s := range w.secrets {
		if s.Until.IsZero() {
			s.Until = until
		}
		if s.Until.After(now) && until.After(now) {
			all = append(all, s)
		}
	}
	w.secrets = all
	return nil
}

// DisableWebhook disables an end point and says why, unless it was changed since
// the revision.
func (r *Registry) DisableWebhook(ctx context.Context, name string, revision uint64, reason string) error {
	tenant, id := delivery.SplitEndpointID(name)
	_, err := r.editWebhook(ctx, tenant, id, func(old *Webhook) (*Webhook, error) {
		if old == nil || !old.Enabled || old.rev != revision {
			return nil, nil
		}
		w := *old
		w.Enabled, w.Reason, w.Version, w.UpdatedAt = false, reason, old.Version+1, time.Now().UTC()
		return &w, nil
	})
	return err
}

// DeleteWebhook removes an end point, or fails with credential.ErrNotFound.
func (r *Registry) DeleteWebhook(ctx context.Context, tenant, id string) error {
	return r.remove(ctx, prefixWebhook+delivery.EndpointID(tenant, id))
}

// WebhookGone reports whether the store, as this node has it, holds no end point
// of the name.
func (r *Registry) WebhookGone(name string) bool {
	_, _, err := r.kv.Get(prefixWebhook + name)
	return errors.Is(err, credential.ErrNotFound)
}

// editWebhook changes an end point as fn says, again if it was changed meanwhile.
// fn gets nil where there is none, and returns nil to leave it as it is.
func (r *Registry) editWebhook(ctx context.Context, tenant, id string, fn func(old *Webhook) (*Webhook, error)) (out *Webhook, err error) {
	name := delivery.EndpointID(tenant, id)
	err = again(ctx, func() error {
		value, rev, err := r.kv.Get(prefixWebhook + name)
		var old *Webhook
		switch {
		case err == nil:
			if old, err = decodeWebhook(name, value, rev); err != nil {
				return err
			}
		case !errors.Is(err, credential.ErrNotFound):
			return err
		}
		if out, err = fn(old); err != nil || out == nil {
			return err
		}
		b, err := out.encode()
		if err != nil {
			return err
		}
		if len(b) > maxRecord {
			return invalid("the webhook takes %d bytes, at most %d are allowed; name fewer integrations", len(b), maxRecord)
		}
		if out.rev, err = r.kv.Put(ctx, prefixWebhook+name, rev, b); err == nil {
			r.catchUp(ctx, prefixWebhook+name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkWebhook says what is wrong; credential.ErrInvalid.
func checkWebhook(id string, spec WebhookSpec, secret credential.Secret) error {
	if err := credential.CheckName("webhook id", id); err != nil {
		return invalid("%w", err)
	}
	if spec.Tenant != "" {
		if err := credential.CheckName("tenant", spec.Tenant); err != nil {
			return invalid("%w", err)
		}
	}
	u, err := url.Parse(spec.URL)
	switch {
	case err != nil, len(spec.URL) > maxWebhookURL, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.User != nil, strings.ContainsAny(spec.URL, "# "), strings.ContainsFunc(spec.URL, isControl):
		return invalid("url must be an absolute https or http URL of at most %d bytes, without user, fragment and spaces", maxWebhookURL)
	case len(spec.Events) == 0:
		return invalid("events is empty: name the types of events, or %q for all but %s", delivery.AllEvents, credential.EventRefreshed)
	case len(secret.Reveal()) > maxSecretBytes:
		return invalid("the signing secret has more than %d bytes", maxSecretBytes)
	case len(spec.Integrations) > maxIntegrations:
		return invalid("integrations: at most %d are allowed", maxIntegrations)
	}
	for i, e := range spec.Events {
		if e != delivery.AllEvents && !slices.Contains(credential.EventTypes(), credential.EventType(e)) || slices.Contains(spec.Events[:i], e) {
			return invalid("events[%d] is no type of event, or there twice; choose from %s, %v", i, delivery.AllEvents, credential.EventTypes())
		}
	}
	for _, in := range spec.Integrations {
		if err := credential.CheckName("integration", in); err != nil {
			return invalid("%w", err)
		}
	}
	return nil
}
