// Package config reads and checks the configuration of a node: one YAML file,
// every value of which can be overridden by an environment variable.
//
// It promises that nothing is silently ignored (an unknown key, a key given
// twice, a value of the wrong kind are errors that name file and line), and
// that all problems are told at once, each with what to do about it. It opens
// no listener and creates no file; what the values mean to the running node is
// left to internal/node.
//
// table.go lists every key once: the YAML reader, the environment, the
// reference for people and the origin of each value all come from that list.
package config

import (
	"path/filepath"
	"strings"
	"time"
)

// Config is the whole configuration of one node. Start from [Default], then
// call [Config.Complete]; [Load] does both. Relative paths are relative to the
// working directory of the process.
type Config struct {
	Node     Node
	HTTP     HTTP
	Cluster  Cluster
	Seal     Seal
	Catalog  Catalog
	Auth     Auth
	Log      Log
	Refresh  Refresh
	Outgoing Outgoing
	Events   Events
}

// Node says who this node is and where its data lies.
type Node struct {
	// Name is the node's name in the cluster, logs and claims. It must not
	// change once there is data. Default n1.
	Name string
	// DataDir is the folder of the store; created when missing. Default ./data.
	DataDir string
}

// HTTP is the listener of the API and the dashboard.
type HTTP struct {
	// Listen is host:port; an empty host means all addresses, port 0 a free
	// one. Default 127.0.0.1:8420.
	Listen string
	// PublicURL is the base of links that people follow; no slash at the end.
	// Empty: http:// or https:// and Listen.
	PublicURL string
	TLS       ServerTLS
	// ReadHeaderTimeout and IdleTimeout are those of net/http. Defaults 10s, 2m.
	ReadHeaderTimeout, IdleTimeout time.Duration
	// ShutdownTimeout is how long requests in flight may take to end after
	// SIGTERM. Default 20s.
	ShutdownTimeout time.Duration
}

// ServerTLS names the PEM files of a listener. Both empty: plain HTTP.
type ServerTLS struct{ Cert, Key string }

// Enabled reports whether the listener speaks TLS.
func (t ServerTLS) Enabled() bool { return t.Cert != "" || t.Key != "" }

// Cluster is how nodes find each other and how the data is spread. A node
// without certificates ([Cluster.Enabled]) is alone.
type Cluster struct {
	// Gossip and RPC are host:port of the membership protocol and of the calls
	// between nodes. Others reach the node there, so the host is an address of
	// this machine and not empty; connections to others come from it, too.
	Gossip, RPC string
	Join        []string // gossip addresses of other nodes
	// BootstrapExpect is how many nodes found a new cluster together. Default 1.
	BootstrapExpect int
	// Shards is fixed when the cluster is founded. Default 32.
	Shards int
	// Replicas of each shard, as far as there are nodes. Default 3.
	Replicas int
	TLS      MutualTLS
	// GossipKey is a file of keys that encrypt the gossip, one a line, base64 of
	// 16, 24 or 32 bytes; what is sent is encrypted with the first, and all are
	// tried on what is received. It is read again when it changes. Empty: the
	// gossip can be read, and membership be faked, by whoever reaches the port.
	GossipKey string
	// RebuildAfter is how long a node is dead before its replicas are rebuilt on
	// others. Default 5m.
	RebuildAfter time.Duration
	// MaxMoving bounds the shards that change their replicas at once. Default 4.
	MaxMoving int
	// ReplicaAfter is how long a token is asked of a shard's owner before a
	// replica may answer. Default 1s.
	ReplicaAfter time.Duration
}

// Enabled reports whether the node is one of a cluster, or can become one.
func (c Cluster) Enabled() bool { return c.TLS.CA != "" && c.TLS.Cert != "" && c.TLS.Key != "" }

// MutualTLS names the PEM files of a connection that both ends prove.
type MutualTLS struct{ CA, Cert, Key string }

// Seal says which key-encryption key wraps the tenants' keysets.
type Seal struct {
	// KEK is file://PATH, aws-kms://, gcp-kms:// or hcvault://. A key file is
	// created on the first start. Default file://DATA_DIR/kek.json.
	KEK string
}

