package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, kv registry.KV, changed func(string)) *registry.Registry {
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
	})
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
	mu.Lock()
	defer mu.Unlock()
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
	_, text, err := r.CreateKey(t.Context(), keySpec())
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

func TestReaderThatCouldNotReadTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		kv := &registrytest.KV{BeforeGet: func(key string) error {
			if broken.Load() && strings.HasPrefix(key, "integration/") {
				return errors.New("disk says no")
			}
			return nil
		}}
		r := open(t, kv, nil)
		if _, _, err := r.PutIntegration(t.Context(), "crm", spec(), credential.Secret{}); err != nil {
			t.Fatal(err)
		}
		value, rev, err := kv.Get("integration/crm")
		if err != nil {
			t.Fatal(err)
		}
		broken.Store(true)
		if _, err := kv.Put(t.Context(), "integration/crm", rev, bytes.Replace(value, []byte(`"version":1`), []byte(`"version":9`), 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if in, ok := r.Integration("crm"); !ok || in.Version != 1 {
			t.Errorf("while it cannot be read, the last that was seen is shown; got %+v", in)
		}
		broken.Store(false)
		time.Sleep(2 * time.Second)
		if in, ok := r.Integration("crm"); !ok || in.Version != 9 {
			t.Errorf("it was not read again: %+v", in)
		}
	})
}

func TestWhenAnythingMayHaveChangedAllIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := &registrytest.KV{}
		told := map[string]int{}
		writer := open(t, kv, nil)
		for _, id := range []string{"crm", "erp"} {
			if _, _, err := writer.PutIntegration(t.Context(), id, spec(), credential.Secret{}); err != nil {
				t.Fatal(err)
			}
		}
		_, text, err := writer.CreateKey(t.Context(), keySpec())
		if err != nil {
			t.Fatal(err)
		}
		deaf := &quiet{KV: kv}
		r := open(t, deaf, func(id string) { told[id]++ })
		if len(told) != 0 {
			t.Errorf("told of what was there when it was opened: %v", told)
		}
		if err := writer.DeleteIntegration(t.Context(), "crm"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := writer.PutIntegration(t.Context(), "new", spec(), credential.Secret{}); err != nil {
			t.Fatal(err)
		}
		k, _ := r.Authenticate(text.Reveal())
		if err := writer.DeleteKey(t.Context(), k.ID); err != nil {
			t.Fatal(err)
		}
		deaf.tell(nil)
		synctest.Wait()
		if all := r.Integrations(); len(all) != 2 || all[0].ID != "erp" || all[1].ID != "new" {
			t.Errorf("integrations: %v", all)
		}
		if _, ok := r.Authenticate(text.Reveal()); ok || len(r.Keys()) != 0 {
			t.Error("the deleted key still opens")
		}
		if len(told) != 2 || told["crm"] != 1 || told["new"] != 1 {
			t.Errorf("told of %v; want each that changed, once", told)
		}
	})
}

// quiet is a KV that tells of changes when the test says so.
type quiet struct {
	*registrytest.KV
	tell func([]string)
}

func (q *quiet) OnChange(fn func([]string)) { q.tell = fn }

func TestKeysetsAreCreatedOnceAndReplacedByWhoReadThem(t *testing.T) {
	var late func() error // what somebody else does first
	kv := &registrytest.KV{}
	kv.Before = func(string) error {
		if do := late; do != nil {
			late = nil
			return do()
		}
		return nil
	}
	ctx, keysets := t.Context(), registry.Keysets{KV: kv}
	if _, err := keysets.Load(ctx, "acme"); !errors.Is(err, envelope.ErrNoKeyset) {
		t.Errorf("load of nothing: %v", err)
	}
	if err := keysets.Replace(ctx, "acme", nil, []byte("x")); !errors.Is(err, envelope.ErrNoKeyset) {
		t.Errorf("replace of nothing: %v", err)
	}
	late = func() error { _, err := kv.Put(ctx, "keyset/acme", 0, []byte("faster")); return err }
	if got, err := keysets.Create(ctx, "acme", []byte("slower")); err != nil || string(got) != "faster" {
		t.Errorf("create: %q, %v; the first writer wins", got, err)
	}
	if err := keysets.Replace(ctx, "acme", []byte("slower"), []byte("x")); !errors.Is(err, credential.ErrConflict) {
		t.Errorf("replace of what is not stored: %v", err)
	}
	late = func() error { return keysets.Replace(ctx, "acme", []byte("faster"), []byte("fastest")) }
	if err := keysets.Replace(ctx, "acme", []byte("faster"), []byte("x")); !errors.Is(err, credential.ErrConflict) {
		t.Errorf("replace that comes too late: %v", err)
	}
	if got, err := keysets.Load(ctx, "acme"); err != nil || string(got) != "fastest" {
		t.Errorf("load: %q, %v", got, err)
	}
}
