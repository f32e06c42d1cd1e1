package catalog

import (
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
)

// own names the variables that stand for a whole host because the customer
// runs the server, or names it, himself. No pattern could tell which hosts
// are his, so only an operator should set them.
var own = map[string]string{
	"auth0": "domain", "aws-cognito": "domain", "frappe": "host", "fusionauth": "host", "gitea": "host",
	"gitlab": "host", "keycloak": "host", "mastodon": "host", "mattermost": "host", "nextcloud": "host",
	"okta": "domain", "zitadel": "host",
}

func builtIn(t *testing.T) []Provider {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c.List()
}

func TestBuiltInCatalogueIsLargeAndNamesEachProviderOnce(t *testing.T) {
	list := builtIn(t)
	if len(list) < 130 {
		t.Errorf("only %d providers", len(list))
	}
	names := map[string]string{}
	for _, p := range list {
		name := strings.ToLower(strings.Join(strings.Fields(p.Name), " "))
		if first, twice := names[name]; twice {
			t.Errorf("%s and %s are both called %s", first, p.ID, p.Name)
		}
		names[name] = p.ID
	}
}

func TestBuiltInEndPointsAreOnPublicHosts(t *testing.T) {
	for _, p := range builtIn(t) {
		for _, u := range p.urls() {
			if u.value == "" || own[p.ID] != "" && strings.Contains(u.value, "//{"+own[p.ID]+"}") {
				continue
			}
			filled, _ := fill(u.value, p.URLVariables, "xx")
			parsed, err := url.Parse(filled)
			if err != nil || parsed.Scheme != "https" || parsed.Port() != "" {
				t.Errorf("%s: %s is not plain https", p.ID, u.field)
				continue
			}
			if strings.HasPrefix(u.value, "https://{") && !strings.Contains(hostOf(u.value), "}.") {
				continue // a whole host, of which the next test sees to it
			}
			suffix, icann := publicsuffix.PublicSuffix(parsed.Hostname())
			if !icann && !strings.Contains(suffix, ".") || suffix == parsed.Hostname() {
				t.Errorf("%s: the host of %s, %s, is under no public domain", p.ID, u.field, parsed.Hostname())
			}
		}
	}
}

// hostOf returns what stands between // and the next / of an end point,
// variables and all.
func hostOf(endpoint string) string {
	_, rest, _ := strings.Cut(endpoint, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// hostile are values with which a customer could try to send a token request,
// and the client's secret with it, to a server of his own.
var hostile = []string{
	"evil.example/", "evil.example/x", "evil.example#", "evil.example?", "evil.example?a=", "evil.example\\", "a@evil.example",
	"evil.example:443", "evil.example:8080/", "//evil.example", "evil.example%2f", "evil.example%23", "evil.example/..", "..", "a..b",
	"evil.example\r\nhost: x", "evil.example\x00", "evil.example ", "\tevil.example", "[::1]", "[::1]/", "{host}", "evil。example", "ｅvil.example",
	"еvil.example", "evil.example.", ".evil.example", "-evil.example", strings.Repeat("a", 300),
}

func TestNoVariableOfABuiltInProviderMovesAnEndPointToAnotherDomain(t *testing.T) {
	seen := 0
	for _, p := range builtIn(t) {
		for _, name := range slices.Sorted(maps.Keys(p.URLVariables)) {
			for _, value := range hostile {
				raw, err := json.Marshal(map[string]string{name: value})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Override(p, map[string]json.RawMessage{"url_variables": raw}); err == nil {
					t.Errorf("%s: the variable %s takes %q", p.ID, name, value)
				}
			}
			seen++
		}
	}
	if seen < 20 {
		t.Errorf("only %d variables were tried", seen)
	}
}

// someonesCode matches a source that is neither the provider's own page or
// repository nor the agreement of several others.
var someonesCode = regexp.MustCompile(`, (MIT|ISC|BSD-3-Clause|Apache-2\.0) \(|one or two repositories`)

func TestEveryBuiltInProviderSaysWhereItsFactsWereLearned(t *testing.T) {
	for _, p := range builtIn(t) {
		if len(p.Sources) == 0 {
			t.Errorf("%s has no source", p.ID)
		}
		for i, s := range p.Sources {
			if slices.Contains(p.Sources[:i], s) {
				t.Errorf("%s names %s twice", p.ID, s)
			}
		}
		if len(p.Sources) == 1 && someonesCode.MatchString(p.Sources[0]) && !p.Unverified {
			t.Errorf("%s rests on one library and is not marked unverified", p.ID)
		}
	}
}
