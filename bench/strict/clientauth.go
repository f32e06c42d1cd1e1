package strict

import (
	"encoding/base64"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// credentials are what a request says about who sends it.
type credentials struct {
	id, secret string
	method     AuthMethod
	bearer     string // for the protected resource
}

// readForm returns the parameters of a request: from the query for GET, else
// from a body that must be a form.
func readForm(ep Endpoint, r *http.Request, body []byte) (url.Values, *answer) {
	text := r.URL.RawQuery
	switch {
	case ep == EndpointAPI || ep == EndpointDiscovery:
		return nil, nil
	case r.Method == http.MethodPost:
		ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || ct != "application/x-www-form-urlencoded" {
			return nil, badForm("only application/x-www-form-urlencoded content-type bodies are supported on POST " + r.URL.Path)
		}
		text = string(body)
	case ep != EndpointAuth || r.Method != http.MethodGet:
		a := errorAnswer(http.StatusMethodNotAllowed, OutcomeBadRequest, "invalid_request", "use POST")
		a.header.Set("Allow", http.MethodPost)
		return nil, &a
	}
	form, err := url.ParseQuery(text)
	if err != nil || !utf8.ValidString(text) {
		return nil, badForm("failed to parse the request body")
	}
	if twice := firstTwice(form); twice != "" {
		return nil, badForm("'" + strings.ToValidUTF8(twice, "?") + "' parameter must not be provided twice")
	}
	return form, nil
}

func badForm(description string) *answer {
	a := invalidRequest(description)
	return &a
}

// readCredentials finds out how the client proves who it is (RFC 6749 section
// 2.3): one way, not two.
func readCredentials(ep Endpoint, h http.Header, form url.Values) (credentials, *answer) {
	auth := h.Get("Authorization")
	scheme, rest, _ := strings.Cut(auth, " ")
	switch {
	case ep == EndpointAuth:
		return credentials{id: form.Get("client_id")}, nil
	case ep == EndpointAPI:
		if strings.EqualFold(scheme, "Bearer") {
			return credentials{bearer: rest}, nil
		}
		return credentials{}, nil
	case ep == EndpointDiscovery:
		return credentials{}, nil
	case auth == "" && form.Get("client_secret") != "":
		return credentials{id: form.Get("client_id"), secret: form.Get("client_secret"), method: AuthPost}, nil
	case auth == "":
		return credentials{id: form.Get("client_id"), method: AuthNone}, nil
	case form.Get("client_secret") != "":
		return credentials{}, badForm("client authentication must only be provided using one mechanism")
	case !strings.EqualFold(scheme, "Basic"):
		return credentials{}, badForm("invalid authorization header value format")
	}
	return readBasic(rest, form.Get("client_id"))
}

// readBasic decodes the client's id and secret, which are form-encoded before
// they are put into the header (RFC 6749 section 2.3.1).
func readBasic(encoded, inForm string) (credentials, *answer) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	id, secret, ok := strings.Cut(string(raw), ":")
	if err != nil || !ok {
		return credentials{}, badForm("invalid authorization header value format")
	}
	c := credentials{method: AuthBasic}
	var errID, errSecret error
	c.id, errID = url.QueryUnescape(id)
	c.secret, errSecret = url.QueryUnescape(secret)
	if errID != nil || errSecret != nil {
		return credentials{}, badForm("client_id and client_secret in the authorization header are not properly encoded")
	}
	if inForm != "" && inForm != c.id {
		return credentials{}, badForm("client_id mismatch")
	}
	return c, nil
}

// authenticate returns the client that the request comes from, or the refusal.
func (v *visit) authenticate() (*registration, *answer) {
	if v.creds.id == "" {
		return nil, badForm("no client authentication mechanism provided")
	}
	refuse := func() (*registration, *answer) {
		a := invalidClient(v.creds.method == AuthBasic)
		return nil, &a
	}
	client := v.p.clients.get(v.creds.id)
	if client == nil {
		return refuse()
	}
	hasSecret := client.Auth != AuthNone
	switch {
	case hasSecret != (v.creds.method != AuthNone):
		return refuse()
	case client.OnlyRegisteredAuth && v.creds.method != client.Auth:
		return refuse()
	case hasSecret && !client.secretMatches(v.creds.secret):
		return refuse()
	}
	return client, nil
}
