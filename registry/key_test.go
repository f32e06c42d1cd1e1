package registry_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
	"github.com/grantd/grantd/wire"
)

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

func TestAdminKeyThatLooksLikeAnotherKeyOpensAsAdmin(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	k, text, err := r.CreateKey(t.Context(), keySpec())
	if err != nil {
		t.Fatal(err)
	}
	admin := credential.NewSecret("gk_" + k.ID + "_an-admin-key-that-an-operator-chose")
	if err := r.EnsureAdmin(t.Context(), admin, []string{wire.PermAdmin}); err != nil {
		t.Fatal(err)
	}
	for presented, id := range map[string]string{admin.Reveal(): registry.AdminKeyID, text.Reveal(): k.ID} {
		if got, ok := r.Authenticate(presented); !ok || got.ID != id {
			t.Errorf("opened %+v, want %s", got, id)
		}
	}
	if _, ok := r.Authenticate("gk_" + k.ID + "_" + strings.Repeat("x", 1<<20)); ok {
		t.Error("an endless key opens")
	}
}

func TestEnsuringTheAdminKeyAgainWritesNothing(t *testing.T) {
	writes := 0
	r := open(t, &registrytest.KV{Before: func(string) error { writes++; return nil }}, nil)
	text := credential.NewSecret("admin-admin-admin-admin")
	for i, permissions := range [][]string{{wire.PermAdmin}, {wire.PermAdmin}, {wire.PermProxy}} {
		if err := r.EnsureAdmin(t.Context(), text, permissions); err != nil {
			t.Fatal(err)
		}
		if k, ok := r.Authenticate(text.Reveal()); !ok || !slices.Equal(k.Permissions, permissions) {
			t.Errorf("time %d: %+v", i, k)
		}
	}
	if writes != 2 {
		t.Errorf("%d writes; want one for the key and one for its new permissions", writes)
	}
}

func TestKeyReachesWhatItsScopeSays(t *testing.T) {
	all := registry.KeySpec{Tenant: registry.AllTenants, Permissions: []string{wire.PermAdmin}}
	one := registry.KeySpec{Tenant: "acme", Integrations: []string{"crm"}, Permissions: []string{wire.PermTokensRead}}
	for _, c := range []struct {
		spec                registry.KeySpec
		tenant, integration string
		sees                bool
	}{
		{all, "acme", "crm", true}, {all, "other", "erp", true},
		{one, "acme", "crm", true}, {one, "acme", "erp", false}, {one, "other", "crm", false}, {one, "*", "crm", false}, {one, "", "", false},
	} {
		if c.spec.Sees(c.tenant, c.integration) != c.sees {
			t.Errorf("%+v sees %s, %s: %v", c.spec, c.tenant, c.integration, !c.sees)
		}
	}
	for _, p := range wire.Permissions() {
		if !all.Allows(p) {
			t.Errorf("admin lacks %s", p)
		}
		if one.Allows(p) != (p == wire.PermTokensRead) {
			t.Errorf("tokens:read is taken for %s", p)
		}
	}
}

