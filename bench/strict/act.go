package strict

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
)

// Shape is how another provider's requests and answers look. See [Provider.Act].
type Shape struct {
	// Paths of its end points. Empty: it has none. Several may be one; what has a
	// path of its own is not done at another.
	AuthPath, TokenPath, RefreshPath, ExtensionPath string
	// Method of requests to TokenPath and of those to the other two; empty: POST.
	Method, RefreshMethod string
	// Names are its names for the parameters of token requests, and AuthNames for
	// those of authorization requests, by the standard's names. A parameter under
	// the standard's name is then unknown to it, as is any other.
	Names, AuthNames map[string]string
	// GrantTypes are its grant types, by the standard's; "extension" is that of
	// ExtensionPath.
	GrantTypes map[string]string
	// Needs are parameters without which a token request, or a refresh, is
	// refused, and their values.
	Needs, RefreshNeeds map[string]string
	// CodeName is the callback's name for code, Callback what else it tells.
	CodeName string
	Callback map[string]string
	// TradesAccess: the access token itself is presented to get another.
	TradesAccess bool

	// Exchanged, Extended and Refreshed are its answers with tokens. Where
	// {{access_token}} and {{refresh_token}} stand in them the real ones are put,
	// for {{time+N}}, {{time_ms+N}} and {{date+N}} what the clock says in N seconds.
	Exchanged, Extended, Refreshed Recorded
	// Errors are its answers in place of those of the standard, by their code.
	Errors map[string]Recorded
	// Resources are what it answers to whoever presents a live access token, by
	// path.
	Resources map[string]Recorded
}

// Recorded is an answer in another provider's words.
type Recorded struct {
	Status int // 0: 200
	Header map[string]string
	Body   string
}

// Act returns the provider in the shape of another: grants, codes, rotation and
// replays are the strict provider's, and only what goes over the wire looks as
// that one's documents say. What a request does not say in that one's own way
// is not understood, so that a client with a wrong idea of it fails.
func (p *Provider) Act(s Shape) http.Handler {
	return &actor{p: p, inner: p.Handler(), s: s, traded: map[string]string{}}
}

type actor struct {
	p     *Provider
	inner http.Handler
	s     Shape

	mu     sync.Mutex
	traded map[string]string // where access tokens are traded: each one's refresh token
}

// ServeHTTP implements http.Handler.
func (a *actor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch recorded, resource := a.s.Resources[r.URL.Path]; {
	case err != nil:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	case resource:
		a.resource(w, r, recorded)
	case r.URL.Path == a.s.AuthPath && a.s.AuthPath != "":
		a.authorize(w, r)
	default:
		a.token(w, r, body)
	}
}

// actorVerifier stands in for the one of a client that does not know PKCE, as
// the other provider does not either.
const actorVerifier = "strict-acts-a-provider-that-does-not-know-pkce-0"

func (a *actor) authorize(w http.ResponseWriter, r *http.Request) {
	q := standard(r.URL.Query(), a.s.AuthNames)
	if q.Get("code_challenge") == "" {
		sum := sha256.Sum256([]byte(actorVerifier))
		q.Set("code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]))
		q.Set("code_challenge_method", "S256")
	}
	said := a.ask(r, http.MethodGet, "/auth?"+q.Encode(), nil)
	if u, err := url.Parse(said.header.Get("Location")); err == nil && said.status == http.StatusSeeOther {
		back := u.Query()
		if code := back.Get("code"); code != "" && a.s.CodeName != "" {
			back.Del("code")
			back.Set(a.s.CodeName, code)
		}
		back.Del("iss")
		for name, value := range a.s.Callback {
			back.Set(name, value)
		}
		u.RawQuery = back.Encode()
		said.header.Set("Location", u.String())
	}
	said.writeTo(w)
}

// standard gives parameters their standard names. Those that the other provider
// calls otherwise are dropped where they have the standard's name.
func standard(said url.Values, names map[string]string) url.Values {
	q := maps.Clone(said)
	for name, own := range names {
		q.Del(name)
		if values, ok := said[own]; ok {
			q.Del(own)
			q[name] = values
		}
	}
	return q
}

func (a *actor) token(w http.ResponseWriter, r *http.Request, body []byte) {
	form, ok := a.form(r, body)
	if !ok {
		a.write(w, a.s.Errors["invalid_request"], http.StatusBadRequest, nil)
		return
	}
	form = standard(form, a.s.Names)
	grantType := a.grantType(r.URL.Path, form.Get("grant_type"))
	needs := a.s.Needs
	if grantType == "refresh_token" {
		needs = a.s.RefreshNeeds
	}
	for name, value := range needs {
		if form.Get(name) != value {
			a.write(w, a.s.Errors["invalid_request"], http.StatusBadRequest, nil)
			return
		}
	}
	if grantType == "refresh_token" && a.s.RefreshPath != "" && r.URL.Path != a.s.RefreshPath {
		a.write(w, a.s.Errors["invalid_request"], http.StatusBadRequest, nil)
		return
	}
	extended := grantType == "extension"
	if extended {
		grantType = "refresh_token"
	}
	form.Set("grant_type", grantType)
	if grantType == "authorization_code" && form.Get("code_verifier") == "" {
		form.Set("code_verifier", actorVerifier)
	}
	if a.s.TradesAccess && grantType == "refresh_token" {
		form.Set("refresh_token", a.behind(form.Get("refresh_token")))
	}
	said := a.ask(r, http.MethodPost, "/token", []byte(form.Encode()))
	var told struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		Error        string `json:"error"`
	}
	if json.Unmarshal(said.body.Bytes(), &told) != nil {
		said.writeTo(w)
		return
	}
	recorded, instead := a.s.Errors[told.Error]
	switch {
	case told.AccessToken == "" && !instead:
		said.writeTo(w)
		return
	case told.AccessToken == "":
	case extended:
		recorded = a.s.Extended
	case grantType == "refresh_token":
		recorded = a.s.Refreshed
	default:
		recorded = a.s.Exchanged
	}
	if a.s.TradesAccess && told.AccessToken != "" {
		a.mu.Lock()
		a.traded[told.AccessToken] = told.RefreshToken
		a.mu.Unlock()
	}
	a.write(w, recorded, said.status, map[string]string{"access_token": told.AccessToken, "refresh_token": told.RefreshToken})
}

