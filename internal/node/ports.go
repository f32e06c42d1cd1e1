package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/mcp"
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
		CheckVariables: func(kind credential.Kind, variables map[string]string) error {
			return checkVariables(f, kind, variables)
		},
	}, true
}

// checkVariables says whether an account can have these variables, and has all
// that its refreshes need.
func checkVariables(f *catalog.Provider, kind credential.Kind, variables map[string]string) error {
	with, err := f.WithVariables(variables)
	if err != nil {
		return err
	}
	if missing := with.MissingVariables(); kind.Refreshes() && len(missing) > 0 {
		return fmt.Errorf("%w: variables: the provider's end points need %s; send it with the account, or set it in the integration's url_variables", credential.ErrInvalid, strings.Join(missing, ", "))
	}
	return nil
}

// provider asks authorization servers as the registry's integrations say.
type provider struct {
	registry *registry.Registry
	client   *oauth.Client
	// keeper looks again at integrations of MCP servers that were refused.
	keeper *mcp.Keeper
}

// noticed tells the keeper of MCP servers what a server answered.
func (p *provider) noticed(integration string, err error) {
	if f, ok := errors.AsType[*credential.Failure](err); ok {
		p.keeper.Refused(integration, f)
	}
}

// registration returns what the protocol needs to know of an integration, with
// the account's variables laid over its own.
func (p *provider) registration(ctx context.Context, r credential.TokenRequest) (oauth.Registration, error) {
	in, ok := p.registry.Integration(r.Integration)
	if !ok {
		return oauth.Registration{}, credential.ErrNotFound
	}
	facts, err := in.Facts.WithVariables(r.Variables)
	if err != nil {
		return oauth.Registration{}, err
	}
	secret, err := p.registry.ClientSecret(ctx, in)
	if err != nil {
		return oauth.Registration{}, err
	}
	keys, err := p.registry.ClientKeys(ctx, in)
	if err != nil {
		return oauth.Registration{}, err
	}
	return oauth.Registration{
		Provider: &facts, ClientID: in.ClientID, ClientSecret: secret,
		Key: keys.Client, Certificate: keys.Certificate, DPoPKey: keys.DPoP,
	}, nil
}

// Refresh implements actors.Provider.
func (p *provider) Refresh(ctx context.Context, r credential.TokenRequest) (credential.Grant, error) {
	g, err := p.refresh(ctx, r)
	p.noticed(r.Integration, err)
	return g, err
}

func (p *provider) refresh(ctx context.Context, r credential.TokenRequest) (credential.Grant, error) {
	reg, err := p.registration(ctx, r)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return credential.Grant{}, &credential.Failure{Class: credential.Misconfigured, Code: "no_integration", Detail: "the integration was deleted"}
	case errors.Is(err, credential.ErrInvalid): // the integration was edited since; nothing is wrong with its client
		return credential.Grant{}, &credential.Failure{Class: credential.Transient, Code: "bad_variables", Detail: "the account's variables do not fit the integration's end points any more"}
	case err != nil:
		return credential.Grant{}, &credential.Failure{Class: credential.Transient, Code: "not_opened", Detail: "the sealed client secret does not open"}
	case r.Kind == credential.KindClientCredentials:
		return p.client.ClientCredentials(ctx, reg, r.Scopes)
	case r.Kind == credential.KindJWTBearer:
		b, err := credential.ParseBearer(r.RefreshToken)
		if err != nil {
			return credential.Grant{}, unreadable()
		}
		return p.client.JWTBearer(ctx, reg, b, r.Scopes)
	case r.Kind == credential.KindTokenExchange:
		s, err := credential.ParseSubjected(r.RefreshToken)
		if err != nil {
			return credential.Grant{}, unreadable()
		}
		return p.client.TokenExchange(ctx, reg, s, r.Scopes)
	default:
		return p.client.Refresh(ctx, reg, r.RefreshToken, nil) // RFC 6749 section 6: no scope means as granted
	}
}

// unreadable is an account whose credentials this version cannot read. They were
// checked when they came.
func unreadable() *credential.Failure {
	return &credential.Failure{Class: credential.Terminal, Code: "unreadable_credentials", Detail: "what is kept for the account cannot be read; bring its credentials again"}
}

// Lifetime implements actors.Provider.
func (p *provider) Lifetime(ctx context.Context, r credential.TokenRequest) time.Duration {
	reg, err := p.registration(ctx, r)
	if err == nil {
		reg, err = p.client.Complete(ctx, reg)
	}
	if err != nil || reg.Provider.IntrospectionURL == "" {
		return 0
	}
	told, err := p.client.Introspect(ctx, reg, r.AccessToken)
	if err != nil || !told.Active || told.ExpiresAt.IsZero() {
		return 0
	}
	return max(time.Until(told.ExpiresAt), 0)
}

// Revoke implements actors.Provider. RFC 7009 section 2.1: revoking the refresh
// token should end the access tokens of the grant, too; where it does not, the
// access token is revoked on its own.
func (p *provider) Revoke(ctx context.Context, r credential.TokenRequest) error {
	reg, err := p.registration(ctx, r)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return &credential.Failure{Class: credential.Terminal, Code: "no_integration", Detail: "the integration was deleted"}
	case err != nil:
		return err
	}
	if reg, err = p.client.Complete(ctx, reg); err != nil {
		return err
	}
	if reg.Provider.RevocationURL == "" {
		return actors.ErrNoRevocation
	}
	var errs []error
	if !r.RefreshToken.IsZero() && !r.Kind.FetchesAnew() { // others keep none there
		errs = append(errs, p.client.Revoke(ctx, reg, r.RefreshToken, "refresh_token"))
	}
	if !r.AccessToken.IsZero() {
		errs = append(errs, p.client.Revoke(ctx, reg, r.AccessToken, "access_token"))
	}
	return errors.Join(errs...)
}
