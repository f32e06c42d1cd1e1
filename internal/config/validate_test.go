package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const noTLS = "cluster.tls: is not set, and nodes prove themselves to each other by certificates; set ca, cert and key (scripts/certs makes them), or leave out cluster.join and cluster.bootstrap_expect for a node alone"

// clustered is the configuration of a node of a cluster.
func clustered() Config {
	c := Default()
	c.Cluster.Gossip, c.Cluster.RPC, c.Cluster.BootstrapExpect = "10.0.0.1:7946", "10.0.0.1:7947", 3
	c.Cluster.TLS, c.Cluster.GossipKey = MutualTLS{"ca", "cert", "key"}, "gossip.key"
	return c
}

func TestANodeOfAClusterIsRight(t *testing.T) {
	if c := clustered(); c.Validate() != nil || len(c.Warnings()) != 0 {
		t.Errorf("%v, warnings %q", c.Validate(), c.Warnings())
	}
	open := clustered()
	open.Cluster.GossipKey = ""
	unused := Default()
	unused.Cluster.RPC = "10.0.0.1:7947"
	lonely := clustered()
	lonely.Cluster.BootstrapExpect, lonely.Cluster.Join = 1, []string{"10.0.0.2:7946"}
	for _, c := range []Config{open, unused, lonely} {
		if len(c.Warnings()) != 1 {
			t.Errorf("warnings %q", c.Warnings())
		}
	}
}