// Catalog says where the operator's own entries of the catalogue of providers
// are.
type Catalog struct {
	// Dir is a folder of files *.yaml, each an entry that replaces or extends one
	// that is built in, or is a new one; every node of a cluster has the same.
	// Empty: there is none.
	Dir string
}

// Auth says who may administer the node.
type Auth struct {
	// AdminKeyFile holds the first API key, which may do everything. Default
	// DATA_DIR/admin.key.
	AdminKeyFile string
}

// Log says what is logged, to standard error.
type Log struct {
	Level  string // debug, info, warn or error. Default info.
	Format string // text or json. Default text.
}

// Refresh holds the times and bounds of refreshing; the actors package says
// what they do, under the same names.
type Refresh struct {
	MarginMin, MarginMax   time.Duration // defaults 1m, 3m
	ShortLifetime          time.Duration // default 10m
	AssumedLifetime        time.Duration // default 1h
	CallTimeout            time.Duration // default 10s
	CommitTimeout          time.Duration // default 5s
	BackoffMin, BackoffMax time.Duration // defaults 1s, 5m
	MaxRetryAfter          time.Duration // default 1h
	Refusals               int           // default 4
	UncertainHold          time.Duration // default 10m
	Concurrency            int           // default 256
	ShardConcurrency       int           // default 64
	MaxWaiting             int           // default 65536
	PassivateAfter         time.Duration // default 1m
	RefreshTokenWarning    time.Duration // default 168h
}

// Outgoing bounds where requests to providers and messages to webhooks may go. Private, loopback and
// link-local addresses are refused unless they are allowed here.
type Outgoing struct {
	// Allow lists exceptions; [ParseAllow] says how an entry is written.
	Allow []string
}

// Events says what is told.
type Events struct {
	// Refreshed has every refresh told in the event stream. Without it, those that
	// an end point of webhooks asks for are. Default false.
	Refreshed bool
}

// Default returns the configuration of a node that was told nothing, but for
// the values that [Config.Complete] derives.
func Default() Config {
	return Config{
		Node: Node{Name: "n1", DataDir: "./data"},
		HTTP: HTTP{
			Listen:            "127.0.0.1:8420",
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
			ShutdownTimeout:   20 * time.Second,
		},
		Cluster: Cluster{
			BootstrapExpect: 1, Shards: 32, Replicas: 3, RebuildAfter: 5 * time.Minute, MaxMoving: 4, ReplicaAfter: time.Second,
		},
		Log: Log{Level: "info", Format: "text"},
		Refresh: Refresh{
			MarginMin:           time.Minute,
			MarginMax:           3 * time.Minute,
			ShortLifetime:       10 * time.Minute,
			AssumedLifetime:     time.Hour,
			CallTimeout:         10 * time.Second,
			CommitTimeout:       5 * time.Second,
			BackoffMin:          time.Second,
			BackoffMax:          5 * time.Minute,
			MaxRetryAfter:       time.Hour,
			Refusals:            4,
			UncertainHold:       10 * time.Minute,
			Concurrency:         256,
			ShardConcurrency:    64,
			MaxWaiting:          65536,
			PassivateAfter:      time.Minute,
			RefreshTokenWarning: 7 * 24 * time.Hour,
		},
	}
}

// Complete fills in the values that follow from others: the key files that lie
// in the data folder. It changes nothing that is set, and calling it twice
// does nothing more.
func (c Config) Complete() Config {
	if c.Seal.KEK == "" {
		c.Seal.KEK = "file://" + dirPath(c.Node.DataDir, "kek.json")
	}
	if c.Auth.AdminKeyFile == "" {
		c.Auth.AdminKeyFile = dirPath(c.Node.DataDir, "admin.key")
	}
	return c
}

// dirPath joins without cleaning a leading "./" away: "file://./data/kek.json"
// is easier to read as relative than "file://data/kek.json", which looks like
// a host.
func dirPath(dir, file string) string {
	p := filepath.Join(dir, file)
	if filepath.IsAbs(p) || strings.HasPrefix(p, "..") {
		return p
	}
	return "./" + p
}
