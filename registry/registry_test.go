package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, kv *registrytest.KV, changed func(string)) *registry.Registry {
	t.Helper()
	kek, err := envelope.OpenKEK("file://"+t.TempDir()+"/kek.json", true)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(registry.Config{
		KV: kv, Catalog: facts, Sealer: envelope.New(kek, registry.Keysets{KV: kv}), Logger: slog.New(slog.DiscardHandler), Changed: changed,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func spec() registry.IntegrationSpec {
	return registry.IntegrationSpec{
		Provider: catalog.Custom, ClientID: "client", Scopes: []string{"read"},
		Overrides: map[string]json.RawMessage{"token_url": json.RawMessage(`"https://idp.example.com/token"`)},
	}
}

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
	if in, _ := r.Integration("crm"); !in.Broken || in.Reason != "invalid_client" {
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
	if in, _ := r.Integration("crm"); in.Broken {
		t.Error("not recovered")
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
		"unknown field":    func(s *registry.IntegrationSpec) { s.Overrides["tokenurl"] = json.RawMessage(`"x"`) },
		"wrong type":       func(s *registry.IntegrationSpec) { s.Overrides["token_url"] = json.RawMessage(`7`) },
		"scope with space": func(s *registry.IntegrationSpec) { s.Scopes = []string{"a b"} },
	} {
		s := spec()
		change(&s)
		_, _, err := r.PutIntegration(t.Context(), "crm", s, credential.Secret{})
		if !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := r.PutIntegration(t.Context(), "a/b", spec(), credential.Secret{}); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("bad id: %v", err)
	}
	if all := r.Integrations(); len(all) != 0 {
		t.Errorf("left behind: %+v", all)
	}
}

func TestKeyOpensWhatItIsForAndNothingLooksLikeIt(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	k, text, err := r.CreateKey(t.Context(), registry.KeySpec{Name: "ci", Tenant: "acme", Permissions: []string{"tokens:read"}})
	if err != nil {
		t.Fatal(err)
	}
	got, ok := r.Authenticate(text.Reveal())
	if !ok || got.ID != k.ID || got.Tenant != "acme" {
		t.Fatalf("authenticate: %+v, %v", got, ok)
	}
	for _, wrong := range []string{"", "gk_", "gk_" + k.ID, "gk_" + k.ID + "_", text.Reveal() + "x", text.Reveal()[:len(text.Reveal())-1], strings.ToUpper(text.Reveal()), "gk_0000000000000000_" + text.Reveal()[20:]} {
		if _, ok := r.Authenticate(wrong); ok {
			t.Errorf("%q opens", wrong)
		}
	}
	_ = kv.Scan("key/", func(_ string, value []byte, _ uint64) error {
		if strings.Contains(string(value), text.Reveal()) || strings.Contains(string(value), text.Reveal()[20:]) {
			t.Error("the key is stored in plaintext")
		}
		return nil
	})
	if err := r.DeleteKey(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Authenticate(text.Reveal()); ok {
		t.Error("a deleted key still opens")
	}
	if err := r.DeleteKey(t.Context(), k.ID); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestAdminKeyIsWhatItsFileSays(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	ctx := t.Context()
	first, second := credential.NewSecret("gk_first-first-first"), credential.NewSecret("second-second-second")
	for _, text := range []credential.Secret{first, first, second} {
		if err := r.EnsureAdmin(ctx, text, []string{"admin"}); err != nil {
			t.Fatal(err)
		}
		if k, ok := r.Authenticate(text.Reveal()); !ok || k.ID != registry.AdminKeyID {
			t.Errorf("the admin key does not open: %+v", k)
		}
	}
	if _, ok := r.Authenticate(first.Reveal()); ok {
		t.Error("the replaced admin key still opens")
	}
	if err := r.EnsureAdmin(ctx, credential.NewSecret("short"), nil); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("a short admin key: %v", err)
	}
	if err := r.DeleteKey(ctx, registry.AdminKeyID); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("the admin key was deleted: %v", err)
	}
}

func TestWritesOfOtherNodesAreSeen(t *testing.T) {
	kv := &registrytest.KV{}
	writer := open(t, kv, nil)
	var mu sync.Mutex
	changed := map[string]int{}
	seen := make(chan struct{}, 100)
	reader := open(t, kv, func(id string) {
		mu.Lock()
		changed[id]++
		mu.Unlock()
		seen <- struct{}{}
	}) // the newest OnChange is called, so writer sees its own writes only
	if _, _, err := writer.PutIntegration(t.Context(), "crm", spec(), credential.Secret{}); err != nil {
		t.Fatal(err)
	}
	<-seen
	if _, ok := reader.Integration("crm"); !ok {
		t.Error("another node's write is not seen")
	}
	if err := writer.DeleteIntegration(t.Context(), "crm"); err != nil {
		t.Fatal(err)
	}
	<-seen
	if _, ok := reader.Integration("crm"); ok {
		t.Error("another node's delete is not seen")
	}
	if changed["crm"] != 2 {
		t.Errorf("told of %v", changed)
	}
}

func TestEverythingIsThereAfterARestart(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	if _, _, err := r.PutIntegration(t.Context(), "crm", spec(), credential.Secret{}); err != nil {
		t.Fatal(err)
	}
	_, text, err := r.CreateKey(t.Context(), registry.KeySpec{Tenant: registry.AllTenants, Permissions: []string{"admin"}})
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, kv, nil)
	if _, ok := again.Integration("crm"); !ok {
		t.Error("the integration is gone")
	}
	if _, ok := again.Authenticate(text.Reveal()); !ok {
		t.Error("the key is gone")
	}
}

func TestFirstValueOfASettingStays(t *testing.T) {
	kv := &registrytest.KV{}
	for _, value := range []string{"one", "two"} {
		got, err := registry.Setting(context.Background(), kv, "x", func() ([]byte, error) { return []byte(value), nil })
		if err != nil || string(got) != "one" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	r := open(b, &registrytest.KV{}, nil)
	var text credential.Secret
	for range 1000 {
		var err error
		if _, text, err = r.CreateKey(b.Context(), registry.KeySpec{Tenant: "acme", Permissions: []string{"tokens:read"}}); err != nil {
			b.Fatal(err)
		}
	}
	presented := text.Reveal()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := r.Authenticate(presented); !ok {
			b.Fatal("refused")
		}
	}
}
