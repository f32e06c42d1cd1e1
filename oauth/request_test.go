package oauth

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// wire is a request as a server sees it.
type wireRequest struct {
	*http.Request
	body string
}

// recorder answers every request with a token and keeps it.
func recorder(t *testing.T, seen *wireRequest) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if int64(len(body)) != r.ContentLength {
			t.Errorf("the body has %d bytes and says %d", len(body), r.ContentLength)
		}
		*seen = wireRequest{r, string(body)}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"access_token":"a"}`)), Request: r}, nil
	})
}

func TestRequestsOnTheWire(t *testing.T) {
	refresh := credential.NewSecret("r&=+ /1")
	for _, tc := range []struct {
		name    string
		change  func(*Registration)
		scopes  []string
		basic   string // user:password, form-encoded
		want    map[string]string
		asJSON  bool
		machine bool
	}{
		{
			name: "basic", basic: "the-client:" + clientSecret,
			want: map[string]string{"grant_type": "refresh_token", "refresh_token": "r&=+ /1"},
		},
		{
			name: "odd id and secret", basic: "a%3Ab:%C3%A4+%26",
			change: func(r *Registration) { r.ClientID, r.ClientSecret = "a:b", credential.NewSecret("ä &") },
			want:   map[string]string{"grant_type": "refresh_token", "refresh_token": "r&=+ /1"},
		},
		{
			name: "post and scopes", scopes: []string{"x", "y"},
			change: func(r *Registration) { r.Provider.TokenAuthMethod = catalog.ClientSecretPost },
			want:   map[string]string{"grant_type": "refresh_token", "refresh_token": "r&=+ /1", "scope": "x y", "client_id": "the-client", "client_secret": clientSecret},
		},
		{
			name: "basic without a secret",
			change: func(r *Registration) {
				r.Provider.TokenAuthMethod, r.ClientSecret = catalog.ClientSecretBasic, credential.Secret{}
			},
			want: map[string]string{"grant_type": "refresh_token", "refresh_token": "r&=+ /1", "client_id": "the-client"},
		},
		{
			name: "public, JSON, commas", scopes: []string{"x", "y"}, asJSON: true,
			change: func(r *Registration) {
				r.Provider.TokenAuthMethod, r.Provider.TokenBodyFormat, r.Provider.ScopeSeparator = catalog.NoSecret, catalog.JSONBody, ","
			},
			want: map[string]string{"grant_type": "refresh_token", "refresh_token": "r&=+ /1", "scope": "x,y", "client_id": "the-client"},
		},
		{
			name: "parameters of the catalogue", basic: "the-client:" + clientSecret,
			change: func(r *Registration) {
				r.Provider.TokenParams = map[string]string{"a": "token", "b": "token", "grant_type": "evil"}
				r.Provider.RefreshParams = map[string]string{"b": "refresh", "refresh_token": "evil"}
			},
			want: map[string]string{"grant_type": "refresh_token", "refresh_token": "r&=+ /1", "a": "token", "b": "refresh"},
		},
		{
			name: "client credentials", basic: "the-client:" + clientSecret, machine: true, scopes: []string{"api"},
			change: func(r *Registration) {
				r.Provider.TokenParams = map[string]string{"audience": "x"}
				r.Provider.RefreshParams = map[string]string{"b": "refresh"}
			},
			want: map[string]string{"grant_type": "client_credentials", "audience": "x", "scope": "api"},
		},
		{
			name: "URL variables", basic: "the-client:" + clientSecret,
			change: func(r *Registration) {
				r.Provider.TokenURL, r.Provider.URLVariables = "https://{who}.example/token", map[string]string{"who": "p"}
			},
			want: map[string]string{"grant_type": "refresh_token", "refresh_token": "r&=+ /1"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var seen wireRequest
			c := New(recorder(t, &seen), Options{UserAgent: "grantd/test"})
			reg := registration("https://p.example")
			if tc.change != nil {
				tc.change(&reg)
			}
			var err error
			if tc.machine {
				_, err = c.ClientCredentials(t.Context(), reg, tc.scopes)
			} else {
				_, err = c.Refresh(t.Context(), reg, refresh, tc.scopes)
			}
			if err != nil {
				t.Fatal(err)
			}
			seen.check(t, tc.basic, tc.asJSON, tc.want)
		})
	}
}

func (r wireRequest) check(t *testing.T, basic string, asJSON bool, want map[string]string) {
	t.Helper()
	if r.Method != http.MethodPost || r.URL.String() != "https://p.example/token" || r.Header.Get("Accept") != "application/json" || r.Header.Get("User-Agent") != "grantd/test" {
		t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	user, password, ok := r.BasicAuth()
	if got := user + ":" + password; ok != (basic != "") || ok && got != basic {
		t.Errorf("HTTP Basic is %q, want %q", got, basic)
	}
	got := map[string]string{}
	if asJSON {
		if err := json.Unmarshal([]byte(r.body), &got); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v, %v", err, r.Header)
		}
	} else {
		form, err := url.ParseQuery(r.body)
		if err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			t.Errorf("%v, %v", err, r.Header)
		}
		for name, values := range form {
			got[name] = strings.Join(values, "|")
		}
	}
	if len(got) != len(want) {
		t.Errorf("sent %v, want %v", got, want)
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
}

func TestBadAddressesAreMisconfiguredAndNotShown(t *testing.T) {
	sent := roundTrip(func(*http.Request) (*http.Response, error) { t.Error("a request was sent"); return nil, io.EOF })
	for _, address := range []string{
		"", "/token", "token", "ftp://p.example/hunter2", "https:///hunter2", "https://u:hunter2@p.example/", "https://p.example/%zz/hunter2",
		"https://{who}.example/hunter2", "javascript:hunter2", "http://p.example:hunter2/",
	} {
		reg := registration("https://p.example")
		reg.Provider.TokenURL = address
		_, err := New(sent, Options{}).Refresh(t.Context(), reg, credential.NewSecret("r"), nil)
		f := wantFailure(t, err, credential.Misconfigured, "bad_token_url", false)
		if strings.Contains(f.Error(), "hunter2") {
			t.Errorf("%q: %q shows the address", address, f)
		}
	}
}
