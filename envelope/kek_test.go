package envelope

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

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
	if err := newKEK(t).Check([]byte("garbage")); !errors.Is(err, ErrWrongKEK) {
		t.Errorf("garbage passes for a proof: %v", err)
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
	wide := filepath.Join(t.TempDir(), "kek.json")
	if _, err := OpenKEK("file://"+wide, true); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(wide, 0o640); err != nil {
		t.Fatal(err)
	}
	for uri, word := range map[string]string{
		"file://" + good: "chmod 600", "file://" + wide: "chmod 600", "file://" + garbage: "backup", "file://" + t.TempDir(): "not a key file",
		"aws-kms://x": "file://PATH", "": "file://PATH", "file://": "file://PATH",
		"file://" + filepath.Join(t.TempDir(), "no", "kek.json"): "create key file",
	} {
		_, err := OpenKEK(uri, true)
		if !errors.Is(err, ErrBadKEK) || !strings.Contains(err.Error(), word) {
			t.Fatalf("%s: %v, want %q in it", uri, err, word)
		}
		if strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error has lines, or quotes the key file: %v", err)
		}
	}
}

func TestProcessesThatStartAtOnceUseOneKey(t *testing.T) {
	uri := "file://" + filepath.Join(t.TempDir(), "kek.json")
	keks := make([]*KEK, 16)
	var wg sync.WaitGroup
	for i := range keks {
		wg.Go(func() {
			var err error
			if keks[i], err = OpenKEK(uri, true); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	proof, err := keks[0].Proof()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keks {
		if err := k.Check(proof); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOutageOfAKMSIsNotTakenForAWrongFile(t *testing.T) {
	outage := errors.New("connection refused")
	err := NewKEK(deadKMS{outage}, "test-kms://key").Check([]byte("proof"))
	if !errors.Is(err, outage) || !strings.Contains(err.Error(), "test-kms://key") || strings.Contains(err.Error(), "key file") {
		t.Error(err)
	}
}

type deadKMS struct{ err error }

func (d deadKMS) Encrypt(_, _ []byte) ([]byte, error) { return nil, d.err }
func (d deadKMS) Decrypt(_, _ []byte) ([]byte, error) { return nil, d.err }
