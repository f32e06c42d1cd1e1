package authserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

// App is a client application at an authorization server. It is safe for
// concurrent use; its fields must not be changed any more then.
type App struct {
	Metadata    Metadata
	ClientID    string
	Secret      credential.Secret
	Method      Method
	RedirectURI string
	Scopes      []string
	AuthParams  url.Values        // more parameters of the authorization request
	SignIn      map[string]string // what a person types into the fields of a login form
}

// Answer is what the server answered to an application: tokens, or an error, or
// what it knows of a token.
type Answer struct {
	Status       int
	Header       http.Header
	Code         string // OAuth error code; empty: none
	AccessToken  credential.Secret
	RefreshToken credential.Secret
	TokenType    string
	Scope        string
	ExpiresIn    time.Duration
	Active       bool // of an introspected token
}

// OK reports whether the server did what it was asked for.
func (a Answer) OK() bool { return a.Status == http.StatusOK }

// String says how it went, without tokens.
func (a Answer) String() string {
	if a.Code == "" {
		return fmt.Sprintf("HTTP %d", a.Status)
	}
	return fmt.Sprintf("HTTP %d %s", a.Status, a.Code)
}

// Authorize has a person grant access, and returns the tokens.
func (a *App) Authorize(ctx context.Context) (Answer, error) {
	code, err := a.Code(ctx)
	if err != nil {
		return Answer{}, err
	}
	answer, err := a.Redeem(ctx, code)
	if err != nil {
		return Answer{}, err
	}
	if !answer.OK() || answer.AccessToken.IsZero() || answer.RefreshToken.IsZero() {
		return answer, fmt.Errorf("the code brought no access and refresh token: %v", answer)
	}
	return answer, nil
}

// Refresh presents a refresh token (RFC 6749 section 6).
func (a *App) Refresh(ctx context.Context, token credential.Secret) (Answer, error) {
	return a.Post(ctx, a.Metadata.Token, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.Reveal()}})
}

// ClientCredentials asks for a token for the application itself (RFC 6749
// section 4.4).
func (a *App) ClientCredentials(ctx context.Context) (Answer, error) {
	return a.Post(ctx, a.Metadata.Token, url.Values{"grant_type": {"client_credentials"}})
}

// Revoke takes a token back (RFC 7009).
func (a *App) Revoke(ctx context.Context, token credential.Secret) (Answer, error) {
	return a.Post(ctx, a.Metadata.Revocation, url.Values{"token": {token.Reveal()}})
}

// Introspect asks what the server knows of a token (RFC 7662).
func (a *App) Introspect(ctx context.Context, token credential.Secret) (Answer, error) {
	return a.Post(ctx, a.Metadata.Introspection, url.Values{"token": {token.Reveal()}})
}

// Alive tells whether a grant lives, by the only proof there is: it uses its
// newest refresh token up. An answer that says neither is an error.
func (a *App) Alive(ctx context.Context, newest credential.Secret) (bool, error) {
	answer, err := a.Refresh(ctx, newest)
	switch {
	case err != nil:
		return false, err
	case answer.OK() && !answer.AccessToken.IsZero():
		return true, nil
	case answer.Status == http.StatusBadRequest && answer.Code == "invalid_grant":
		return false, nil
	}
	return false, fmt.Errorf("cannot tell whether the grant lives: %v", answer)
}

// Post sends a form to an end point with the application's authentication added.
func (a *App) Post(ctx context.Context, endpoint string, form url.Values) (Answer, error) {
	fields := url.Values{}
	for name, values := range form {
		fields[name] = values
	}
	if a.Method != Basic {
		fields.Set("client_id", a.ClientID)
	}
	if a.Method == Post {
		fields.Set("client_secret", a.Secret.Reveal())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(fields.Encode()))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if a.Method == Basic {
		// RFC 6749 section 2.3.1: both are form-encoded first.
		req.SetBasicAuth(url.QueryEscape(a.ClientID), url.QueryEscape(a.Secret.Reveal()))
	}
	client := newClient()
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	return readAnswer(resp)
}

// answerBody is everything that the end points answer, in JSON.
type answerBody struct {
	Error        string `json:"error"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int64  `json:"expires_in"`
	Active       bool   `json:"active"`
}

func readAnswer(resp *http.Response) (Answer, error) {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return Answer{}, err
	}
	var body answerBody
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") && len(raw) > 0 {
		if err := json.Unmarshal(raw, &body); err != nil {
			return Answer{}, fmt.Errorf("the answer is no JSON, though it says so: %w", err)
		}
	}
	return Answer{
		Status:       resp.StatusCode,
		Header:       resp.Header,
		Code:         body.Error,
		AccessToken:  credential.NewSecret(body.AccessToken),
		RefreshToken: credential.NewSecret(body.RefreshToken),
		TokenType:    body.TokenType,
		Scope:        body.Scope,
		ExpiresIn:    time.Duration(body.ExpiresIn) * time.Second,
		Active:       body.Active,
	}, nil
}

// requestTimeout bounds every request of an application.
const requestTimeout = 30 * time.Second

// newClient returns an HTTP client with connections of its own, so that none is
// left when it is closed, which follows no redirect.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{},
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
