package catalog

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/grantd/grantd/credential"
)

// attacks are values with which somebody could try to send secrets to a host of
// their own.
var attacks = map[string]string{
	"a user": "acme@evil.example", "a slash": "evil.example/", "two slashes": "//evil.example", "a fragment": "evil.example#", "a query": "evil.example?",
	"a percent": "evil.example%2f", "a port": "evil.example:8443", "a unicode host": "evıl.example", "a unicode dot": "evil。example",
	"a full-width slash": "evil.example／", "a backslash": `evil.example\`, "dots that leave the domain": "acme..evil.example", "a dot last": "evil.example.",
	"a dot first": ".evil.example", "only dots": "..", "an address": "[::1]", "a scheme": "https://evil.example", "300 bytes": strings.Repeat("a", 300),
	"a line break": "evil\r\nHost: x", "a zero": "evil\x00", "a space": "evil .example", "braces": "{tld}", "a brace": "}",
	"another host": "evil.example", "a name inside": "localhost", "metadata": "169.254.169.254", "a decimal address": "2852039166",
}

// centres has a variable of each kind: a label, a table, a pattern and one that
// is only the operator's.
func centres() Provider {
	return Provider{
		ID: "p", Name: "P",
		TokenURL:      "https://{shop}.p.example.com/token",
		RequestQuirks: RequestQuirks{RefreshURL: "https://accounts.{centre}/token"},
		APIBaseURL:    "https://{domain}/v1",
		DocsURL:       "https://p.example.com/",
		URLVariables:  map[string]string{"shop": "", "centre": "p.com", "domain": "", "own": ""},
	}
}

func TestNoValueFromOutsideMovesAnEndPoint(t *testing.T) {
	p := centres()
	p.IntrospectionURL = "https://{own}/introspect"
	p.URLVariablePatterns = map[string]string{"domain": `(eu|us)[0-9]*\.p\.example\.com`, "shop": `[a-z0-9-]{1,63}`}
	p.VariableValues = map[string]map[string]string{"centre": {"us": "p.com", "eu": "p.eu", "au": "p.com.au"}}
	p.CallbackVariables = map[string]string{"centre": "location", "domain": "host"}
	p.CallbackFacts = map[string]string{"realm_id": "realmId"}
	if bad := check(p); bad != nil {
		t.Fatal(bad.err())
	}
	for what, value := range attacks {
		for _, name := range []string{"shop", "centre", "domain", "own"} {
			raw, _ := json.Marshal(map[string]string{name: value})
			if name == "shop" && what != "a name inside" && what != "a decimal address" || name == "centre" || name == "domain" {
				refused(t, "link or account, "+name+": "+what, value, p.CheckVariables(map[string]string{name: value}))
				_, err := Override(p, map[string]json.RawMessage{"url_variables": raw})
				refused(t, "integration, "+name+": "+what, value, err)
			}
			if name == "own" {
				refused(t, "link or account, "+name+": "+what, value, p.CheckVariables(map[string]string{name: value}))
			}
		}
		for _, parameter := range []string{"location", "host"} {
			_, _, err := p.FromCallback(url.Values{parameter: {value}}.Get)
			refused(t, "callback, "+parameter+": "+what, value, err)
		}
	}
	refused(t, "link, empty", "", p.CheckVariables(map[string]string{"shop": ""}))
	_, _, err := p.FromCallback(url.Values{"realmId": {"a\r\nb"}}.Get)
	refused(t, "callback, a fact with a line break", "", err)
	_, _, err = p.FromCallback(url.Values{"realmId": {strings.Repeat("x", credential.MaxFactValue+1)}}.Get)
	refused(t, "callback, an endless fact", "", err)
}

func refused(t *testing.T, what, value string, err error) {
	t.Helper()
	if !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("%s: %v", what, err)
	} else if len(value) > 3 && strings.Contains(err.Error(), value) {
		t.Errorf("%s: the error shows the value: %v", what, err)
	}
}

func TestTheCallbackTellsTheDataCentreAndFacts(t *testing.T) {
	p := centres()
	p.VariableValues = map[string]map[string]string{"centre": {"us": "p.com", "eu": "p.eu"}}
	p.CallbackVariables = map[string]string{"centre": "location"}
	p.CallbackFacts = map[string]string{"realm_id": "realmId"}
	variables, facts, err := p.FromCallback(url.Values{"location": {"eu"}, "realmId": {"46"}, "code": {"c"}, "state": {"s"}}.Get)
	if err != nil || !maps.Equal(variables, map[string]string{"centre": "p.eu"}) || !maps.Equal(facts, map[string]string{"realm_id": "46"}) {
		t.Fatalf("variables %v, facts %v, %v", variables, facts, err)
	}
	next, err := p.WithVariables(variables)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := next.Fill(next.RefreshURL); err != nil || got != "https://accounts.p.eu/token" {
		t.Errorf("the next end point is %s, %v", got, err)
	}
	if variables, facts, err := p.FromCallback(url.Values{"code": {"c"}}.Get); err != nil || variables != nil || facts != nil {
		t.Errorf("out of nothing came %v and %v, %v", variables, facts, err)
	}
}

func TestTheAPIsAddressIsMadeOfFactsThatFit(t *testing.T) {
	p := Provider{
		APIBaseURL:   "{instance_url}/services/{version}",
		URLVariables: map[string]string{"version": "data"},
		FactRules: FactRules{
			Facts:               map[string]string{"instance_url": "instance_url"},
			URLVariablePatterns: map[string]string{"instance_url": `https://[a-z0-9-]+(\.[a-z0-9-]+)*\.salesforce\.com/?`},
		},
	}
	if bad := check(p); bad != nil {
		t.Fatal(bad.err())
	}
	for value, want := range map[string]string{
		"https://acme.my.salesforce.com":  "https://acme.my.salesforce.com/services/data",
		"https://acme.my.salesforce.com/": "https://acme.my.salesforce.com/services/data",
	} {
		if got, err := p.APIBase(map[string]string{"instance_url": value}); err != nil || got != want {
			t.Errorf("%s gives %s, %v", value, got, err)
		}
	}
	for _, value := range []string{
		"", "https://evil.example", "http://acme.salesforce.com", "https://acme.salesforce.com:8443", "https://acme.salesforce.com@evil.example",
		"https://evil.example/a.salesforce.com", "https://evil.example?a.salesforce.com", "https://evil.example#a.salesforce.com", "acme.salesforce.com",
		"https://acme.salesforce.com/../x", "https://acme..salesforce.com", "https://аcme.salesforce.com", "https://acme.salesforce.com\n",
	} {
		got, err := p.APIBase(map[string]string{"instance_url": value})
		if got != "" {
			t.Errorf("%q gives %s", value, got)
		}
		refused(t, value, value, err)
	}
	// A pattern that leaves the host open is refused when it is loaded, and an
	// override of the check would still not let the path bind the host.
	loose := p.Clone()
	loose.URLVariablePatterns["instance_url"] = `https://.*\.salesforce\.com`
	if got, err := loose.APIBase(map[string]string{"instance_url": "https://evil.example/a.salesforce.com"}); err == nil {
		t.Errorf("the path binds the host: %s", got)
	}
}

func FuzzCallbacksNeverChooseTheHost(f *testing.F) {
	for _, v := range attacks {
		f.Add(v, v)
	}
	f.Fuzz(func(t *testing.T, location, host string) {
		p := centres()
		p.URLVariablePatterns = map[string]string{"domain": `(eu|us)[0-9]*\.p\.example\.com`}
		p.VariableValues = map[string]map[string]string{"centre": {"us": "p.com", "eu": "p.eu"}}
		p.CallbackVariables = map[string]string{"centre": "location", "domain": "host"}
		variables, _, err := p.FromCallback(url.Values{"location": {location}, "host": {host}}.Get)
		if err != nil {
			return
		}
		next, err := p.WithVariables(variables)
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range []string{next.RefreshURL, next.APIBaseURL} {
			filled, err := next.Fill(address)
			if err != nil {
				continue
			}
			u, err := url.Parse(filled)
			if err != nil || u.Host != "accounts.p.com" && u.Host != "accounts.p.eu" && !strings.HasSuffix(u.Host, ".p.example.com") {
				t.Errorf("%q, %q lead to %s", location, host, filled)
			}
		}
	})
}
