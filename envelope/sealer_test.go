package envelope

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/credential"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory keeps wrapped keysets for tests.
type memory struct {
	mu      sync.Mutex
	m       map[string][]byte
	creates int
}

func (k *memory) Load(_ context.Context, tenant string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w, ok := k.m[tenant]; ok {
		return w, nil
	}
	return nil, ErrNoKeyset
}

func (k *memory) Create(_ context.Context, tenant string, wrapped []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.creates++
	if w, ok := k.m[tenant]; ok {
		return w, nil
	}
	k.m[tenant] = wrapped
	return wrapped, nil
}

func (k *memory) Replace(_ context.Context, tenant string, old, wrapped []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !bytes.Equal(k.m[tenant], old) {
		return credential.ErrConflict
	}
	k.m[tenant] = wrapped
	return nil
}

func newKEK(t testing.TB) *KEK {
	t.Helper()
	kek, err := OpenKEK("file://"+filepath.Join(t.TempDir(), "kek.json"), true)
	if err != nil {
		t.Fatal(err)
	}
	return kek
}

func newSealer(t testing.TB) (*Sealer, *memory) {
	t.Helper()
	keysets := &memory{m: map[string][]byte{}}
	return New(newKEK(t), keysets), keysets
}

var label = credential.Label{Tenant: "acme", Account: "crm", Field: credential.FieldRefreshToken, Generation: 7}

func TestSealedOpensUnderItsOwnLabelOnly(t *testing.T) {
	s, _ := newSealer(t)
	ctx := t.Context()
	sealed, err := s.Seal(ctx, label, credential.NewSecret("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("s3cret")) {
		t.Error("the plaintext stands in the ciphertext")
	}
	if got, err := s.Open(ctx, label, sealed); err != nil || got.Reveal() != "s3cret" {
		t.Errorf("open: %v, %v", got.Reveal(), err)
	}
	if _, err := s.Seal(ctx, credential.Label{Tenant: "other"}, credential.NewSecret("x")); err != nil {
		t.Fatal(err) // so that the other tenant has a keyset
	}
	for name, change := range map[string]func(*credential.Label){
		"another tenant":       func(l *credential.Label) { l.Tenant = "other" },
		"another account":      func(l *credential.Label) { l.Account = "erp" },
		"another field":        func(l *credential.Label) { l.Field = credential.FieldAccessToken },
		"an older generation":  func(l *credential.Label) { l.Generation-- },
		"parts moved together": func(l *credential.Label) { l.Account, l.Field = "crmrefresh", "_token" },
		"an unknown tenant":    func(l *credential.Label) { l.Tenant = "nobody" },
	} {
		l := label
		change(&l)
		if _, err := s.Open(ctx, l, sealed); !errors.Is(err, credential.ErrSealed) {
			t.Errorf("opened under %s: %v", name, err)
		}
	}
	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 1
		if _, err := s.Open(ctx, label, broken); !errors.Is(err, credential.ErrSealed) {
			t.Fatalf("opened with byte %d changed: %v", i, err)
		}
	}
}

func TestAssociatedDataNeverChanges(t *testing.T) {
	const want = "0e6772616e74642f6669656c642f310461636d650363726d0d726566726573685f746f6b656e0000000000000007"
	if got := hex.EncodeToString(fieldData(label)); got != want {
		t.Errorf("the associated data of stored ciphertexts changed; nothing stored opens any more:\n got %s\nwant %s", got, want)
	}
}

func TestKeysetOfOneTenantIsNotTakenForAnothers(t *testing.T) {
	s, keysets := newSealer(t)
	sealed, err := s.Seal(t.Context(), label, credential.NewSecret("x"))
	if err != nil {
		t.Fatal(err)
	}
	keysets.m["evil"] = keysets.m["acme"]
	evil := label
	evil.Tenant = "evil"
	if _, err := s.Open(t.Context(), evil, sealed); !errors.Is(err, credential.ErrSealed) {
		t.Errorf("a moved keyset was opened: %v", err)
	}
}

func TestAnotherKeyEncryptionKeyIsNamedAsTheReason(t *testing.T) {
	s, keysets := newSealer(t)
	sealed, err := s.Seal(t.Context(), label, credential.NewSecret("x"))
	if err != nil {
		t.Fatal(err)
	}
	kek := newKEK(t)
	_, err = New(kek, keysets).Open(t.Context(), label, sealed)
	if !errors.Is(err, credential.ErrSealed) || !errors.Is(err, ErrWrongKEK) {
		t.Fatalf("opened with another key: %v", err)
	}
	if text := err.Error(); !strings.Contains(text, kek.uri) || !strings.Contains(text, "backup") || strings.Contains(text, "\n") {
		t.Errorf("the error does not say in one line which file and what to do: %s", text)
	}
}

