package wire_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/wire"
)

func FuzzAppendStringIsReadBackAsEncodingJSONWould(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"b\\c", "\x00\x1f\n\r\t", "ünï-\u2028", "\xff\xfe", "<&>", strings.Repeat("x", 70000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := wire.AppendString([]byte("x"), s)
		var got, want string
		if err := json.Unmarshal(b[1:], &got); err != nil {
			t.Fatalf("%q became %s: %v", s, b, err)
		}
		plain, _ := json.Marshal(s)
		if err := json.Unmarshal(plain, &want); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%q came back as %q, from encoding/json as %q", s, got, want)
		}
	})
}

func TestTokenShapeDependsOnItsTypeOnly(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 999_999_999, time.FixedZone("", 3600))
	for _, c := range []struct {
		name  string
		token wire.Token
		want  string
	}{
		{"oauth2", wire.Token{Type: "oauth2", AccessToken: "a<b", TokenType: "Bearer", ExpiresAt: wire.At(at), Scopes: []string{"r", "w"}, Generation: 7},
			`{"type":"oauth2","access_token":"a<b","token_type":"Bearer","expires_at":"2026-11-23T11:00:00.999Z","scopes":["r","w"],"generation":7}`},
		{"oauth2, nothing known", wire.Token{Type: "oauth2", AccessToken: "a"},
			`{"type":"oauth2","access_token":"a","token_type":"","expires_at":null,"scopes":[],"generation":0}`},
		{"api key", wire.Token{Type: "api_key", APIKey: "k", Generation: 1},
			`{"type":"api_key","api_key":"k","generation":1}`},
		{"basic", wire.Token{Type: "basic", Username: "u", Password: "p", Generation: 1},
			`{"type":"basic","username":"u","password":"p","generation":1}`},
		{"of a replica", wire.Token{Type: "api_key", APIKey: "k", Generation: 1, Replica: true},
			`{"type":"api_key","api_key":"k","generation":1,"replica":true}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.token.AppendJSON(nil)
			if string(b) != c.want {
				t.Errorf("got  %s\nwant %s", b, c.want)
			}
			var back wire.Token
			if err := json.Unmarshal(b, &back); err != nil || back.Generation != c.token.Generation || back.Replica != c.token.Replica || back.AccessToken != c.token.AccessToken {
				t.Errorf("read back: %+v, %v", back, err)
			}
		})
	}
}

func TestTimeIsUTCOrNull(t *testing.T) {
	far := time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		in   time.Time
		want string
	}{
		{time.Time{}, "null"},
		{far, "null"},
		{time.Unix(0, 1_500_000).In(time.FixedZone("", -7200)), `"1970-01-01T00:00:00.001Z"`},
	} {
		b, err := json.Marshal(wire.At(c.in))
		if err != nil || string(b) != c.want {
			t.Errorf("%v became %s, %v; want %s", c.in, b, err, c.want)
		}
	}
	var back wire.Time
	if err := json.Unmarshal([]byte(`"2026-01-01T02:00:00+02:00"`), &back); err != nil || !back.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%v, %v", back, err)
	}
	for _, bad := range []string{`1`, `"yesterday"`, `"2026-01-01"`, `{}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was taken for a time", bad)
		}
	}
}

func TestSettingsStandBesideTheOtherFields(t *testing.T) {
	in := wire.NewIntegration{
		Provider: "custom", ClientID: "c", ClientSecret: "s", Scopes: []string{"a"}, RedirectURI: "https://x/cb",
		Settings: map[string]json.RawMessage{"token_url": json.RawMessage(`"https://x/t"`), "pkce": json.RawMessage(`"required"`)},
	}
	b, err := json.Marshal(in)
	want := `{"provider":"custom","client_id":"c","client_secret":"s","scopes":["a"],"redirect_uri":"https://x/cb","pkce":"required","token_url":"https://x/t"}`
	if err != nil || string(b) != want {
		t.Fatalf("got  %s, %v\nwant %s", b, err, want)
	}
	var back wire.NewIntegration
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, in) {
		t.Errorf("read back %#v, %v", back, err)
	}
	out := wire.Integration{
		IntegrationInfo: wire.IntegrationInfo{ID: "i", Scopes: []string{}, State: wire.IntegrationOK},
		Settings:        map[string]json.RawMessage{"token_url": json.RawMessage(`"https://x/t"`), "id": json.RawMessage(`"other"`)},
	}
	b, err = json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	var got wire.Integration
	if err := json.Unmarshal(b, &got); err != nil || got.ID != "i" || string(got.Settings["token_url"]) != `"https://x/t"` || len(got.Settings) != 1 {
		t.Errorf("%s read back as %#v, %v", b, got, err)
	}
}

func TestSettingThatIsNotJSONIsRefused(t *testing.T) {
	_, err := json.Marshal(wire.NewIntegration{Provider: "p", Settings: map[string]json.RawMessage{"x": json.RawMessage(`1,"admin":true`)}})
	if err == nil {
		t.Fatal("a setting broke out of its member")
	}
}