// behind is the refresh token that is presented with an access token.
func (a *actor) behind(access string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.traded[access]
}

// grantType is the standard's name of what a path is asked for.
func (a *actor) grantType(path, said string) string {
	for standard, own := range a.s.GrantTypes {
		switch {
		case own != said:
		case standard != "extension":
			return standard
		case path == a.s.ExtensionPath:
			return standard
		}
	}
	if _, renamed := a.s.GrantTypes[said]; renamed {
		return "not_" + said
	}
	return said
}

// form reads the parameters of a token request from where this provider expects
// them.
func (a *actor) form(r *http.Request, body []byte) (url.Values, bool) {
	method := a.s.Method
	switch r.URL.Path {
	case a.s.TokenPath:
	case a.s.RefreshPath, a.s.ExtensionPath:
		if a.s.RefreshMethod != "" {
			method = a.s.RefreshMethod
		}
	default:
		return nil, false
	}
	if method == "" {
		method = http.MethodPost
	}
	if r.Method != method {
		return nil, false
	}
	if method == http.MethodGet {
		return r.URL.Query(), true
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var members map[string]string
		if json.Unmarshal(body, &members) != nil {
			return nil, false
		}
		form := url.Values{}
		for name, value := range members {
			form.Set(name, value)
		}
		return form, true
	}
	form, err := url.ParseQuery(string(body))
	return form, err == nil
}

// resource answers whoever presents a live access token.
func (a *actor) resource(w http.ResponseWriter, r *http.Request, recorded Recorded) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !a.p.TokenLive(credential.NewSecret(token)) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	a.write(w, recorded, http.StatusOK, nil)
}

// ask lets the strict provider itself answer.
func (a *actor) ask(r *http.Request, method, target string, body []byte) *reply {
	req, err := http.NewRequestWithContext(r.Context(), method, "http://"+r.Host+target, bytes.NewReader(body))
	said := &reply{header: http.Header{}, status: http.StatusBadRequest}
	if err != nil {
		return said
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if auth := r.Header.Get("Authorization"); auth != "" {
		req.Header.Set("Authorization", auth)
	}
	a.inner.ServeHTTP(said, req)
	return said
}

// write sends a recorded answer with the real tokens in it.
func (a *actor) write(w http.ResponseWriter, recorded Recorded, otherwise int, tokens map[string]string) {
	text := recorded.Body
	for name, value := range tokens {
		text = strings.ReplaceAll(text, "{{"+name+"}}", value)
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	for name, value := range recorded.Header {
		header.Set(name, stamp(value))
	}
	status := recorded.Status
	switch {
	case status != 0:
	case tokens["access_token"] != "":
		status = http.StatusOK
	default:
		status = otherwise
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, stamp(text))
}

// stamp puts in times: {{time+60}} and its like.
func stamp(text string) string {
	for _, kind := range []struct {
		name  string
		write func(time.Time) string
	}{
		{"{{time+", func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }},
		{"{{time_ms+", func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }},
		{"{{date+", func(t time.Time) string { return t.UTC().Format(time.RFC3339) }},
	} {
		for {
			before, rest, found := strings.Cut(text, kind.name)
			number, after, closed := strings.Cut(rest, "}}")
			seconds, err := strconv.Atoi(number)
			if !found || !closed || err != nil {
				break
			}
			text = before + kind.write(time.Now().Add(time.Duration(seconds)*time.Second)) + after
		}
	}
	return text
}

// reply keeps an answer of the strict provider.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (r *reply) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *reply) WriteHeader(status int) { r.status = status }

// Write implements http.ResponseWriter.
func (r *reply) Write(b []byte) (int, error) { return r.body.Write(b) }

func (r *reply) writeTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), r.header)
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body.Bytes())
}
