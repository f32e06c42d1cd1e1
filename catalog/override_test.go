package catalog

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

func equal(a, b Provider) bool { return reflect.DeepEqual(a, b) }

func settings(pairs ...string) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return m
}

func base(t *testing.T) Provider {
	t.Helper()
	c, err := readOne(goodFile)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := c.Get("p")
	return p
}

func TestOverrideReplacesWhatItNamesAndNothingElse(t *testing.T) {
	before := base(t)
	after, err := Override(before, settings(
		"token_url", `"https://other.example/token"`,
		"refresh_rotation", `"rotating"`,
		"refresh_reuse_grace_seconds", `30`,
		"access_token_lifetime_seconds", `null`,
		"terminal_errors", `["gone"]`,
		"refresh_params", `null`,
		"url_variables", `{"path_1":"v2"}`,
		"rate_limit", `{"burst":7}`,
	))
	if err != nil {
		t.Fatal(err)
	}
	want := base(t)
	want.TokenURL = "https://other.example/token"
	want.RefreshRotation, want.RefreshReuseGrace = Rotating, 30*time.Second
	want.AccessTokenLifetime = 0
	want.TerminalErrors = []string{"gone"}
	want.RefreshParams = nil
	want.URLVariables = map[string]string{"host": "auth.p.example", "path_1": "v2", "dc": ""}
	want.RateLimit = RateLimit{Burst: 7}
	if !equal(after, want) {
		t.Errorf("got  %+v\nwant %+v", after, want)
	}
	if !equal(before, base(t)) {
		t.Error("the catalogue's own entry was changed")
	}
}

func TestOverrideNamesWhatIsWrong(t *testing.T) {
	cases := []struct{ name, value, text string }{
		{"tokn_url", `"x"`, "did you mean token_url?"},
		{"color", `"x"`, "known are authorization_url"},
		{"id", `"x"`, "cannot be replaced"},
		{"sources", `[]`, "cannot be replaced"},
		{"unverified", `false`, "cannot be replaced"},
		{"token_url", `7`, "must be text"},
		{"token_url", `"http://example.com/"`, "https://"},
		{"token_url", `"https://{y}/"`, `{y}`},
		{"token_url", `"http://169.254.169.254/"`, "https://"},
		{"pkce", `true`, "must be text"},
		{"refresh_token_idle_seconds", `"60"`, "whole number"},
		{"refresh_token_idle_seconds", `1e300`, "whole number"},
		{"token_params", `{"client_secret":"s3cr3t-value"}`, "set by the protocol"},
		{"token_auth_method", `"digest"`, "client_secret_basic"},
		{"url_variables", `{"host":"a/b"}`, "host name"},
		{"url_variables", `{"Host":"a"}`, "lower-case"},
	}
	for _, tc := range cases {
		t.Run(tc.name+" "+tc.value, func(t *testing.T) {
			_, err := Override(base(t), settings(tc.name, tc.value))
			var fe *FieldError
			if !errors.As(err, &fe) || !errors.Is(err, credential.ErrInvalid) {
				t.Fatalf("%v is no FieldError and ErrInvalid", err)
			}
			if fe.Field != tc.name || !strings.Contains(fe.Text, tc.text) {
				t.Errorf("%v should name %s and say %q", err, tc.name, tc.text)
			}
			if strings.Contains(err.Error(), "s3cr3t-value") {
				t.Errorf("%v shows a value", err)
			}
		})
	}
}

func TestCustomProviderIsMadeOfOverrides(t *testing.T) {
	var c Catalog
	p, _ := c.Get(Custom)
	p, err := Override(p, settings("token_url", `"http://127.0.0.1:8421/token"`, "token_auth_method", `"client_secret_post"`))
	if err != nil {
		t.Fatal(err)
	}
	if p.TokenURL != "http://127.0.0.1:8421/token" || p.TokenAuthMethod != ClientSecretPost {
		t.Errorf("%+v", p)
	}
}

func TestFillNeedsAValueForEveryVariable(t *testing.T) {
	p := base(t)
	if got, err := p.Fill(p.TokenURL); err != nil || got != "https://auth.p.example/token" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := p.Fill(p.APIBaseURL); !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), "{path_1}") {
		t.Errorf("%v should be ErrInvalid and name path_1", err)
	}
	for _, text := range []string{"https://{", "https://{a", "https://{}", "https://{unknown}/"} {
		if got, err := p.Fill(text); err == nil {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func FuzzOverrideResultsAreChecked(f *testing.F) {
	f.Add("token_url", `"https://x.example/"`)
	f.Add("url_variables", `{"host":"a.b"}`)
	f.Add("rate_limit", `{"burst":1}`)
	f.Fuzz(func(t *testing.T, name, value string) {
		p, err := Override(Provider{ID: Custom}, settings(name, value))
		if err != nil {
			return
		}
		if bad := check(p); bad != nil {
			t.Fatalf("accepted, yet %v", bad.err())
		}
		for _, u := range p.urls() {
			if filled, err := p.Fill(u.value); err == nil && filled != "" && wrongURL(filled) != "" {
				t.Fatalf("%s: %q became %q, which is no good URL", u.field, u.value, filled)
			}
		}
	})
}
