package node

import (
	"context"
	"errors"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/storage"
)

// journal is the store's journal as the actors want it.
type journal struct{ *storage.Journal }

// Get implements actors.Journal: nil where there is no entry.
func (j journal) Get(attempt string) ([]byte, error) {
	v, err := j.Journal.Get(attempt)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return v, err
}

// integrations is the registry as the actors want it.
type integrations struct{ *registry.Registry }

// Lookup implements actors.Integrations.
func (i integrations) Lookup(id string) (actors.Integration, bool) {
	in, ok := i.Integration(id)
	if !ok {
		return actors.Integration{}, false
	}
	f := &in.Facts
	return actors.Integration{
		ID: in.ID, Provider: in.Provider, Version: in.Version, Broken: in.Broken, Reason: in.Reason,
		Rotates: f.Rotates(), ReuseGrace: f.RefreshReuseGrace,
		AccessLifetime: f.AccessTokenLifetime, RefreshLifetime: f.RefreshTokenLifetime, RefreshIdle: f.RefreshTokenIdle,
		RatePerSecond: f.RateLimit.RequestsPerSecond, Burst: f.RateLimit.Burst, Concurrency: f.RateLimit.Concurrency,
	}, true
}

// provider asks authorization servers as the registry's integrations say.
type provider struct {
	registry *registry.Registry
	client   *oauth.Client
}

// registration returns what the protocol needs to know of an integration.
func (p *provider) registration(ctx context.Context, id string) (oauth.Registration, error) {
	in, ok := p.registry.Integration(id)
	if !ok {
		return oauth.Registration{}, credential.ErrNotFound
	}
	secret, err := p.registry.ClientSecret(ctx, in)
	if err != nil {
		return oauth.Registration{}, err
	}
	return oauth.Registration{Provider: &in.Facts, ClientID: in.ClientID, ClientSecret: secret}, nil
}

// Refresh implements actors.Provider.
func (p *provider) Refresh(ctx context.Context, id string, kind credential.Kind, refreshToken credential.Secret, scopes []string) (credential.Grant, error) {
	reg, err := p.registration(ctx, id)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return credential.Grant{}, &credential.Failure{Class: credential.Misconfigured, Code: "no_integration", Detail: "the integration was deleted"}
	case err != nil:
		return credential.Grant{}, &credential.Failure{Class: credential.Transient, Code: "not_opened", Detail: "the sealed client secret does not open"}
	case kind == credential.KindClientCredentials:
		return p.client.ClientCredentials(ctx, reg, scopes)
	default:
		return p.client.Refresh(ctx, reg, refreshToken, nil) // RFC 6749 section 6: no scope means as granted
	}
}

// Lifetime implements actors.Provider.
func (p *provider) Lifetime(ctx context.Context, id string, accessToken credential.Secret) time.Duration {
	reg, err := p.registration(ctx, id)
	if err != nil || reg.Provider.IntrospectionURL == "" {
		return 0
	}
	told, err := p.client.Introspect(ctx, reg, accessToken)
	if err != nil || !told.Active || told.ExpiresAt.IsZero() {
		return 0
	}
	return max(time.Until(told.ExpiresAt), 0)
}

// Revoke implements actors.Provider. RFC 7009 section 2.1: revoking the refresh
// token should end the access tokens of the grant, too; where it does not, the
// access token is revoked on its own.
func (p *provider) Revoke(ctx context.Context, id string, refreshToken, accessToken credential.Secret) error {
	reg, err := p.registration(ctx, id)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return errors.New("the integration was deleted")
	case err != nil:
		return err
	case reg.Provider.RevocationURL == "":
		return nil // it has no way; the tokens run out
	}
	var errs []error
	if !refreshToken.IsZero() {
		errs = append(errs, p.client.Revoke(ctx, reg, refreshToken, "refresh_token"))
	}
	if !accessToken.IsZero() {
		errs = append(errs, p.client.Revoke(ctx, reg, accessToken, "access_token"))
	}
	return errors.Join(errs...)
}
