package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tink-crypto/tink-go/v2/aead"
	kms "github.com/tink-crypto/tink-go/v2/core/registry"
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

// KEK is the key-encryption key that wraps the tenants' keysets. Methods may
// be called concurrently.
type KEK struct {
	aead tink.AEAD
	uri  string
	// remote: the key is in a KMS, so that a failure to open may be an outage.
	remote bool
}

// NewKEK makes a KEK of any Tink AEAD, such as one of a KMS; uri names it in
// errors.
func NewKEK(a tink.AEAD, uri string) *KEK { return &KEK{aead: a, uri: uri, remote: true} }

// fileScheme begins the URI of a local key file.
const fileScheme = "file://"

// OpenKEK opens the key that a URI names: file://PATH, a cleartext Tink keyset
// in JSON, readable by its owner only; any other URI goes to the KMS clients
// that the build registered with Tink. With create, a key file that does not
// exist is made with a new key; it is durable when OpenKEK returns. Errors wrap
// ErrNoKEK or ErrBadKEK, are one line and say what to do.
func OpenKEK(uri string, create bool) (*KEK, error) {
	path, ok := strings.CutPrefix(uri, fileScheme)
	if !ok {
		return openKMS(uri)
	}
	if path == "" {
		return nil, fmt.Errorf("%w: %q names no file; write file://PATH", ErrBadKEK, uri)
	}
	a, err := openKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return nil, fmt.Errorf("%w: key file %s does not exist; restore it from your backup: without it the stored tokens cannot be opened", ErrNoKEK, path)
		}
		if err := createKeyFile(path); err != nil {
			return nil, fmt.Errorf("%w: create key file %s: %w", ErrBadKEK, path, err)
		}
		a, err = openKeyFile(path)
	}
	if err == nil && create {
		// The process that made the file may have died before this.
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadKEK, err)
	}
	return &KEK{aead: a, uri: uri}, nil
}

func openKMS(uri string) (*KEK, error) {
	client, err := kms.GetKMSClient(uri)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: no KMS of this kind is built in; write file://PATH for a key file", ErrBadKEK, uri)
	}
	a, err := client.GetAEAD(uri)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrBadKEK, uri, err)
	}
	return NewKEK(a, uri), nil
}

const (
	// maxKeyFile bounds what is read as a key file.
	maxKeyFile = 64 << 10
	// beyondOwner are the permissions that a key file must not have: all but
	// reading and writing by its owner.
	beyondOwner = 0o177
)

func openKeyFile(path string) (tink.AEAD, error) {
	// Not to wait for a writer, should it be a named pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	mode := info.Mode()
	switch {
	case !mode.IsRegular() || info.Size() > maxKeyFile:
		return nil, fmt.Errorf("%s is not a key file; name the file that grantd made on its first start", path)
	case mode.Perm()&beyondOwner != 0:
		return nil, fmt.Errorf("key file %s has mode %04o, which lets others in; run: chmod 600 %s", path, mode.Perm(), path)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(f))
	if err != nil { // the text of err may quote the file
		return nil, fmt.Errorf("key file %s holds no Tink keyset in JSON; restore it from your backup", path)
	}
	a, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("the keyset in key file %s is not for authenticated encryption (AEAD); restore it from your backup", path)
	}
	return a, nil
}

// createKeyFile writes a new key. The file appears whole or not at all, and
// one that exists is never replaced: it is written under another name (created
// exclusively, mode 0600), synced, and then linked.
func createKeyFile(path string) error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&buf)); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".kek-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(buf.Bytes())
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // where it exists, another process was faster: its key counts
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
		return k.refused("the data of this node", err)
	}
	return nil
}

// refused says that what was wrapped does not open.
func (k *KEK) refused(what string, err error) error {
	if k.remote {
		return fmt.Errorf("%w: %s cannot be opened with %s: %w", ErrWrongKEK, what, k.uri, err)
	}
	return fmt.Errorf("%w: %s is not the key that %s was wrapped with, or that is damaged; put back the key file that was used before, from your backup", ErrWrongKEK, k.uri, what)
}
