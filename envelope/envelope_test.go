package envelope

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
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
	if _, err := s.Seal(t.Context(), label, credential.NewSecret("x")); err != nil {
		t.Fatal(err)
	}
	keysets.m["evil"] = keysets.m["acme"]
	if _, err := s.Open(t.Context(), credential.Label{Tenant: "evil"}, credential.Sealed("x")); !errors.Is(err, ErrWrongKEK) {
		t.Errorf("a moved keyset was opened: %v", err)
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

func TestKeyFileIsMadeOnceAndForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek.json")
	if _, err := OpenKEK("file://"+path, false); !errors.Is(err, ErrNoKEK) || !strings.Contains(err.Error(), path) {
		t.Errorf("missing key file: %v", err)
	}
	first, err := OpenKEK("file://"+path, true)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	proof, err := first.Proof()
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenKEK("file://"+path, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Check(proof); err != nil {
		t.Errorf("opening the file again gave another key: %v", err)
	}
	if err := newKEK(t).Check(proof); !errors.Is(err, ErrWrongKEK) {
		t.Errorf("another key passes for this one: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("leftovers beside the key file: %v", entries)
	}
}

func TestUnusableKeyFilesAreRefused(t *testing.T) {
	good := filepath.Join(t.TempDir(), "kek.json")
	if _, err := OpenKEK("file://"+good, true); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(good, 0o644); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(t.TempDir(), "kek.json")
	if err := os.WriteFile(garbage, []byte(`{"primaryKeyId": "hunter2"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for uri, word := range map[string]string{
		"file://" + good: "chmod 600", "file://" + garbage: "backup", "file://" + t.TempDir(): "not a key file", "aws-kms://x": "file://PATH", "": "file://PATH",
	} {
		_, err := OpenKEK(uri, true)
		if !errors.Is(err, ErrBadKEK) || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, want %q in it", uri, err, word)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error quotes the key file: %v", err)
		}
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

func BenchmarkOpen(b *testing.B) {
	s, _ := newSealer(b)
	token := strings.Repeat("t", 1024)
	sealed, err := s.Seal(b.Context(), label, credential.NewSecret(token))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("envelope", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Open(b.Context(), label, sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw AES-GCM", func(b *testing.B) {
		block, err := aes.NewCipher(make([]byte, 32))
		if err != nil {
			b.Fatal(err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			b.Fatal(err)
		}
		nonce := make([]byte, gcm.NonceSize())
		_, _ = rand.Read(nonce)
		raw := gcm.Seal(nil, nonce, []byte(token), nil)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := gcm.Open(nil, nonce, raw, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	s, _ := newSealer(b)
	token := credential.NewSecret(strings.Repeat("t", 1024))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Seal(b.Context(), label, token); err != nil {
			b.Fatal(err)
		}
	}
}
