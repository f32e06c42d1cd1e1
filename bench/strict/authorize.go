package strict

import (
	"encoding/base64"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// DenyHint as login_hint of an authorization request stands for a person who
// refuses.
const DenyHint = "deny-me"

// defaultUser is who consents when an authorization request names nobody.
const defaultUser = "user-1"

// authorize is the authorization end point (RFC 6749 section 3.1). It asks
// nobody, unless Options.AskBrowsers: the person named by login_hint consents at
// once. PKCE with S256 is required. A request that does not say where to go safely is answered with a
// page, never with a redirect.
func (v *visit) authorize() answer {
	client := v.p.clients.get(v.form.Get("client_id"))
	redirect := v.form.Get("redirect_uri")
	switch {
	case client == nil:
		return page(http.StatusBadRequest, OutcomeBadClient, "invalid_client", "nobody knows this client_id")
	case !client.redirectAllowed(redirect):
		return page(http.StatusBadRequest, OutcomeBadRequest, "invalid_redirect_uri", "redirect_uri did not match any of the client's registered redirect_uris")
	}
	back := func(outcome Outcome, params url.Values) answer {
		if state := v.form.Get("state"); state != "" {
			params.Set("state", state)
		}
		params.Set("iss", v.issuer) // RFC 9207
		return seeOther(redirect, outcome, params)
	}
	refuse := func(outcome Outcome, code, description string) answer {
		a := back(outcome, url.Values{"error": {code}, "error_description": {description}})
		a.code = code
		return a
	}
	scopes, scopesOK := parseScopes(v.form.Get("scope"))
	switch {
	case v.form.Get("response_type") != "code":
		return refuse(OutcomeBadRequest, "unsupported_response_type", "unsupported response_type requested")
	case !scopesOK:
		return refuse(OutcomeBadScope, "invalid_scope", "scope contains invalid characters")
	case v.form.Get("code_challenge") == "":
		return refuse(OutcomeBadRequest, "invalid_request", "Authorization Server policy requires PKCE to be used for this request")
	case v.form.Get("code_challenge_method") != "S256" || !challengeValid(v.form.Get("code_challenge")):
		return refuse(OutcomeBadRequest, "invalid_request", "not supported value of code_challenge_method, or not a challenge of it")
	case v.form.Get("login_hint") == DenyHint || v.form.Get(decision) == decisionDeny:
		return refuse(OutcomeDenied, "access_denied", "the person said no")
	}
	user := v.form.Get("login_hint")
	if user == "" {
		user = defaultUser
	}
	if v.p.o.AskBrowsers && strings.Contains(v.header.Get("Accept"), "text/html") && v.form.Get(decision) != decisionAllow {
		return v.ask(client.ID, user, scopes)
	}
	code := &pendingCode{redirectURI: redirect, challenge: v.form.Get("code_challenge"), expires: time.Now().Add(v.p.o.CodeTTL)}
	number, err := v.p.grants.addPending(&grant{client: client.ID, user: user, scope: joinScopes(scopes), code: code})
	if err != nil {
		return refuse(OutcomeFull, "temporarily_unavailable", "no room for more grants")
	}
	v.r.Grant = grantName(number)
	text := v.p.mint.write(token{kind: kindCode, owner: number, seq: 1, expires: code.expires})
	return back(OutcomeGranted, url.Values{"code": {text}})
}

// What a person answers on the page of [visit.ask].
const (
	decision      = "decision"
	decisionAllow = "allow"
	decisionDeny  = "deny"
)

// ask shows a person who wants what. The form brings the request back, with what
// the person decides.
func (v *visit) ask(client, user string, scopes []string) answer {
	var b strings.Builder
	title := "Let " + client + " use the account of " + user + "?"
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Demo provider</title>\n<main><h1>%s</h1>\n", html.EscapeString(title))
	if len(scopes) > 0 {
		fmt.Fprintf(&b, "<p>It asks for: %s\n", html.EscapeString(joinScopes(scopes)))
	}
	b.WriteString("<form method=\"get\" action=\"/auth\">\n")
	for _, name := range slices.Sorted(maps.Keys(v.form)) {
		if name != decision {
			fmt.Fprintf(&b, "<input type=\"hidden\" name=\"%s\" value=\"%s\">\n", html.EscapeString(name), html.EscapeString(v.form.Get(name)))
		}
	}
	fmt.Fprintf(&b, "<button name=\"%s\" value=\"%s\">Allow</button> <button name=\"%[1]s\" value=\"%[3]s\">Deny</button>\n</form></main></html>\n", decision, decisionAllow, decisionDeny)
	return answer{
		status: http.StatusOK, outcome: OutcomeDone,
		header: http.Header{"Content-Type": {"text/html; charset=utf-8"}, "Content-Security-Policy": {"default-src 'none'"}, "Cache-Control": {"no-store"}, "Referrer-Policy": {"no-referrer"}},
		body:   []byte(b.String()),
	}
}

// challengeValid says whether c is a SHA-256 in base64url (RFC 7636 section 4.2).
func challengeValid(c string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(c)
	return err == nil && len(raw) == 32
}

// seeOther sends the browser to uri with params added.
func seeOther(uri string, outcome Outcome, params url.Values) answer {
	sep := "?"
	if strings.Contains(uri, "?") {
		sep = "&"
	}
	return answer{
		status:  http.StatusSeeOther,
		outcome: outcome,
		header:  http.Header{"Location": {uri + sep + params.Encode()}, "Cache-Control": {"no-store"}, "Referrer-Policy": {"no-referrer"}},
	}
}

// page says to a person what is wrong.
func page(status int, outcome Outcome, code, text string) answer {
	return answer{
		status: status, outcome: outcome, code: code,
		header: http.Header{"Content-Type": {"text/html; charset=utf-8"}, "Content-Security-Policy": {"default-src 'none'"}},
		body:   []byte("<!doctype html><title>" + html.EscapeString(code) + "</title><h1>" + html.EscapeString(code) + "</h1><p>" + html.EscapeString(text) + "\n"),
	}
}

// issuer is the provider's own address, as it is or as the request names it.
func (p *Provider) issuer(r *http.Request) string {
	if p.o.Issuer != "" {
		return p.o.Issuer
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	return "http://" + host
}

// metadata is RFC 8414, as far as the provider goes.
type metadata struct {
	Issuer             string       `json:"issuer"`
	Authorization      string       `json:"authorization_endpoint"`
	Token              string       `json:"token_endpoint"`
	Revocation         string       `json:"revocation_endpoint"`
	Introspection      string       `json:"introspection_endpoint"`
	Userinfo           string       `json:"userinfo_endpoint"`
	ResponseTypes      []string     `json:"response_types_supported"`
	GrantTypes         []string     `json:"grant_types_supported"`
	ChallengeMethods   []string     `json:"code_challenge_methods_supported"`
	AuthMethods        []AuthMethod `json:"token_endpoint_auth_methods_supported"`
	IssuerInResponse   bool         `json:"authorization_response_iss_parameter_supported"`
	Scopes             []string     `json:"scopes_supported"`
	RevocationMethods  []AuthMethod `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectionAuths []AuthMethod `json:"introspection_endpoint_auth_methods_supported"`
}

// discovery tells where everything is.
func (v *visit) discovery() answer {
	methods := []AuthMethod{AuthBasic, AuthPost, AuthNone}
	return jsonAnswer(http.StatusOK, OutcomeDone, metadata{
		Issuer:             v.issuer,
		Authorization:      v.issuer + "/auth",
		Token:              v.issuer + "/token",
		Revocation:         v.issuer + "/revoke",
		Introspection:      v.issuer + "/introspect",
		Userinfo:           v.issuer + "/api/me",
		ResponseTypes:      []string{"code"},
		GrantTypes:         []string{"authorization_code", "refresh_token", "client_credentials"},
		ChallengeMethods:   []string{"S256"},
		AuthMethods:        methods,
		RevocationMethods:  methods,
		IntrospectionAuths: methods,
		IssuerInResponse:   true,
		Scopes:             []string{"openid", "offline_access", "profile", "email", "api"},
	})
}
