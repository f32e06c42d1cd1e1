package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Errors of the key-encryption key.
var (
	// ErrNoKEK: the key file does not exist, and was not to be created.
	ErrNoKEK = errors.New("no key-encryption key")
	// ErrBadKEK: there is something, but it cannot be used as a key.
	ErrBadKEK = errors.New("unusable key-encryption key")
	// ErrWrongKEK: it is a key, but not the one that the data was wrapped with.
	ErrWrongKEK = errors.New("the key-encryption key does not open the data")
)

// KEK is the key-encryption key that wraps the tenants' keysets.
type KEK struct {
	aead tink.AEAD
	uri  string
}

// NewKEK makes a KEK of any Tink AEAD; uri names it in errors.
func NewKEK(a tink.AEAD, uri string) *KEK { return &KEK{aead: a, uri: uri} }

// fileScheme begins the URI of a local key file.
const fileScheme = "file://"

// OpenKEK opens the key that a URI names: file://PATH, a cleartext Tink keyset
// in JSON, readable by its owner only. With create, a file that does not exist
// is made with a new key; the file is on disk, and durable, when OpenKEK
// returns. Errors wrap ErrNoKEK or ErrBadKEK and say what to do.
func OpenKEK(uri string, create bool) (*KEK, error) {
	path, ok := strings.CutPrefix(uri, fileScheme)
	if !ok {
		return nil, fmt.Errorf("%w: %q: this build knows key files only; write file://PATH", ErrBadKEK, uri)
	}
	a, err := openKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return nil, fmt.Errorf("%w: key file %s does not exist; restore it from your backup: without it the stored tokens cannot be opened", ErrNoKEK, path)
		}
		if err = createKeyFile(path); err == nil {
			a, err = openKeyFile(path)
		}
	}
	if err != nil {
		return nil, err
	}
	return NewKEK(a, uri), nil
}

// maxKeyFile bounds what is read as a key file.
const maxKeyFile = 64 << 10

func openKeyFile(path string) (tink.AEAD, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrBadKEK, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrBadKEK, err)
	case !info.Mode().IsRegular() || info.Size() > maxKeyFile:
		return nil, fmt.Errorf("%w: %s is not a key file", ErrBadKEK, path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%w: key file %s can be read by others (mode %04o); run: chmod 600 %s", ErrBadKEK, path, info.Mode().Perm(), path)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(f))
	if err != nil { // the text of err may quote the file
		return nil, fmt.Errorf("%w: %s holds no Tink keyset in JSON; restore it from your backup", ErrBadKEK, path)
	}
	a, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("%w: the keyset in %s is not for authenticated encryption (AEAD)", ErrBadKEK, path)
	}
	return a, nil
}

// createKeyFile writes a new key. The file appears whole or not at all, and
// one that exists is never replaced.
func createKeyFile(path string) error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("make a key-encryption key: %w", err)
	}
	var buf bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&buf)); err != nil {
		return fmt.Errorf("make a key-encryption key: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".kek-*") // mode 0600
	if err != nil {
		return fmt.Errorf("create key file %s: %w", path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(buf.Bytes())
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Link(tmp.Name(), path) // fails where the file exists
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was faster; its key counts
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("create key file %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Proof is a value that only this KEK opens, to be stored beside the data.
func (k *KEK) Proof() ([]byte, error) {
	return k.aead.Encrypt([]byte(purposeProof), []byte(purposeProof))
}

// Check says whether a proof was made by this KEK; if not, ErrWrongKEK.
func (k *KEK) Check(proof []byte) error {
	if _, err := k.aead.Decrypt(proof, []byte(purposeProof)); err != nil {
		return fmt.Errorf("%w: %s is another key than the one this node's data was sealed with; put the right key back, or use an empty data directory", ErrWrongKEK, k.uri)
	}
	return nil
}
