package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

const ourRedirect = "https://grants.example.com/callback"

func ourClient() ClientMetadata {
	return ClientMetadata{Name: "Acme", RedirectURIs: []string{ourRedirect}, GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"}, AuthMethod: "none"}
}

func TestClientIsRegisteredAsTheServerSays(t *testing.T) {
	ends := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	for _, c := range []struct {
		answer string
		want   Registered
	}{
		{`{"client_id":"c"}`, Registered{ClientID: "c", AuthMethod: catalog.NoSecret}},
		{`{"client_id":"c","token_endpoint_auth_method":"none","redirect_uris":["` + ourRedirect + `"],"grant_types":["authorization_code"]}`, Registered{ClientID: "c", AuthMethod: catalog.NoSecret}},
		{`{"client_id":"c","client_secret":"s","client_secret_expires_at":0}`, Registered{ClientID: "c", AuthMethod: catalog.ClientSecretBasic, Secret: credential.NewSecret("s")}},
		{`{"client_id":"c","client_secret":"s","client_secret_expires_at":` + fmt.Sprint(ends.Unix()) + `,"token_endpoint_auth_method":"client_secret_post"}`,
			Registered{ClientID: "c", AuthMethod: catalog.ClientSecretPost, Secret: credential.NewSecret("s"), SecretEnds: ends}},
		{`{"client_id":"c","client_secret":"unused","token_endpoint_auth_method":"none"}`, Registered{ClientID: "c", AuthMethod: catalog.NoSecret}},
		{`{"client_id":"c","registration_access_token":"t","registration_client_uri":"https://as.example/register/c"}`,
			Registered{ClientID: "c", AuthMethod: catalog.NoSecret, ManageURL: "https://as.example/register/c", ManageToken: credential.NewSecret("t")}},
		{`{"client_id":"c","registration_access_token":"t","registration_client_uri":"ftp://as.example/"}`, Registered{ClientID: "c", AuthMethod: catalog.NoSecret}},
	} {
		s := newSite(t)
		s.handle["POST /register"] = func(w http.ResponseWriter, r *http.Request) {
			var got map[string]any
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil || got["client_name"] != "Acme" || r.Header.Get("Content-Type") != "application/json" || got["client_id"] != nil {
				t.Errorf("sent %v, %v", got, err)
			}
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, c.answer)
		}
		got, err := local(t).Register(t.Context(), s.URL+"/register", ourClient())
		if err != nil || got.Secret.Reveal() != c.want.Secret.Reveal() || got.ManageToken.Reveal() != c.want.ManageToken.Reveal() {
			t.Errorf("%s: %v", c.answer, err)
		}
		got.Secret, got.ManageToken, c.want.Secret, c.want.ManageToken = credential.Secret{}, credential.Secret{}, credential.Secret{}, credential.Secret{}
		if got != c.want {
			t.Errorf("%s: %+v", c.answer, got)
		}
	}
}

func TestBadRegistrationsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		answer string
		code   string
		class  credential.Class
	}{
		"garbage":              {201, "<html>welcome", "bad_registration", credential.Misconfigured},
		"endless":              {201, `{"client_id":"` + strings.Repeat("x", 2<<20), "bad_registration", credential.Misconfigured},
		"no client_id":         {201, `{}`, "bad_registration", credential.Misconfigured},
		"line in client_id":    {201, `{"client_id":"a\nb"}`, "bad_registration", credential.Misconfigured},
		"line in the secret":   {201, `{"client_id":"a","client_secret":"a\r\nb"}`, "bad_registration", credential.Misconfigured},
		"long client_id":       {201, `{"client_id":"` + strings.Repeat("x", 3000) + `"}`, "bad_registration", credential.Misconfigured},
		"another redirect_uri": {201, `{"client_id":"c","redirect_uris":["https://evil.example/callback"]}`, "bad_registration", credential.Misconfigured},
		"one more":             {201, `{"client_id":"c","redirect_uris":["` + ourRedirect + `","https://evil.example/callback"]}`, "bad_registration", credential.Misconfigured},
		"other grant types":    {201, `{"client_id":"c","grant_types":["password"]}`, "bad_registration", credential.Misconfigured},
		"no secret":            {201, `{"client_id":"c","token_endpoint_auth_method":"client_secret_basic"}`, "bad_registration", credential.Misconfigured},
		"another's key":        {201, `{"client_id":"c","token_endpoint_auth_method":"private_key_jwt"}`, "bad_registration", credential.Misconfigured},
		"unknown method":       {201, `{"client_id":"c","token_endpoint_auth_method":"magic"}`, "bad_registration", credential.Misconfigured},
		"expired secret":       {201, `{"client_id":"c","client_secret":"s","client_secret_expires_at":1}`, "bad_registration", credential.Misconfigured},
		"refused":              {400, `{"error":"invalid_redirect_uri"}`, "invalid_redirect_uri", credential.Unrecognised},
		"down":                 {503, `{"error":"temporarily_unavailable"}`, "temporarily_unavailable", credential.Transient},
	} {
		s := newSite(t)
		s.handle["POST /register"] = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.answer)
		}
		got, err := local(t).Register(t.Context(), s.URL+"/register", ourClient())
		if f, ok := errors.AsType[*credential.Failure](err); !ok || f.Code != c.code || f.Class != c.class {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestRegistrationIsReadAgain(t *testing.T) {
	for name, c := range map[string]struct {
		status       int
		answer, code string
	}{
		"as it was":      {200, `{"client_id":"c","client_secret":"new"}`, ""},
		"another client": {200, `{"client_id":"d"}`, "bad_registration"},
		"gone":           {401, `{"error":"invalid_token"}`, CodeClientGone},
		"not found":      {404, ``, CodeClientGone},
		"down":           {500, ``, "http_500"},
	} {
		presented := ""
		s := newSite(t)
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			presented = r.Method + " " + r.Header.Get("Authorization")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.answer)
		})
		old := Registered{ClientID: "c", ManageURL: s.URL + "/c", ManageToken: credential.NewSecret("manage")}
		got, err := local(t).ReadRegistration(t.Context(), old, ourClient())
		f, _ := errors.AsType[*credential.Failure](err)
		if presented != "GET Bearer manage" || (c.code == "") != (err == nil) || f != nil && f.Code != c.code {
			t.Errorf("%s: %+v, %v; presented %s", name, got, err, presented)
		}
		if err == nil && (got.Secret.Reveal() != "new" || got.ManageURL != old.ManageURL || got.ManageToken.Reveal() != "manage") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
