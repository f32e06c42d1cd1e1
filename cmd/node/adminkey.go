package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/grantd/grantd/wire"
)

const (
	// minAdminKey is the shortest admin key that is accepted, in bytes.
	minAdminKey = 16
	// maxAdminKey bounds what is read of a key file.
	maxAdminKey = 4096
)

// readAdminKey reads a key file that only its owner may read.
func readAdminKey(path string) (wire.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("admin key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("admin key file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("admin key file %s can be read by others (mode %04o); run: chmod 600 %s", path, mode, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxAdminKey+1))
	if err != nil {
		return "", fmt.Errorf("admin key file %s: %w", path, err)
	}
	key := strings.TrimSpace(string(b))
	return wire.Secret(key), checkAdminKey(wire.Secret(key), "admin key file "+path)
}

// checkAdminKey says whether the key can be sent in a header and is not easily
// guessed; what names it in the error.
func checkAdminKey(key wire.Secret, what string) error {
	if len(key) < minAdminKey || len(key) > maxAdminKey {
		return fmt.Errorf("%s: the key has %d bytes; it must have %d to %d", what, len(key), minAdminKey, maxAdminKey)
	}
	for _, c := range []byte(key) {
		if c <= ' ' || c >= 0x7f {
			return fmt.Errorf("%s: the key has a character that is not visible ASCII", what)
		}
	}
	return nil
}

// ensureAdminKey returns the key of the file. Where there is no file it makes
// one, mode 0600, with a new random key; a key that is set replaces what the
// file holds. undo puts the file back as it was: a second server on the same
// data fails to start, and must not have changed the key of the first.
func ensureAdminKey(path string, set wire.Secret) (key wire.Secret, undo func() error, err error) {
	if set != "" {
		if err := checkAdminKey(set, "--admin-key"); err != nil {
			return "", nil, err
		}
	}
	nothing := func() error { return nil }
	old, err := readAdminKey(path)
	switch {
	case err == nil && (set == "" || set == old):
		return old, nothing, nil
	case err == nil:
		return set, func() error { return writeAdminKey(path, old) }, writeAdminKey(path, set)
	case !errors.Is(err, fs.ErrNotExist):
		return "", nil, err
	}
	if set == "" {
		random := make([]byte, 32)
		_, _ = rand.Read(random) // never fails: crypto/rand ends the process instead
		set = wire.Secret("grantd_" + base64.RawURLEncoding.EncodeToString(random))
	}
	return set, nothing, writeAdminKey(path, set)
}

// writeAdminKey replaces the file in one step, so that a crash leaves the old
// key or the new one.
func writeAdminKey(path string, key wire.Secret) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("folder of the admin key: %w", err)
	}
	f, err := os.CreateTemp(dir, ".admin.key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("admin key file: %w", err)
	}
	_, err = f.WriteString(key.Reveal() + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("admin key file %s: %w", path, err)
	}
	return nil
}
