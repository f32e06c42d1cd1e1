package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The clients that are registered.
const (
	clientBasic  = "test-basic"
	clientPost   = "test-post"
	clientPublic = "test-public"
)

// store is the example's store with three additions: access tokens live as
// briefly as asked for instead of five minutes, the confidential clients may
// use the client credentials grant, and one of them sends its secret in the
// body. All its methods are safe for concurrent use.
type store struct {
	*storage.Storage
	accessTTL time.Duration

	// refreshTokens is held because the example reads its map of refresh
	// tokens in GetRefreshTokenInfo without a lock of its own.
	refreshTokens sync.RWMutex

	mu     sync.Mutex
	access map[string]accessToken // by id
}

// accessToken is what the example does not know of an access token.
type accessToken struct {
	expires time.Time
	machine string // the client that got it for itself; empty: a person's
}

func newStore(inner *storage.Storage, accessTTL time.Duration) *store {
	return &store{Storage: inner, accessTTL: accessTTL, access: map[string]accessToken{}}
}

func (s *store) CreateAccessToken(ctx context.Context, r op.TokenRequest) (string, time.Time, error) {
	id, _, err := s.Storage.CreateAccessToken(ctx, r)
	if err != nil {
		return "", time.Time{}, err
	}
	machine := ""
	if m, ok := r.(*oidc.JWTTokenRequest); ok { // made by ClientCredentialsTokenRequest
		machine = m.Subject
	}
	return id, s.note(id, machine), nil
}

func (s *store) CreateAccessAndRefreshTokens(ctx context.Context, r op.TokenRequest, current string) (string, string, time.Time, error) {
	s.refreshTokens.Lock()
	defer s.refreshTokens.Unlock()
	id, refresh, _, err := s.Storage.CreateAccessAndRefreshTokens(ctx, r, current)
	if err != nil {
		return "", "", time.Time{}, err
	}
	return id, refresh, s.note(id, ""), nil
}

// note remembers an access token and returns its end.
func (s *store) note(id, machine string) time.Time {
	at := time.Now().Add(s.accessTTL)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access[id] = accessToken{expires: at, machine: machine}
	return at
}

func (s *store) known(id string) accessToken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access[id]
}

func (s *store) GetRefreshTokenInfo(ctx context.Context, client, token string) (string, string, error) {
	s.refreshTokens.RLock()
	defer s.refreshTokens.RUnlock()
	return s.Storage.GetRefreshTokenInfo(ctx, client, token)
}

func (s *store) RevokeToken(ctx context.Context, token, user, client string) *oidc.Error {
	s.refreshTokens.Lock()
	defer s.refreshTokens.Unlock()
	if s.known(token).machine == client {
		client = "" // whom the example takes for its owner
	}
	return s.Storage.RevokeToken(ctx, token, user, client)
}

func (s *store) SetIntrospectionFromToken(ctx context.Context, r *oidc.IntrospectionResponse, id, subject, client string) error {
	at := s.known(id).expires
	if !time.Now().Before(at) {
		return errors.New("token is expired or unknown")
	}
	err := s.Storage.SetIntrospectionFromToken(ctx, r, id, subject, client)
	r.Expiration = oidc.FromTime(at)
	return err
}

func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{c}, nil
}

func (s *store) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if err := s.AuthorizeClientIDSecret(ctx, id, secret); err != nil {
		return nil, err
	}
	return s.GetClientByClientID(ctx, id)
}

func (s *store) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: id, Audience: []string{id}, Scopes: scopes}, nil
}

// client changes what the example's constructors of clients do not let choose.
type client struct{ op.Client }

func (c client) AuthMethod() oidc.AuthMethod {
	if c.GetID() == clientPost {
		return oidc.AuthMethodPost
	}
	return c.Client.AuthMethod()
}

func (c client) GrantTypes() []oidc.GrantType {
	grants := c.Client.GrantTypes()
	if c.GetID() == clientPublic {
		return grants
	}
	return append(slices.Clone(grants), oidc.GrantTypeClientCredentials)
}
