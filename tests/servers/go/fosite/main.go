// Command fosite is an authorization server made of ory/fosite and its own
// in-memory store, as strict as they are by default: refresh tokens rotate, and
// a replayed one kills its grant. fosite has no pages of its own, so every
// authorization request is granted at once. ../../README.md tells the settings.
package main

import (
	"crypto/rand"
	"crypto/rsa"
	"log"
	"net/http"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/storage"
	"github.com/ory/fosite/token/jwt"
	"golang.org/x/crypto/bcrypt"

	"github.com/grantd/grantd/tests/servers/go/internal/serve"
)

func main() {
	if err := serve.Run(newHandler); err != nil {
		log.Fatal("fosite: ", err)
	}
}

// subject is the one person that this server knows.
const subject = "user-1"

func newHandler(s serve.Settings) (http.Handler, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	globalSecret := make([]byte, 32)
	if _, err := rand.Read(globalSecret); err != nil {
		return nil, err
	}
	store, err := newStore(s)
	if err != nil {
		return nil, err
	}
	config := &fosite.Config{
		AccessTokenIssuer:     s.Issuer,
		AccessTokenLifespan:   s.AccessTTL,
		AuthorizeCodeLifespan: time.Minute,
		EnforcePKCE:           true,
		GlobalSecret:          globalSecret,
		IDTokenIssuer:         s.Issuer,
		RefreshTokenLifespan:  time.Hour,
		RefreshTokenScopes:    []string{"offline_access"},
		ScopeStrategy:         fosite.ExactScopeStrategy,
		TokenURL:              s.Issuer + "/token",
	}
	server := endpoints{provider: compose.ComposeAllEnabled(config, store, key), issuer: s.Issuer}
	return server.handler(), nil
}

func newStore(s serve.Settings) (*storage.MemoryStore, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(s.ClientSecret), bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	store := storage.NewMemoryStore()
	add := func(id, method string, hash []byte, grants ...string) {
		store.Clients[id] = &fosite.DefaultOpenIDConnectClient{
			DefaultClient: &fosite.DefaultClient{
				ID:            id,
				Secret:        hash,
				Public:        hash == nil,
				RedirectURIs:  []string{s.RedirectURI},
				ResponseTypes: fosite.Arguments{"code"},
				GrantTypes:    append(fosite.Arguments{"authorization_code", "refresh_token"}, grants...),
				Scopes:        fosite.Arguments{"openid", "offline_access", "profile"},
			},
			TokenEndpointAuthMethod: method,
		}
	}
	add("test-basic", "client_secret_basic", hash, "client_credentials")
	add("test-post", "client_secret_post", hash, "client_credentials")
	add("test-public", "none", nil)
	return store, nil
}

func session(sub string) *openid.DefaultSession {
	now := time.Now()
	return &openid.DefaultSession{
		Claims:   &jwt.IDTokenClaims{Subject: sub, IssuedAt: now, RequestedAt: now, AuthTime: now},
		Headers:  &jwt.Headers{},
		Subject:  sub,
		Username: sub,
	}
}
