package client

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/grantd/grantd/wire"
)

// maxDrain is how much of a refused answer is read so that its connection can
// be used again.
const maxDrain = 64 << 10

// Transport puts an account's token into requests. When the provider answers
// 401 it reports the token's generation, once, and repeats the request with
// the token that replaced it, if the request can be repeated: it has no body,
// or a GetBody. Otherwise the 401 is the answer, and the next request has the
// new token. It is safe for concurrent use.
//
// A request that a redirect sends to another host goes out without the token.
type Transport struct {
	// Source has the token.
	Source *TokenSource
	// Base sends the requests; nil: http.DefaultTransport.
	Base http.RoundTripper
	// Authorize puts the token into a request; nil: OAuth tokens go into the
	// Authorization header by their token type, username and password as Basic
	// authentication. It is needed for API keys, whose place each provider
	// chooses. The request is the Transport's own copy.
	Authorize func(req *http.Request, t wire.Token) error
}

var _ http.RoundTripper = (*Transport)(nil)

// RoundTrip sends the request with the token. It does not change req.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if leftItsHost(req) {
		return t.base().RoundTrip(req)
	}
	token, err := t.Source.Get(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	res, err := t.send(req, token)
	if err != nil || res.StatusCode != http.StatusUnauthorized || token.Type != wire.TypeOAuth2 {
		return res, err
	}
	next, ok := t.replaced(req, token)
	if !ok {
		return res, nil
	}
	again, ok := repeatable(req)
	if !ok {
		return res, nil
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxDrain)
	_ = res.Body.Close()
	return t.send(again, next)
}

// replaced reports the refused token and gets another one, if there is one.
func (t *Transport) replaced(req *http.Request, refused wire.Token) (wire.Token, bool) {
	if err := t.Source.Refused(req.Context(), refused.Generation); err != nil {
		return wire.Token{}, false
	}
	next, err := t.Source.Get(req.Context())
	return next, err == nil && next.Generation != refused.Generation
}

func (t *Transport) send(req *http.Request, token wire.Token) (*http.Response, error) {
	own := req.Clone(req.Context())
	authorize := t.Authorize
	if authorize == nil {
		authorize = putToken
	}
	if err := authorize(own, token); err != nil {
		closeBody(req)
		return nil, err
	}
	return t.base().RoundTrip(own)
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

// putToken follows RFC 6750 section 2.1 and RFC 7617.
func putToken(req *http.Request, t wire.Token) error {
	switch t.Type {
	case wire.TypeOAuth2:
		scheme := t.TokenType
		if scheme == "" || strings.EqualFold(scheme, "bearer") {
			scheme = "Bearer"
		}
		req.Header.Set("Authorization", scheme+" "+t.AccessToken.Reveal())
	case wire.TypeBasic:
		req.SetBasicAuth(t.Username, t.Password.Reveal())
	default:
		return fmt.Errorf("grantd: nothing says where credentials of the type %s go in a request; set Transport.Authorize", t.Type)
	}
	return nil
}

// repeatable returns the request with a fresh body.
func repeatable(req *http.Request) (*http.Request, bool) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, false
	}
	again := req.Clone(req.Context())
	again.Body = body
	return again, true
}

// leftItsHost reports whether req follows a redirect away from the host that
// the first request was for.
func leftItsHost(req *http.Request) bool {
	first := req
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	return first.URL.Host != req.URL.Host || first.URL.Scheme == "https" && req.URL.Scheme != "https"
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
