package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/grantd/grantd/cluster/link/issue"
	"github.com/grantd/grantd/credential"
)

// The files of a folder, besides NAME.pem and NAME-key.pem of each node, and
// client-NAME.pem and client-NAME-key.pem of each client.
const (
	caCert    = "ca.pem"     // the authority; a second one while they are exchanged
	caKey     = "ca-key.pem" // of the first one
	gossipKey = "gossip.key" // one key a line, 32 bytes in base64, the first is the one to encrypt with
)

// clockSkew is how far a node's clock may be behind ours for a certificate of
// this moment to hold there.
const clockSkew = time.Hour

// folder is where all files lie.
type folder struct {
	dir          string
	now          time.Time
	caLife, life time.Duration
	out          io.Writer
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

// issue makes certificates, and an authority and a gossip key if there are none.
func (f *folder) issue(role string, names []string) error {
	for _, name := range names {
		if err := checkName(role, name); err != nil {
			return err
		}
	}
	ca, err := f.authority()
	if err != nil {
		return err
	}
	if err := f.gossip(); err != nil {
		return err
	}
	for _, name := range names {
		base, sign := name, ca.Node
		if role == "client" {
			base, sign = "client-"+name, ca.Client
		}
		pair, err := sign(name, f.now.Add(-clockSkew), f.now.Add(f.life))
		if err != nil {
			return err
		}
		if err := f.write(file{base + "-key.pem", pair.Key}, file{base + ".pem", pair.Cert}); err != nil {
			return err
		}
	}
	return nil
}

// checkName refuses names whose files would be another's.
func checkName(role, name string) error {
	if err := credential.CheckName(role+" name", name); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if role == "node" && (name == "ca" || strings.HasSuffix(name, "-key") || strings.HasPrefix(name, "client-")) {
		return fmt.Errorf("%w: a node cannot be called %q here: its files would be another's", errUsage, name)
	}
	return nil
}

// authority returns the folder's authority and makes one if there is none.
func (f *folder) authority() (*issue.Authority, error) {
	ca, err := f.load()
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.newAuthority(); err != nil {
			return nil, err
		}
		ca, err = f.load()
	}
	if err != nil {
		return nil, err
	}
	if !ca.Ends().After(f.now) {
		return nil, fmt.Errorf("the authority in %s ended on %s; make another with new-ca", f.path(caCert), ca.Ends().Format(time.DateOnly))
	}
	return ca, nil
}

// load reads the authority. The error is fs.ErrNotExist only if nothing of it
// is there.
func (f *folder) load() (*issue.Authority, error) {
	cert, err := os.ReadFile(f.path(caCert))
	_, keyErr := os.Stat(f.path(caKey))
	if errors.Is(err, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist) {
		return nil, err
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(keyErr, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds only one of %s and %s; both belong together", f.dir, caCert, caKey)
	}
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(f.path(caKey))
	if err != nil {
		return nil, err
	}
	return issue.Load(issue.Pair{Cert: cert, Key: key})
}

// newAuthority makes an authority, which signs from now on. The one before stays
// trusted.
func (f *folder) newAuthority() error {
	trusted, err := os.ReadFile(f.path(caCert))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if first, rest := pem.Decode(trusted); first != nil && len(bytes.TrimSpace(rest)) > 0 {
		return fmt.Errorf("%s still holds an older authority; finish with drop-old-ca first", f.path(caCert))
	}
	ca, err := issue.New(f.now.Add(-clockSkew), f.now.Add(f.caLife))
	if err != nil {
		return err
	}
	pair := ca.Pair()
	return f.write(file{caKey, pair.Key}, file{caCert, append(bytes.Clone(pair.Cert), trusted...)})
}

// dropOldAuthority leaves the one that signs.
func (f *folder) dropOldAuthority() error {
	trusted, err := os.ReadFile(f.path(caCert))
	if err != nil {
		return err
	}
	first, _ := pem.Decode(trusted)
	if first == nil {
		return fmt.Errorf("%s holds no certificate", f.path(caCert))
	}
	return f.write(file{caCert, pem.EncodeToMemory(first)})
}

// gossip makes a gossip key if there is none.
func (f *folder) gossip() error {
	if _, err := os.Stat(f.path(gossipKey)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	return f.write(file{gossipKey, []byte(base64.StdEncoding.EncodeToString(key[:]) + "\n")})
}

type file struct {
	name string
	data []byte
}

// write puts files in place, one right after the other, so that a node that
// looks in between rarely finds halves that do not fit; it waits for the other.
func (f *folder) write(files ...file) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	fresh := make([]string, 0, len(files))
	defer func() {
		for _, name := range fresh {
			_ = os.Remove(name) // nothing, where it was put in place
		}
	}()
	for _, w := range files {
		name, err := f.writeFresh(w.data)
		if err != nil {
			return err
		}
		fresh = append(fresh, name)
	}
	for i, w := range files {
		if err := os.Rename(fresh[i], f.path(w.name)); err != nil {
			return err
		}
		fmt.Fprintln(f.out, f.path(w.name))
	}
	return nil
}

// writeFresh writes a file that nobody knows yet, readable for its owner only.
func (f *folder) writeFresh(data []byte) (name string, err error) {
	t, err := os.CreateTemp(f.dir, ".new-*") // with mode 0600
	if err != nil {
		return "", err
	}
	_, err = t.Write(data)
	if err == nil {
		err = t.Sync()
	}
	if err = errors.Join(err, t.Close()); err != nil {
		_ = os.Remove(t.Name())
		return "", err
	}
	return t.Name(), nil
}