func TestNamesThatCannotBeTenantsGetNoKeyset(t *testing.T) {
	s, keysets := newSealer(t)
	for _, tenant := range []string{"", "a/b", "~other", "+acme"} {
		if _, err := s.Seal(t.Context(), credential.Label{Tenant: tenant}, credential.NewSecret("x")); !errors.Is(err, credential.ErrBadName) {
			t.Errorf("tenant %q: %v", tenant, err)
		}
	}
	if _, err := s.Seal(t.Context(), credential.Label{Tenant: SystemTenant}, credential.NewSecret("x")); err != nil || len(keysets.m) != 1 {
		t.Errorf("the system's own: %v, %d keysets", err, len(keysets.m))
	}
}

func TestRotatedKeysetOpensOldAndNew(t *testing.T) {
	s, keysets := newSealer(t)
	ctx := t.Context()
	old, err := s.Seal(ctx, label, credential.NewSecret("old"))
	if err != nil {
		t.Fatal(err)
	}
	before := keysets.m["acme"]
	if err := s.Rotate(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	fresh, err := s.Seal(ctx, label, credential.NewSecret("new"))
	if err != nil {
		t.Fatal(err)
	}
	for sealed, want := range map[string]string{string(old): "old", string(fresh): "new"} {
		if got, err := s.Open(ctx, label, credential.Sealed(sealed)); err != nil || got.Reveal() != want {
			t.Errorf("after the rotation: %q, %v; want %q", got.Reveal(), err, want)
		}
	}
	keysets.m["acme"] = before
	s.Forget("acme")
	if _, err := s.Open(ctx, label, fresh); !errors.Is(err, credential.ErrSealed) {
		t.Errorf("the old keyset opens what the new key sealed: %v", err)
	}
}

func TestRotationOnAnotherNodeIsNoticed(t *testing.T) {
	s, keysets := newSealer(t)
	other := New(s.kek, keysets)
	ctx := t.Context()
	old, err := s.Seal(ctx, label, credential.NewSecret("old"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(ctx, label, old); err != nil {
		t.Fatal(err) // so that it has the keyset open
	}
	if err := s.Rotate(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	fresh, err := s.Seal(ctx, label, credential.NewSecret("new"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := other.Open(ctx, label, fresh); err != nil || got.Reveal() != "new" {
		t.Errorf("the other node does not open it: %v", err)
	}
	delete(keysets.m, "acme")
	other.Forget("acme")
	if _, err := other.Open(ctx, label, fresh); !errors.Is(err, credential.ErrSealed) {
		t.Errorf("opened without a keyset: %v", err)
	}
}

func TestRotationsAtOnceDoNotLoseAKey(t *testing.T) {
	s, keysets := newSealer(t)
	ctx := t.Context()
	sealed, err := s.Seal(ctx, label, credential.NewSecret("x"))
	if err != nil {
		t.Fatal(err)
	}
	overtaken := &overtaken{memory: keysets, by: New(s.kek, keysets)}
	if err := New(s.kek, overtaken).Rotate(ctx, "acme"); !errors.Is(err, credential.ErrConflict) {
		t.Errorf("the slower rotation: %v", err)
	}
	for _, c := range []credential.Sealed{sealed, overtaken.sealed} {
		if _, err := New(s.kek, keysets).Open(ctx, label, c); err != nil {
			t.Error(err)
		}
	}
	if err := s.Rotate(ctx, "nobody"); !errors.Is(err, ErrNoKeyset) {
		t.Errorf("rotation of nothing: %v", err)
	}
}

// overtaken lets another Sealer rotate first, and seal with the new key.
type overtaken struct {
	*memory
	by     *Sealer
	sealed credential.Sealed
}

func (o *overtaken) Replace(ctx context.Context, tenant string, old, wrapped []byte) (err error) {
	if err := o.by.Rotate(ctx, tenant); err != nil {
		return err
	}
	if o.sealed, err = o.by.Seal(ctx, label, credential.NewSecret("y")); err != nil {
		return err
	}
	return o.memory.Replace(ctx, tenant, old, wrapped)
}

func TestManyCallersMakeOneKeyset(t *testing.T) {
	s, keysets := newSealer(t)
	sealed := make([]credential.Sealed, 64)
	var wg sync.WaitGroup
	for i := range sealed {
		wg.Go(func() {
			var err error
			if sealed[i], err = s.Seal(context.Background(), label, credential.NewSecret("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, c := range sealed {
		if _, err := s.Open(t.Context(), label, c); err != nil {
			t.Fatal(err)
		}
	}
	if len(keysets.m) != 1 {
		t.Errorf("%d keysets", len(keysets.m))
	}
}

func FuzzOpenNeverPanics(f *testing.F) {
	s, _ := newSealer(f)
	sealed, err := s.Seal(context.Background(), label, credential.NewSecret("s3cret"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(sealed))
	f.Add([]byte{})
	f.Add([]byte{1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := s.Open(context.Background(), label, b)
		if err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("forged: %q", got.Reveal())
		}
	})
}
