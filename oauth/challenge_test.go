package oauth

import (
	"maps"
	"net/http"
	"strings"
	"testing"
)

func TestChallengesAreRead(t *testing.T) {
	const place = "https://mcp.example.com/.well-known/oauth-protected-resource"
	for _, c := range []struct {
		name   string
		fields []string
		want   []demand
	}{
		{"none", nil, nil},
		{"empty", []string{"", " , ,"}, nil},
		{"scheme alone", []string{"Bearer"}, []demand{{"Bearer", nil}}},
		{"of an MCP server", []string{`Bearer resource_metadata="` + place + `", scope="files:read  files:write"`},
			[]demand{{"Bearer", map[string]string{"resource_metadata": place, "scope": "files:read  files:write"}}}},
		{"no quotes", []string{"Bearer resource_metadata=" + place + ",scope=a"}, []demand{{"Bearer", map[string]string{"resource_metadata": place, "scope": "a"}}}},
		{"several in one field", []string{`Basic realm="a, b=c", DPoP algs="ES256" , Bearer error=invalid_token`}, []demand{
			{"Basic", map[string]string{"realm": "a, b=c"}}, {"DPoP", map[string]string{"algs": "ES256"}}, {"Bearer", map[string]string{"error": "invalid_token"}}}},
		{"several fields", []string{"Negotiate", "bearer Scope = \"x\""}, []demand{{"Negotiate", nil}, {"bearer", map[string]string{"scope": "x"}}}},
		{"token68", []string{"Negotiate YWJj==, Bearer scope=x"}, []demand{{"Negotiate", map[string]string{"ywjj": ""}}, {"Bearer", map[string]string{"scope": "x"}}}},
		{"escapes", []string{`Bearer realm="a\"b\\"`}, []demand{{"Bearer", map[string]string{"realm": `a"b\`}}}},
		{"no end", []string{`Bearer scope="a`}, []demand{{"Bearer", map[string]string{"scope": ""}}}},
		{"the first of two counts", []string{`Bearer scope=a, scope=b`}, []demand{{"Bearer", map[string]string{"scope": "a"}}}},
		{"nonsense", []string{`"quoted" =`, "\x00"}, nil},
	} {
		got := challenges(http.Header{"Www-Authenticate": c.fields})
		if len(got) != len(c.want) {
			t.Errorf("%s: %v", c.name, got)
			continue
		}
		for i := range got {
			if got[i].scheme != c.want[i].scheme || !maps.Equal(got[i].params, c.want[i].params) {
				t.Errorf("%s: %v, want %v", c.name, got[i], c.want[i])
			}
		}
	}
}

func TestChallengesAreBounded(t *testing.T) {
	got := challenges(http.Header{"Www-Authenticate": {strings.Repeat("Bearer a=b,", 5000), strings.Repeat("a", 50000)}})
	if len(got) > maxChallenges {
		t.Errorf("%d challenges", len(got))
	}
	many := "Bearer "
	for i := range 1000 {
		many += strings.Repeat("x", i%60+1) + "=1,"
	}
	for _, c := range challenges(http.Header{"Www-Authenticate": {many}}) {
		if len(c.params) > maxChallengeParams {
			t.Errorf("%d parameters", len(c.params))
		}
	}
}

func FuzzChallenges(f *testing.F) {
	for _, s := range []string{`Bearer a="b", c=d`, "Negotiate YWJj==", `Basic realm="\`, "=,=", "a b c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range challenges(http.Header{"Www-Authenticate": {s}}) {
			if c.scheme == "" || strings.ContainsAny(c.scheme, " ,\"=") {
				t.Errorf("scheme %q of %q", c.scheme, s)
			}
			for name := range c.params {
				if name == "" || name != strings.ToLower(name) {
					t.Errorf("parameter %q of %q", name, s)
				}
			}
		}
	})
}
