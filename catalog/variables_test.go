package catalog

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/grantd/grantd/credential"
)

func shop() Provider {
	return Provider{
		AuthorizationURL: "https://{shop}.example.com/authorize", TokenURL: "https://{shop}.example.com/{path}/token",
		APIBaseURL:   "https://api.example.{tld}",
		URLVariables: map[string]string{"shop": "", "path": "v1", "tld": "com"},
	}
}

func TestVariablesOfAnAccountCannotPointElsewhere(t *testing.T) {
	p := shop()
	for name, value := range map[string]string{
		"a user": "acme@evil", "a path": "evil.com/", "a fragment": "evil.com#", "a query": "evil?", "a port": "evil:8443",
		"a unicode host": "acmé", "a unicode dot": "evil。com", "a full-width slash": "evil／x", "empty": "", "a backslash": `evil\`, "percent": "evil%2f",
		"a blank": "a b", "a line break": "a\nb", "dots": "..", "a dot first": ".evil", "brackets": "[::1]", "too long": strings.Repeat("a", 254), "braces": "{path}",
	} {
		if _, err := p.WithVariables(map[string]string{"shop": value}); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		} else if value != "" && value != ".." && strings.Contains(err.Error(), value) {
			t.Errorf("%s: the error shows the value: %v", name, err)
		}
	}
	for name, variables := range map[string]map[string]string{
		"one that the provider does not have": {"nobody": "x"}, "what the domain ends with": {"tld": "evil.com"},
	} {
		if _, err := p.WithVariables(variables); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	with, err := p.WithVariables(map[string]string{"shop": "acme.eu", "path": "v2"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := with.Fill(with.TokenURL); err != nil || got != "https://acme.eu.example.com/v2/token" {
		t.Errorf("token_url is %s, %v", got, err)
	}
	if p.URLVariables["shop"] != "" {
		t.Error("the provider itself was changed")
	}
}

func TestVariablesThatDecideTheHostAreTheIntegrations(t *testing.T) {
	for url, decides := range map[string]bool{
		"https://{x}.example.com/token": false, "https://example.com/{x}/token": false, "https://a{x}.example.com": false, "https://{x}.a.{y}.example.com": false,
		"https://{x}/token": true, "https://example.{x}/token": true, "https://{x}.com/token": true, "https://example.com:{x}/token": true, "https://{x}example.com/token": true,
		"https://{x}.{y}/token": true,
	} {
		p := Provider{TokenURL: url, URLVariables: map[string]string{"x": "", "y": ""}}
		if _, err := p.WithVariables(map[string]string{"x": "acme"}); (err != nil) != decides {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestMissingVariablesAreThoseThatTheFlowNeeds(t *testing.T) {
	p := shop()
	p.URLVariables["tld"] = "" // of the API only
	if got := p.MissingVariables(); len(got) != 1 || got[0] != "shop" {
		t.Errorf("missing: %q", got)
	}
}

// Whatever the value is, the host stays below the provider's own domain.
func FuzzVariablesStayBelowTheProvidersDomain(f *testing.F) {
	for _, v := range []string{"acme", "evil.com/", "a@b", "a:1", "a#", "..", "xn--80ak6aa92e"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, value string) {
		p := shop()
		with, err := p.WithVariables(map[string]string{"shop": value, "path": value})
		if err != nil {
			return
		}
		s, err := with.Fill(with.TokenURL)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" || !strings.HasSuffix(u.Host, ".example.com") || u.User != nil || u.Fragment != "" || u.RawQuery != "" || u.Port() != "" || !strings.HasSuffix(u.Path, "/token") {
			t.Errorf("%q leads to %s", value, s)
		}
	})
}