func TestValidateNamesKeyAndRemedy(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"name":            {func(c *Config) { c.Node.Name = "a b" }, "node.name: bad name: the node's name has ' ' at byte 1; use letters, digits and . _ - : @ +, beginning with a letter or digit"},
		"data":            {func(c *Config) { c.Node.DataDir = "" }, "node.data_dir: is empty; name the folder of the store, such as ./data"},
		"no port":         {func(c *Config) { c.HTTP.Listen = "localhost" }, `http.listen: "localhost" is not an address; write host:port, such as 127.0.0.1:8420`},
		"big port":        {func(c *Config) { c.HTTP.Listen = ":65536" }, `http.listen: ":65536" has no port between 0 and 65535; write host:port, such as 127.0.0.1:8420`},
		"named port":      {func(c *Config) { c.HTTP.Listen = ":http" }, `http.listen: ":http" has no port between 0 and 65535; write host:port, such as 127.0.0.1:8420`},
		"url as address":  {func(c *Config) { c.HTTP.Listen = "http://a:1" }, `http.listen: "http://a:1" is not an address; write host:port, such as 127.0.0.1:8420`},
		"no listen":       {func(c *Config) { c.HTTP.Listen = "" }, `http.listen: "" is not an address; write host:port, such as 127.0.0.1:8420`},
		"relative url":    {func(c *Config) { c.HTTP.PublicURL = "grants.example.com" }, `http.public_url: "grants.example.com" is not an http or https URL; write it like https://grants.example.com`},
		"url with slash":  {func(c *Config) { c.HTTP.PublicURL = "https://a/" }, "http.public_url: must not end in a slash; write it like https://grants.example.com"},
		"url with query":  {func(c *Config) { c.HTTP.PublicURL = "https://a?b" }, "http.public_url: must end before ? and #; write it like https://grants.example.com"},
		"url with user":   {func(c *Config) { c.HTTP.PublicURL = "https://u:p@a" }, "http.public_url: must not hold a user or password; write it like https://grants.example.com"},
		"half of tls":     {func(c *Config) { c.HTTP.TLS.Key = "k" }, "http.tls: has only one of cert and key; give both, or none for plain HTTP"},
		"join":            {func(c *Config) { c.Cluster.Join = []string{"127.0.0.2:7946"} }, noTLS},
		"expect three":    {func(c *Config) { c.Cluster.BootstrapExpect = 3 }, noTLS},
		"expect none":     {func(c *Config) { c.Cluster.BootstrapExpect = 0 }, "cluster.bootstrap_expect: 0 is not between 1 and 9"},
		"no gossip":       {func(c *Config) { *c = clustered(); c.Cluster.Gossip = "" }, "cluster.gossip: is not set; write the address at which other nodes reach this one, such as 10.0.0.1:7946"},
		"any address":     {func(c *Config) { *c = clustered(); c.Cluster.RPC = "0.0.0.0:7947" }, `cluster.rpc: "0.0.0.0:7947" says nothing to other nodes; name the address of this machine at which they reach it`},
		"any port":        {func(c *Config) { *c = clustered(); c.Cluster.RPC = "10.0.0.1:0" }, `cluster.rpc: "10.0.0.1:0" has no fixed port; other nodes must find it`},
		"rebuild at once": {func(c *Config) { c.Cluster.RebuildAfter = 0 }, "cluster.rebuild_after: 0s is not between 1s and 720h"},
		"shards":          {func(c *Config) { c.Cluster.Shards = 0 }, "cluster.shards: 0 is not between 1 and 1024"},
		"replicas":        {func(c *Config) { c.Cluster.Replicas = 6 }, "cluster.replicas: 6 is not between 1 and 5"},
		"gossip":          {func(c *Config) { c.Cluster.Gossip = "x" }, `cluster.gossip: "x" is not an address; write host:port, such as 127.0.0.1:8420`},
		"some of mtls":    {func(c *Config) { c.Cluster.TLS.CA = "x" }, "cluster.tls: has only some of ca, cert and key; nodes prove themselves to each other with all three"},
		"kek path":        {func(c *Config) { c.Seal.KEK = "./kek.json" }, `seal.kek: "./kek.json" is not a URI; a key file is written file://PATH`},
		"kek scheme":      {func(c *Config) { c.Seal.KEK = "https://x" }, `seal.kek: scheme "https" is not known; use one of file, aws-kms, gcp-kms, hcvault`},
		"kek empty":       {func(c *Config) { c.Seal.KEK = "file://" }, "seal.kek: names nothing after file://"},
		"level":           {func(c *Config) { c.Log.Level = "trace" }, `log.level: "trace" is not one of debug, info, warn, error`},
		"format":          {func(c *Config) { c.Log.Format = "" }, `log.format: "" is not one of text, json`},
		"margins":         {func(c *Config) { c.Refresh.MarginMin = 4 * time.Minute }, "refresh.margin_min: 4m0s is more than refresh.margin_max (3m0s)"},
		"negative margin": {func(c *Config) { c.Refresh.MarginMin = -1 }, "refresh.margin_min: -1ns is not between 0s and 24h"},
		"short lifetime":  {func(c *Config) { c.Refresh.ShortLifetime = 5 * time.Minute }, "refresh.short_lifetime: 5m0s must be at least twice refresh.margin_max (3m0s), or short-lived tokens would be refreshed all the time"},
		"backoff":         {func(c *Config) { c.Refresh.BackoffMin = 6 * time.Minute }, "refresh.backoff_min: 6m0s is more than refresh.backoff_max (5m0s)"},
		"allow":           {func(c *Config) { c.Outgoing.Allow = []string{"10.0.0.0/99"} }, `outgoing.allow: "10.0.0.0/99" is neither a network (10.1.0.0/16), an address (10.1.2.3) nor a host (idp.internal), the latter two with a :port if need be`},
	} {
		t.Run(name, func(t *testing.T) {
			c := Default()
			tc.change(&c)
			err := c.Validate()
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %v", err, tc.want)
			}
		})
	}
}

func TestDefaultIsValidAndCompleteIsIdempotent(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	once := c.Complete()
	if err := once.Validate(); err != nil {
		t.Error(err)
	}
	if once.Seal != (Seal{KEK: "file://./data/kek.json"}) || once.Auth != (Auth{AdminKeyFile: "./data/admin.key"}) {
		t.Errorf("got %+v %+v", once.Seal, once.Auth)
	}
	once.Node.DataDir = "/elsewhere"
	if twice := once.Complete(); twice.Seal != once.Seal || twice.Auth != once.Auth {
		t.Errorf("the second time changed %+v %+v", twice.Seal, twice.Auth)
	}
}

