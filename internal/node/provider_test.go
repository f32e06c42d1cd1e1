package node

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/mcp"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
)

// hosts answers every request with a token, and notes where it went.
type hosts struct{ asked []string }

// RoundTrip implements http.RoundTripper.
func (h *hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	h.asked = append(h.asked, r.URL.String())
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"access_token": "a", "token_type": "bearer"}`)),
	}, nil
}

func newProvider(t *testing.T, h *hosts) (*provider, integrations) {
	t.Helper()
	facts, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	kek, err := envelope.OpenKEK("file://"+t.TempDir()+"/kek.json", true)
	if err != nil {
		t.Fatal(err)
	}
	kv := &registrytest.KV{}
	r, err := registry.Open(registry.Config{KV: kv, Catalog: facts, Sealer: envelope.New(kek, registry.Keysets{KV: kv}), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	_, _, err = r.PutIntegration(t.Context(), "shops", registry.IntegrationSpec{
		Provider: catalog.Custom, ClientID: "c", Overrides: map[string]json.RawMessage{
			"token_url": json.RawMessage(`"https://{shop}.example.com/token"`), "revocation_url": json.RawMessage(`"https://{shop}.example.com/revoke"`),
			"url_variables": json.RawMessage(`{"shop": ""}`),
		},
	}, credential.NewSecret("s"))
	if err != nil {
		t.Fatal(err)
	}
	client := oauth.New(h, oauth.Options{})
	keeper := mcp.New(mcp.Config{Protocol: client, Registry: r, PublicURL: "https://grants.example.com", Leading: func() bool { return true }, Logger: slog.New(slog.DiscardHandler)})
	return &provider{r, client, keeper}, integrations{r}
}

func TestEachAccountIsRefreshedAtItsOwnEndPoints(t *testing.T) {
	h := &hosts{}
	p, _ := newProvider(t, h)
	for _, shop := range []string{"acme", "other"} {
		r := credential.TokenRequest{
			Integration: "shops", Kind: credential.KindOAuth2, RefreshToken: credential.NewSecret("r"), AccessToken: credential.NewSecret("a"),
			Variables: map[string]string{"shop": shop},
		}
		if _, err := p.Refresh(t.Context(), r); err != nil {
			t.Error(err)
		}
		if err := p.Revoke(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"https://acme.example.com/token", "https://acme.example.com/revoke", "https://acme.example.com/revoke",
		"https://other.example.com/token", "https://other.example.com/revoke", "https://other.example.com/revoke",
	}
	if !slices.Equal(h.asked, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(h.asked, "\n"), strings.Join(want, "\n"))
	}
}

func TestVariablesThatDoNotFitAnyMoreSendNothingAndBlameNoIntegration(t *testing.T) {
	h := &hosts{}
	p, _ := newProvider(t, h)
	for _, v := range []string{"evil.com/", "a@evil", "a:1", "a#", "évil"} {
		_, err := p.Refresh(t.Context(), credential.TokenRequest{
			Integration: "shops", Kind: credential.KindOAuth2, RefreshToken: credential.NewSecret("r"), Variables: map[string]string{"shop": v},
		})
		if f, ok := errors.AsType[*credential.Failure](err); !ok || f.Class != credential.Transient || f.Code != "bad_variables" {
			t.Errorf("%q: %v", v, err)
		}
	}
	if len(h.asked) > 0 {
		t.Errorf("asked %v", h.asked)
	}
}

func TestAnAccountBringsTheVariablesThatTheIntegrationLacks(t *testing.T) {
	_, ints := newProvider(t, &hosts{})
	in, ok := ints.Lookup("shops")
	if !ok {
		t.Fatal("no integration")
	}
	if err := in.CheckVariables(credential.KindOAuth2, nil); !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), "shop") {
		t.Errorf("none: %v", err)
	}
	if err := in.CheckVariables(credential.KindAPIKey, nil); err != nil {
		t.Errorf("none, and no token end point is needed: %v", err)
	}
	if err := in.CheckVariables(credential.KindOAuth2, map[string]string{"shop": "acme"}); err != nil {
		t.Error(err)
	}
	if err := in.CheckVariables(credential.KindOAuth2, map[string]string{"shop": "acme", "other": "x"}); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("one too many: %v", err)
	}
}
