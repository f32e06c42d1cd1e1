package config

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"strings"
)

// CheckFiles looks at what the configuration points to, for `serve --check`:
// certificates that can be loaded, key files that can be read by their owner
// alone, a data folder that is one. It changes nothing: what the first start
// creates may be missing. Problems are told all at once, as [Problems].
func (c Config) CheckFiles() error {
	var k checker
	if c.HTTP.TLS.Enabled() {
		if _, err := tls.LoadX509KeyPair(c.HTTP.TLS.Cert, c.HTTP.TLS.Key); err != nil {
			k.bad("http.tls", "%v", err)
		}
	}
	if c.Cluster.Enabled() {
		if _, err := tls.LoadX509KeyPair(c.Cluster.TLS.Cert, c.Cluster.TLS.Key); err != nil {
			k.bad("cluster.tls", "%v", err)
		}
		if _, err := os.Stat(c.Cluster.TLS.CA); err != nil {
			k.bad("cluster.tls.ca", "%v", err)
		}
	}
	if c.Cluster.GossipKey != "" {
		k.secretFile("cluster.gossip_key", c.Cluster.GossipKey)
		if _, err := GossipKeys(c.Cluster.GossipKey); err != nil {
			k.bad("cluster.gossip_key", "%v", err)
		}
	}
	if info, err := os.Stat(c.Node.DataDir); err == nil && !info.IsDir() {
		k.bad("node.data_dir", "%s is a file; name a folder", c.Node.DataDir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.bad("node.data_dir", "%v", err)
	}
	if path, ok := strings.CutPrefix(c.Seal.KEK, "file://"); ok {
		k.secretFile("seal.kek", path)
	}
	k.secretFile("auth.admin_key_file", c.Auth.AdminKeyFile)
	return k.problems.orNil()
}

// secretFile checks a file that holds a secret, if it is there already.
func (k *checker) secretFile(key, path string) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		k.bad(key, "%v", err)
		return
	case !info.Mode().IsRegular():
		k.bad(key, "%s is not a file", path)
		return
	case info.Mode().Perm()&0o077 != 0:
		k.bad(key, "%s can be read by others (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	f, err := os.Open(path)
	if err != nil {
		k.bad(key, "%v", err)
		return
	}
	if err := f.Close(); err != nil {
		k.bad(key, "%v", err)
	}
}
