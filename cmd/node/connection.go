package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

// Environment variables of the command line; the server's configuration knows
// them as not its own.
const (
	envAddr          = "GRANTD_ADDR"
	envKey           = "GRANTD_KEY"
	envClientSecret  = "GRANTD_CLIENT_SECRET"
	envAccessToken   = "GRANTD_ACCESS_TOKEN"
	envRefreshToken  = "GRANTD_REFRESH_TOKEN"
	envAPIKey        = "GRANTD_API_KEY"
	envPassword      = "GRANTD_PASSWORD"
	envWebhookSecret = "GRANTD_WEBHOOK_SECRET"
)

func commandLineVariables() []string {
	return []string{envAddr, envKey, envClientSecret, envAccessToken, envRefreshToken, envAPIKey, envPassword, envWebhookSecret}
}

const (
	defaultAddr = "127.0.0.1:8420"
	devDataDir  = "./grantd-data"
	// adminKeyName is the admin key's file in a data folder.
	adminKeyName = "admin.key"
	// userAgent names the command line to the node.
	userAgent = "grantd-cli"
)

// connection is where the node is and who asks.
type connection struct {
	addr string
	key  string
}

func (c *connection) register(fs *flag.FlagSet) {
	fs.StringVar(&c.addr, "addr", "", "`address` of the node, host:port or URL (default $"+envAddr+", else "+defaultAddr+")")
	fs.StringVar(&c.key, "key", "", "API `key` (default $"+envKey+", which other users cannot see; else, for a node on this machine, the file "+devDataDir+"/"+adminKeyName+" of grantd dev)")
}

// resolve returns the base URL of the node and the key to present.
func (c *connection) resolve(in *input) (base string, key wire.Secret, err error) {
	in.remote = true
	addr := cmp.Or(c.addr, in.getenv(envAddr), defaultAddr)
	u, err := baseURL(addr)
	if err != nil {
		return "", "", err
	}
	key = wire.Secret(cmp.Or(c.key, in.getenv(envKey)))
	if key == "" && isLocal(u.Hostname()) {
		key, err = readAdminKey(filepath.Join(devDataDir, adminKeyName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", "", err
		}
	}
	if key == "" {
		return "", "", usagef("no API key; set $%s", envKey)
	}
	return u.String(), key, nil
}

// open returns a client of the node.
func (c *connection) open(in *input) (*client.Client, error) {
	base, key, err := c.resolve(in)
	if err != nil {
		return nil, err
	}
	return client.New(base, key, client.Options{UserAgent: userAgent})
}

// explain adds what to do to errors of commands that speak to a node.
func explain(err error) error {
	var answer *client.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w; is the node running, and is --addr right?", err)
	case errors.As(err, &answer) && answer.RetryAfter > 0:
		return fmt.Errorf("%w; try again in %v", err, answer.RetryAfter)
	case errors.As(err, &answer) && answer.Code == wire.CodeInternal:
		return fmt.Errorf("%w; the node's log has more under request id %s", err, answer.RequestID)
	}
	return err
}

// baseURL reads host:port or a URL. Without a scheme it is http for this
// machine, and https for any other: a key must not cross a network in the
// clear because nobody thought of it.
func baseURL(addr string) (*url.URL, error) {
	const want = "write host:port or http(s)://host:port"
	if !strings.Contains(addr, "://") {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, usagef("address %q has no port; %s", addr, want)
		}
		scheme := "https://"
		if isLocal(host) {
			scheme = "http://"
		}
		addr = scheme + addr
	}
	u, err := url.Parse(addr)
	if err == nil && u.User != nil {
		return nil, usagef("the address must not hold a user or password; %s", want)
	}
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, usagef("address %q cannot be; %s", addr, want)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

func isLocal(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
