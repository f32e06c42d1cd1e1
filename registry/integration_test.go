package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
)

func TestIntegrationIsReadBackWithItsFacts(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	in, created, err := r.PutIntegration(t.Context(), "crm", spec(), credential.NewSecret("hunter2-hunter2"))
	if err != nil || !created || in.Version != 1 {
		t.Fatalf("put: %+v, %v, %v", in, created, err)
	}
	got, ok := r.Integration("crm")
	if !ok || got.Facts.TokenURL != "https://idp.example.com/token" || !got.HasSecret {
		t.Fatalf("read back: %+v", got)
	}
	if secret, err := r.ClientSecret(t.Context(), got); err != nil || secret.Reveal() != "hunter2-hunter2" {
		t.Errorf("client secret: %v", err)
	}
	err = kv.Scan("", func(key string, value []byte, _ uint64) error {
		if strings.Contains(string(value), "hunter2") {
			t.Errorf("%s holds the secret in plaintext", key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEditingKeepsTheSecretAndMends(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	ctx := t.Context()
	if _, _, err := r.PutIntegration(ctx, "crm", spec(), credential.NewSecret("hunter2")); err != nil {
		t.Fatal(err)
	}
	if err := r.MarkBroken(ctx, "crm", 1, "invalid_client"); err != nil {
		t.Fatal(err)
	}
	if in, _ := r.Integration("crm"); !in.Broken || in.Reason != "invalid_client" || in.Since.IsZero() {
		t.Fatalf("after MarkBroken: %+v", in)
	}
	in, created, err := r.PutIntegration(ctx, "crm", spec(), credential.Secret{})
	if err != nil || created || in.Broken || in.Version != 2 {
		t.Errorf("after the edit: %+v, %v, %v", in, created, err)
	}
	if secret, err := r.ClientSecret(ctx, in); err != nil || secret.Reveal() != "hunter2" {
		t.Errorf("the secret was lost in the edit: %v", err)
	}
	if err := r.MarkBroken(ctx, "crm", 1, "late"); err != nil {
		t.Fatal(err)
	}
	if in, _ := r.Integration("crm"); in.Broken {
		t.Error("a failure of the version before marked the new one")
	}
	if err := r.MarkBroken(ctx, "crm", 2, "again"); err != nil {
		t.Fatal(err)
	}
	if err := r.MarkRecovered(ctx, "crm", 2); err != nil {
		t.Fatal(err)
	}
	if in, _ := r.Integration("crm"); in.Broken || in.Reason != "" || !in.Since.IsZero() {
		t.Errorf("not recovered: %+v", in)
	}
}

func TestEachChangeOfHealthIsToldOnceWithTheMark(t *testing.T) {
	var refuse bool
	kv, ctx := &registrytest.KV{Before: func(string) error {
		if refuse {
			return credential.ErrNoQuorum
		}
		return nil
	}}, t.Context()
	r, other := open(t, kv, nil), open(t, kv, nil)
	if _, _, err := r.PutIntegration(ctx, "crm", spec(), credential.Secret{}); err != nil {
		t.Fatal(err)
	}
	edit := func() error { _, _, err := other.PutIntegration(ctx, "crm", spec(), credential.Secret{}); return err }
	for _, c := range []struct {
		what   string
		fn     func() error
		want   credential.EventType // empty: none
		reason string
	}{
		{"edited while well", edit, "", ""},
		{"recovered while well", func() error { return r.MarkRecovered(ctx, "crm", 2) }, "", ""},
		{"broken", func() error { return r.MarkBroken(ctx, "crm", 2, "invalid_client") }, credential.EventMisconfigured, "invalid_client"},
		{"broken again", func() error { return r.MarkBroken(ctx, "crm", 2, "unauthorized_client") }, "", ""},
		{"broken, says another node", func() error { return other.MarkBroken(ctx, "crm", 2, "invalid_client") }, "", ""},
		{"recovered", func() error { return other.MarkRecovered(ctx, "crm", 2) }, credential.EventRecovered, ""},
		{"recovered again", func() error { return r.MarkRecovered(ctx, "crm", 2) }, "", ""},
		{"broken, of the version before", func() error { return r.MarkBroken(ctx, "crm", 1, "late") }, "", ""},
		{"broken anew", func() error { return r.MarkBroken(ctx, "crm", 2, "invalid_client") }, credential.EventMisconfigured, "invalid_client"},
		{"edited while broken", edit, credential.EventRecovered, "edited"},
		{"not there", func() error { return r.MarkBroken(ctx, "nosuch", 1, "invalid_client") }, "", ""},
	} {
		before := len(kv.Events())
		if err := c.fn(); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		got := kv.Events()[before:]
		if c.want == "" {
			if len(got) != 0 {
				t.Errorf("%s: told %+v", c.what, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Type != c.want || got[0].Integration != "crm" || got[0].Reason != c.reason || got[0].Ref != (credential.Ref{}) || got[0].ID == "" || got[0].At.IsZero() {
			t.Errorf("%s: told %+v", c.what, got)
		}
	}
	// What cannot be written is not told.
	refuse = true
	before := len(kv.Events())
	if err := r.MarkBroken(ctx, "crm", 3, "invalid_client"); !errors.Is(err, credential.ErrNoQuorum) {
		t.Errorf("without a quorum: %v", err)
	}
	if got := kv.Events()[before:]; len(got) != 0 {
		t.Errorf("told of what was not written: %+v", got)
	}
}

func TestEmittedEventsGetWhatTheyLack(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	whole := credential.Event{ID: "e1", Type: "link:denied", Ref: credential.Ref{Tenant: "acme"}, At: at, Integration: "crm"}
	if err := r.Emit(t.Context(), whole, credential.Event{Type: "link:failed"}); err != nil {
		t.Fatal(err)
	}
	got := kv.Events()
	if len(got) != 2 || got[0] != whole || got[1].ID == "" || got[1].At.IsZero() {
		t.Errorf("emitted %+v", got)
	}
}

func TestBadIntegrationIsRefusedAndChangesNothing(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	for name, change := range map[string]func(*registry.IntegrationSpec){
		"unknown provider": func(s *registry.IntegrationSpec) { s.Provider = "nosuch" },
		"no client id":     func(s *registry.IntegrationSpec) { s.ClientID = "" },
		"no token url":     func(s *registry.IntegrationSpec) { s.Overrides = nil },
		"plain http": func(s *registry.IntegrationSpec) {
			s.Overrides["token_url"] = json.RawMessage(`"http://idp.example.com/token"`)
		},
		"unknown field":     func(s *registry.IntegrationSpec) { s.Overrides["tokenurl"] = json.RawMessage(`"x"`) },
		"wrong type":        func(s *registry.IntegrationSpec) { s.Overrides["token_url"] = json.RawMessage(`7`) },
		"scope with space":  func(s *registry.IntegrationSpec) { s.Scopes = []string{"a b"} },
		"long scope":        func(s *registry.IntegrationSpec) { s.Scopes = []string{strings.Repeat("s", 1000)} },
		"many scopes":       func(s *registry.IntegrationSpec) { s.Scopes = slices.Repeat([]string{"s"}, 1000) },
		"odd client id":     func(s *registry.IntegrationSpec) { s.ClientID = "a\nb" },
		"relative redirect": func(s *registry.IntegrationSpec) { s.RedirectURI = "/callback" },
		"script redirect":   func(s *registry.IntegrationSpec) { s.RedirectURI = "javascript:alert(1)" },
		"redirect fragment": func(s *registry.IntegrationSpec) { s.RedirectURI = "https://a.example/#x" },
		"variable that nobody named": func(s *registry.IntegrationSpec) {
			s.Overrides["token_url"] = json.RawMessage(`"https://{shop}.example.com/token"`)
		},
		"long display name":   func(s *registry.IntegrationSpec) { s.DisplayName = strings.Repeat("x", 129) },
		"odd display name":    func(s *registry.IntegrationSpec) { s.DisplayName = "a\nb" },
		"odd description":     func(s *registry.IntegrationSpec) { s.ScopeDescriptions = map[string]string{"read": "a\x00"} },
		"origin with a path":  func(s *registry.IntegrationSpec) { s.ReturnOrigins = []string{"https://a.example/x"} },
		"origin with a slash": func(s *registry.IntegrationSpec) { s.ReturnOrigins = []string{"https://a.example/"} },
		"origin over http":    func(s *registry.IntegrationSpec) { s.ReturnOrigins = []string{"http://a.example"} },
		"origin of a script":  func(s *registry.IntegrationSpec) { s.ReturnOrigins = []string{"javascript:x"} },
		"origin in capitals":  func(s *registry.IntegrationSpec) { s.ReturnOrigins = []string{"https://A.example"} },
		"origin's usual port": func(s *registry.IntegrationSpec) { s.ReturnOrigins = []string{"https://a.example:443"} },
		"origin with a user":  func(s *registry.IntegrationSpec) { s.ReturnOrigins = []string{"https://u@a.example"} },
		"every origin":        func(s *registry.IntegrationSpec) { s.ReturnOrigins = []string{"*"} },
		"more than fits": func(s *registry.IntegrationSpec) {
			s.Scopes = slices.Repeat([]string{strings.Repeat("s", 500)}, 200)
		},
	} {
		s := spec()
		change(&s)
		_, _, err := r.PutIntegration(t.Context(), "crm", s, credential.Secret{})
		if !errors.Is(err, credential.ErrInvalid) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := credential.NewSecret(strings.Repeat("hunter2", 10_000))
	if _, _, err := r.PutIntegration(t.Context(), "crm", spec(), long); !errors.Is(err, credential.ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("long secret: %v", err)
	}
	if _, _, err := r.PutIntegration(t.Context(), "a/b", spec(), credential.Secret{}); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("bad id: %v", err)
	}
	if all := r.Integrations(); len(all) != 0 {
		t.Errorf("left behind: %+v", all)
	}
}

func TestSecretOfOneVersionIsNotAnothers(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	for _, secret := range []string{"first", "second"} {
		if _, _, err := r.PutIntegration(t.Context(), "crm", spec(), credential.NewSecret(secret)); err != nil {
			t.Fatal(err)
		}
	}
	value, rev, err := kv.Get("integration/crm")
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func() error{
		"another integration's": func() error { _, err := kv.Put(t.Context(), "integration/erp", 0, value); return err },
		"another version's": func() error {
			_, err := kv.Put(t.Context(), "integration/crm", rev, bytes.Replace(value, []byte(`"secret_version":2`), []byte(`"secret_version":1`), 1))
			return err
		},
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		again := open(t, kv, nil)
		for _, in := range again.Integrations() {
			if in.ID == "crm" && name == "another integration's" {
				continue
			}
			if _, err := r.ClientSecret(t.Context(), in); !errors.Is(err, credential.ErrSealed) {
				t.Errorf("%s secret was opened for %s: %v", name, in.ID, err)
			}
		}
	}
}

func TestEditThatLosesARaceIsComputedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var other *registry.Registry
		races := 3
		kv := &registrytest.KV{}
		kv.Before = func(key string) error {
			if races > 0 && other != nil && key == "integration/crm" {
				races--
				o := other
				other = nil // its own write is not disturbed
				defer func() { other = o }()
				_, _, err := o.PutIntegration(t.Context(), "crm", spec(), credential.Secret{})
				return err
			}
			return nil
		}
		r := open(t, kv, nil)
		if _, _, err := r.PutIntegration(t.Context(), "crm", spec(), credential.Secret{}); err != nil {
			t.Fatal(err)
		}
		other = open(t, kv, nil)
		in, created, err := r.PutIntegration(t.Context(), "crm", spec(), credential.Secret{})
		if err != nil || created || in.Version != 5 {
			t.Errorf("version %d, created %v, %v; want 5: three others came first", in.Version, created, err)
		}
		if got, _ := r.Integration("crm"); got.Version != 5 {
			t.Errorf("its own write is not read back: version %d", got.Version)
		}
	})
}

func TestEditThatAlwaysLosesGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writes := 0
		kv := &registrytest.KV{Before: func(string) error { writes++; return credential.ErrConflict }}
		r := open(t, kv, nil)
		began := time.Now()
		if _, _, err := r.PutIntegration(t.Context(), "crm", spec(), credential.Secret{}); !errors.Is(err, credential.ErrConflict) {
			t.Error(err)
		}
		if took := time.Since(began); writes > 20 || took < time.Second || took > 20*time.Second {
			t.Errorf("%d writes in %v", writes, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began = time.Now()
		if _, _, err := r.PutIntegration(ctx, "crm", spec(), credential.Secret{}); err == nil || time.Since(began) > 50*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestIntegrationThatFitsTheCatalogueNoMoreIsShownAsBroken(t *testing.T) {
	kv := &registrytest.KV{}
	old := `{"provider":"gone","client_id":"c","version":3,"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-02T00:00:00Z"}`
	for id, value := range map[string]string{"crm": old, "bad": "{"} {
		if _, err := kv.Put(t.Context(), "integration/"+id, 0, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	_, rev, err := kv.Get("integration/crm")
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, kv, nil)
	in, ok := r.Integration("crm")
	if !ok || !in.Broken || !strings.Contains(in.Reason, "provider") || in.Since.IsZero() {
		t.Fatalf("shown as %+v", in)
	}
	if err := r.MarkRecovered(t.Context(), "crm", 3); err != nil {
		t.Fatal(err)
	}
	if _, again, _ := kv.Get("integration/crm"); again != rev {
		t.Error("what is broken in this build only was written for all")
	}
	if in, _, err := r.PutIntegration(t.Context(), "crm", spec(), credential.Secret{}); err != nil || in.Broken || in.Version != 4 {
		t.Errorf("editing does not mend it: %+v, %v", in, err)
	}
	if _, ok := r.Integration("bad"); ok {
		t.Error("a damaged record is shown")
	}
	if err := r.DeleteIntegration(t.Context(), "bad"); err != nil {
		t.Errorf("a damaged record cannot be deleted: %v", err)
	}
}

func TestFieldsOfANewerVersionSurviveAnEdit(t *testing.T) {
	kv, ctx := &registrytest.KV{}, t.Context()
	newer := `{"provider":"custom","client_id":"c","overrides":{"token_url":"https://idp.example.com/token"},"version":1,"tls_names":["a","b"],"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-02T00:00:00Z"}`
	if _, err := kv.Put(ctx, "integration/crm", 0, []byte(newer)); err != nil {
		t.Fatal(err)
	}
	r := open(t, kv, nil)
	for _, edit := range []struct {
		what   string
		fn     func() error
		reason bool
	}{
		{"marked broken", func() error { return r.MarkBroken(ctx, "crm", 1, "invalid_client") }, true},
		{"recovered", func() error { return r.MarkRecovered(ctx, "crm", 1) }, false},
		{"broken again", func() error { return r.MarkBroken(ctx, "crm", 1, "invalid_client") }, true},
		{"edited", func() error { _, _, err := r.PutIntegration(ctx, "crm", spec(), credential.Secret{}); return err }, false},
	} {
		if err := edit.fn(); err != nil {
			t.Fatalf("%s: %v", edit.what, err)
		}
		b, _, err := kv.Get("integration/crm")
		if err != nil || !bytes.Contains(b, []byte(`"tls_names":["a","b"]`)) {
			t.Errorf("%s: what a newer version knows is gone: %s, %v", edit.what, b, err)
		}
		if bytes.Contains(b, []byte(`"reason"`)) != edit.reason {
			t.Errorf("%s: %s", edit.what, b)
		}
	}
}

func TestWhatPeopleAreShownIsKept(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	s := spec()
	s.DisplayName, s.ReturnOrigins = "Acme CRM", []string{"https://app.example.com", "http://localhost:3000", "https://app.example.com:8443"}
	s.ScopeDescriptions = map[string]string{"read": "Read your contacts"}
	if _, _, err := r.PutIntegration(t.Context(), "crm", s, credential.Secret{}); err != nil {
		t.Fatal(err)
	}
	if err := r.MarkBroken(t.Context(), "crm", 1, "invalid_client"); err != nil {
		t.Fatal(err)
	}
	in, _ := open(t, kv, nil).Integration("crm") // as another node reads it
	if in.DisplayName != s.DisplayName || !slices.Equal(in.ReturnOrigins, s.ReturnOrigins) || in.ScopeDescriptions["read"] != "Read your contacts" {
		t.Errorf("%+v", in.IntegrationSpec)
	}
}
