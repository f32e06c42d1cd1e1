package catalog

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
)

// wholeHosts are, by provider, the variables that stand for a whole host which
// the customer runs or names. No pattern could tell which hosts those are, so
// only an integration may set them.
var wholeHosts = map[string]string{
	"auth0": "domain", "aws-cognito": "domain", "bitrix24": "portal", "canvas-lms": "host", "clerk": "host", "frappe": "host",
	"fusionauth": "host", "gitea": "host", "gitlab": "host", "keycloak": "host", "mastodon": "host", "mattermost": "host",
	"nextcloud": "host", "okta": "domain", "zitadel": "host",
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
	if len(list) < 200 {
		t.Errorf("only %d providers", len(list))
	}
	names := map[string]string{}
	for _, p := range list {
		name := strings.ToLower(strings.Join(strings.Fields(p.Name), " "))
		if first, twice := names[name]; twice {
			t.Errorf("%s and %s are both called %s", first, p.ID, p.Name)
		}
		names[name] = p.ID
		if len(p.Categories) == 0 {
			t.Errorf("%s is in no category", p.ID)
		}
	}
}

func TestBuiltInEndPointsAreOnPublicHosts(t *testing.T) {
	for _, p := range builtIn(t) {
		for field, domain := range domains(t, p) {
			if domain == "" {
				t.Errorf("%s: the host of %s is under no public domain", p.ID, field)
			}
		}
	}
}

// domains are, by field, the registered domains of the end points, but for
// those that are all variable and have no value.
func domains(t *testing.T, p Provider) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, u := range p.urls() {
		plain, wrong := p.withoutFacts(u)
		if wrong != "" {
			t.Fatalf("%s: %s %s", p.ID, u.field, wrong)
		}
		filled, missing := fill(plain, p.URLVariables, "xx")
		if missing != "" {
			t.Fatalf("%s: %s has %s", p.ID, u.field, missing)
		}
		parsed, err := url.Parse(filled)
		if err != nil {
			t.Fatalf("%s: %s: %v", p.ID, u.field, err)
		}
		if host := parsed.Hostname(); u.value == "" || host == "xx" || host == "x" || host == "x.example" {
			continue
		}
		if parsed.Scheme != "https" || parsed.Port() != "" {
			t.Errorf("%s: %s is not plain https", p.ID, u.field)
		}
		found[u.field] = registered(parsed.Hostname())
	}
	return found
}

// registered is the domain that somebody registered to have this host; empty
// where there is none. A suffix under which a provider gives each customer a
// name is the provider's own.
func registered(host string) string {
	suffix, icann := publicsuffix.PublicSuffix(host)
	if !icann && strings.Contains(suffix, ".") {
		return suffix
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil || !icann {
		return ""
	}
	return domain
}

// hostile are values with which somebody could try to send a token request,
// and the client's secret with it, to a server of their own.
var hostile = []string{
	"evil.example/", "evil.example/x", "evil.example#", "evil.example?", "evil.example?a=", "evil.example\\", "a@evil.example",
	"evil.example:443", "evil.example:8080/", "//evil.example", "evil.example%2f", "evil.example%23", "evil.example/..", "..", "a..b",
	"evil.example\r\nhost: x", "evil.example\x00", "evil.example ", "\tevil.example", "[::1]", "[::1]/", "{host}", "evil。example", "ｅvil.example",
	"еvil.example", "evil.example.", ".evil.example", "-evil.example", strings.Repeat("a", 300),
}

// foreign are plain values that name a host of somebody else.
var foreign = []string{
	"evil.example", "www.evil.com", "evil.com", "evil.co.uk", "evil", "localhost", "127.0.0.1", "169.254.169.254", "2130706433", "evil.github.io",
	"salesforce.com.evil.example", "evil-salesforce.com", "evilsalesforce.com", "my.salesforce.com.evil.com", "zoho.com.evil.com", "wd2-impl-services1.workday.com.evil.com",
}

func TestNobodyMovesABuiltInEndPointToAnotherDomainByAVariable(t *testing.T) {
	seen, kept := 0, 0
	for _, p := range builtIn(t) {
		before := domains(t, p)
		for _, name := range slices.Sorted(maps.Keys(p.URLVariables)) {
			seen++
			for _, value := range hostile {
				if _, err := p.WithVariables(map[string]string{name: value}); err == nil {
					t.Errorf("%s: the variable %s takes %q", p.ID, name, value)
				}
			}
			for _, value := range foreign {
				with, err := p.WithVariables(map[string]string{name: value})
				if err != nil {
					continue
				}
				if after := domains(t, with); !maps.Equal(before, after) {
					t.Errorf("%s: with %q for %s the end points move from %v to %v", p.ID, value, name, before, after)
				}
				kept++
			}
		}
	}
	if seen < 50 || kept < 50 {
		t.Errorf("only %d variables were tried, and %d values taken", seen, kept)
	}
}

func TestOnlyAnIntegrationSetsTheHostsThatCustomersRun(t *testing.T) {
	list := builtIn(t)
	for _, p := range list {
		for _, name := range slices.Sorted(maps.Keys(p.URLVariables)) {
			loose := p.decidesHost(name) && !p.bounded(name)
			if loose != (wholeHosts[p.ID] == name) {
				t.Errorf("%s: the variable %s chooses any host: %v; if it must, name it in wholeHosts, else give it a pattern or a table", p.ID, name, loose)
			}
		}
	}
	for id := range wholeHosts {
		if !slices.ContainsFunc(list, func(p Provider) bool { return p.ID == id }) {
			t.Errorf("there is no provider %s", id)
		}
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