func TestParseAllow(t *testing.T) {
	prefix := func(s string, port uint16) Allow { return Allow{Prefix: netip.MustParsePrefix(s), Port: port} }
	for s, want := range map[string]Allow{
		"10.1.2.3/8":             prefix("10.0.0.0/8", 0),
		"127.0.0.1":              prefix("127.0.0.1/32", 0),
		"127.0.0.1:8421":         prefix("127.0.0.1/32", 8421),
		"::1":                    prefix("::1/128", 0),
		"[fd00::1]:443":          prefix("fd00::1/128", 443),
		"::ffff:10.0.0.1":        prefix("10.0.0.1/32", 0),
		"IdP.Internal":           {Host: "idp.internal"},
		"localhost:1":            {Host: "localhost", Port: 1},
		"xn--bcher-kva.example":  {Host: "xn--bcher-kva.example"},
		"1.2.3.example":          {Host: "1.2.3.example"},
		"":                       {},
		"1.2.3":                  {},
		"1.2.3.4.5":              {},
		"10.0.0.0/33":            {},
		"fe80::1%eth0":           {},
		"*.internal":             {},
		"http://idp":             {},
		"idp:0":                  {},
		"idp:http":               {},
		"idp:65536":              {},
		"-idp":                   {},
		"idp..internal":          {},
		strings.Repeat("a", 300): {},
	} {
		got, err := ParseAllow(s)
		if got != want || (err != nil) != (want == Allow{}) {
			t.Errorf("%q: got %+v, %v; want %+v", s, got, err, want)
		}
	}
	if _, err := (Outgoing{Allow: []string{"ok.example", "*"}}).Allowed(); err == nil {
		t.Error("a bad list was parsed")
	}
}

func TestWarnings(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		want   int
	}{
		"default":          {func(*Config) {}, 0},
		"localhost":        {func(c *Config) { c.HTTP.Listen = "localhost:1" }, 0},
		"all addresses":    {func(c *Config) { c.HTTP.Listen = ":8420" }, 1},
		"with TLS":         {func(c *Config) { c.HTTP.Listen, c.HTTP.TLS = ":8420", ServerTLS{"c", "k"} }, 0},
		"everything goes":  {func(c *Config) { c.Outgoing.Allow = []string{"0.0.0.0/0", "::/0"} }, 2},
		"private networks": {func(c *Config) { c.Outgoing.Allow = []string{"10.0.0.0/8"} }, 0},
	} {
		c := Default()
		tc.change(&c)
		if got := c.Warnings(); len(got) != tc.want {
			t.Errorf("%s: %q, want %d", name, got, tc.want)
		}
	}
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	c := Default()
	c.Node.DataDir = filepath.Join(dir, "data")
	c = c.Complete()
	if err := c.CheckFiles(); err != nil {
		t.Errorf("before the first start: %v", err)
	}

	write := func(name string, data []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certPEM, keyPEM := selfSigned(t)
	c.HTTP.TLS = ServerTLS{write("cert.pem", certPEM, 0o644), write("key.pem", keyPEM, 0o600)}
	c.Auth.AdminKeyFile = write("admin.key", []byte("k"), 0o600)
	if err := c.CheckFiles(); err != nil {
		t.Errorf("all is well: %v", err)
	}

	c.HTTP.TLS.Key = c.HTTP.TLS.Cert
	c.Auth.AdminKeyFile = write("open.key", []byte("k"), 0o644)
	c.Seal.KEK = "file://" + dir
	c.Node.DataDir = write("file", nil, 0o600)
	err := c.CheckFiles()
	if err == nil {
		t.Fatal("nothing was found")
	}
	for _, want := range []string{"http.tls: ", "run: chmod 600 " + c.Auth.AdminKeyFile, "seal.kek: " + dir + " is not a file", "node.data_dir: " + c.Node.DataDir + " is a file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}

func selfSigned(t *testing.T) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