func TestKeyWithAScopeThatCannotBeIsRefused(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	for name, change := range map[string]func(*registry.KeySpec){
		"no tenant":           func(s *registry.KeySpec) { s.Tenant = "" },
		"the system's tenant": func(s *registry.KeySpec) { s.Tenant = envelope.SystemTenant },
		"no permission":       func(s *registry.KeySpec) { s.Permissions = nil },
		"unknown permission":  func(s *registry.KeySpec) { s.Permissions = []string{"root"} },
		"permission twice":    func(s *registry.KeySpec) { s.Permissions = []string{"proxy", "proxy"} },
		"odd integration":     func(s *registry.KeySpec) { s.Integrations = []string{"a/b"} },
		"many integrations":   func(s *registry.KeySpec) { s.Integrations = slices.Repeat([]string{"a"}, 2000) },
		"long name":           func(s *registry.KeySpec) { s.Name = strings.Repeat("x", 1000) },
		"odd agent":           func(s *registry.KeySpec) { s.Agent = "a/b" },
		"odd account":         func(s *registry.KeySpec) { s.Accounts = []credential.Ref{{Tenant: s.Tenant}} },
		"another's account": func(s *registry.KeySpec) {
			s.Tenant, s.Accounts = "acme", []credential.Ref{{Tenant: "other", ID: "crm"}}
		},
		"many accounts": func(s *registry.KeySpec) { s.Accounts = make([]credential.Ref, 1000) },
		"odd name":      func(s *registry.KeySpec) { s.Name = "a\x1b[2J" },
	} {
		s := keySpec()
		change(&s)
		if _, _, err := r.CreateKey(t.Context(), s); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(r.Keys()) != 0 {
		t.Errorf("left behind: %v", r.Keys())
	}
}

func TestDamagedKeyOpensNothing(t *testing.T) {
	kv := &registrytest.KV{}
	for id, value := range map[string]string{"a": "{", "b": `{"sha256":""}`, "c": `{"sha256":"00"}`, "d": `{"sha256":"zz"}`} {
		if _, err := kv.Put(t.Context(), "key/"+id, 0, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, kv, nil)
	if keys := r.Keys(); len(keys) != 0 {
		t.Errorf("%d keys", len(keys))
	}
	for _, presented := range []string{"gk_a_", "gk_b_", "gk_c_x", "gk_d_x"} {
		if k, ok := r.Authenticate(presented); ok {
			t.Errorf("%q opens %+v", presented, k)
		}
	}
}

func FuzzNothingOpensButAKey(f *testing.F) {
	r := open(f, &registrytest.KV{}, nil)
	_, text, err := r.CreateKey(f.Context(), keySpec())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text.Reveal())
	f.Add("gk__")
	f.Add("gk_admin_")
	f.Fuzz(func(t *testing.T, presented string) {
		if _, ok := r.Authenticate(presented); ok != (presented == text.Reveal()) {
			t.Errorf("%q: %v", presented, ok)
		}
	})
}

func keySpec() registry.KeySpec {
	return registry.KeySpec{Name: "ci", Tenant: registry.AllTenants, Permissions: []string{wire.PermAdmin}}
}

// BenchmarkAuthenticate is the check of a key that every request pays for. A
// key that does not exist costs the same.
func BenchmarkAuthenticate(b *testing.B) {
	r := open(b, &registrytest.KV{}, nil)
	var text credential.Secret
	for range 1000 {
		var err error
		if _, text, err = r.CreateKey(b.Context(), keySpec()); err != nil {
			b.Fatal(err)
		}
	}
	for name, presented := range map[string]string{
		"known": text.Reveal(), "wrong secret": text.Reveal()[:len(text.Reveal())-4] + "AAAA", "unknown id": "gk_0000000000000000_" + text.Reveal()[20:],
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := r.Authenticate(presented); ok != (name == "known") {
					b.Fatal(ok)
				}
			}
		})
	}
}

func TestKeyEndsWithItsTimeAndIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := &registrytest.KV{}
		r := open(t, kv, nil)
		spec := keySpec()
		spec.Agent, spec.Accounts = "bot", []credential.Ref{{Tenant: "acme", ID: "crm"}}
		spec.ExpiresAt = time.Now().Add(time.Minute)
		made, text, err := r.CreateKey(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		other := open(t, kv, nil) // as another node reads it
		for name, r := range map[string]*registry.Registry{"here": r, "elsewhere": other} {
			k, ok := r.Authenticate(text.Reveal())
			if !ok || k.Agent != "bot" || !slices.Equal(k.Accounts, spec.Accounts) || !k.ExpiresAt.Equal(spec.ExpiresAt) {
				t.Errorf("%s it reads as %+v, %v", name, k, ok)
			}
		}
		time.Sleep(time.Minute)
		if _, ok := r.Authenticate(text.Reveal()); ok {
			t.Error("it opens after its time")
		}
		if _, _, err := r.CreateKey(t.Context(), keySpec()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := kv.Get("key/" + made.ID); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("it was not cleared: %v", err)
		}
	})
}

// TestNodeThatDoesNotKnowTheLimitsTakesTheKeyForDamaged: a version that knows
// only the hash's usual name must not open it without its limits.
func TestNodeThatDoesNotKnowTheLimitsTakesTheKeyForDamaged(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	for name, limit := range map[string]func(*registry.KeySpec){
		"accounts": func(s *registry.KeySpec) { s.Accounts = []credential.Ref{{Tenant: "acme", ID: "crm"}} },
		"agent":    func(s *registry.KeySpec) { s.Agent = "bot" },
		"an end":   func(s *registry.KeySpec) { s.ExpiresAt = time.Now().Add(time.Hour) },
	} {
		spec := keySpec()
		limit(&spec)
		k, _, err := r.CreateKey(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		value, _, err := kv.Get("key/" + k.ID)
		if err != nil || strings.Contains(string(value), `"sha256"`) {
			t.Errorf("with %s it is stored as %s, %v", name, value, err)
		}
	}
}
