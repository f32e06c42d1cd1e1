package main

import (
	"encoding/json"
	"net/http"

	"github.com/ory/fosite"
)

// endpoints puts fosite behind HTTP.
type endpoints struct {
	provider fosite.OAuth2Provider
	issuer   string
}

func (e endpoints) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", e.discovery)
	mux.HandleFunc("/auth", e.authorize)
	mux.HandleFunc("/token", e.token)
	mux.HandleFunc("/revoke", e.revoke)
	mux.HandleFunc("/introspect", e.introspect)
	return mux
}

func (e endpoints) discovery(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"issuer":                                e.issuer,
		"authorization_endpoint":                e.issuer + "/auth",
		"token_endpoint":                        e.issuer + "/token",
		"revocation_endpoint":                   e.issuer + "/revoke",
		"introspection_endpoint":                e.issuer + "/introspect",
		"response_types_supported":              []string{"code"},
		"grant_types_supported":                 []string{"authorization_code", "refresh_token", "client_credentials"},
		"code_challenge_methods_supported":      []string{"S256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "none"},
	})
}

func (e endpoints) authorize(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	request, err := e.provider.NewAuthorizeRequest(ctx, r)
	if err != nil {
		e.provider.WriteAuthorizeError(ctx, w, request, err)
		return
	}
	grantScopes(request)
	response, err := e.provider.NewAuthorizeResponse(ctx, request, session(subject))
	if err != nil {
		e.provider.WriteAuthorizeError(ctx, w, request, err)
		return
	}
	e.provider.WriteAuthorizeResponse(ctx, w, request, response)
}

func (e endpoints) token(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	request, err := e.provider.NewAccessRequest(ctx, r, session(""))
	if err != nil {
		e.provider.WriteAccessError(ctx, w, request, err)
		return
	}
	if request.GetGrantTypes().ExactOne("client_credentials") {
		grantScopes(request)
	}
	response, err := e.provider.NewAccessResponse(ctx, request)
	if err != nil {
		e.provider.WriteAccessError(ctx, w, request, err)
		return
	}
	e.provider.WriteAccessResponse(ctx, w, request, response)
}

func (e endpoints) revoke(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	e.provider.WriteRevocationResponse(ctx, w, e.provider.NewRevocationRequest(ctx, r))
}

func (e endpoints) introspect(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	response, err := e.provider.NewIntrospectionRequest(ctx, r, session(""))
	if err != nil {
		e.provider.WriteIntrospectionError(ctx, w, err)
		return
	}
	e.provider.WriteIntrospectionResponse(ctx, w, response)
}

// grantScopes grants what was asked for; fosite has made sure that the client
// may have it.
func grantScopes(r fosite.Requester) {
	for _, scope := range r.GetRequestedScopes() {
		r.GrantScope(scope)
	}
}
