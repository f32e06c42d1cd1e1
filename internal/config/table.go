package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// key is one value of the configuration: where it stands in the YAML file,
// where in the struct, and what it is for.
type key struct {
	path  string // "http.tls.cert"
	value any    // *string, *int, *time.Duration or *[]string, into a Config
	doc   string
}

// env is the environment variable that overrides the key.
func (k key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

// keys lists every value of c. The order is that of the reference.
func (c *Config) keys() []key {
	return []key{
		{"node.name", &c.Node.Name, "name of this node; must not change once there is data"},
		{"node.data_dir", &c.Node.DataDir, "folder of the store; created when missing"},

		{"http.listen", &c.HTTP.Listen, "host:port of the API and the dashboard"},
		{"http.public_url", &c.HTTP.PublicURL, "base of links that people follow (empty: from listen)"},
		{"http.tls.cert", &c.HTTP.TLS.Cert, "PEM file; empty: plain HTTP"},
		{"http.tls.key", &c.HTTP.TLS.Key, "PEM file of the certificate's key"},
		{"http.read_header_timeout", &c.HTTP.ReadHeaderTimeout, "a request's header must have come by then"},
		{"http.idle_timeout", &c.HTTP.IdleTimeout, "a connection without requests is closed after this"},
		{"http.shutdown_timeout", &c.HTTP.ShutdownTimeout, "requests in flight may take this long to end after SIGTERM"},

		{"cluster.gossip", &c.Cluster.Gossip, "host:port of the membership protocol, as others reach it"},
		{"cluster.rpc", &c.Cluster.RPC, "host:port of calls between nodes, as others reach it"},
		{"cluster.join", &c.Cluster.Join, "gossip addresses of other nodes"},
		{"cluster.bootstrap_expect", &c.Cluster.BootstrapExpect, "how many nodes found a new cluster together"},
		{"cluster.shards", &c.Cluster.Shards, "fixed when the cluster is founded"},
		{"cluster.replicas", &c.Cluster.Replicas, "copies of each shard, as far as there are nodes"},
		{"cluster.tls.ca", &c.Cluster.TLS.CA, "PEM file of the authority of the nodes' certificates (empty: this node is alone)"},
		{"cluster.tls.cert", &c.Cluster.TLS.Cert, "PEM file of this node's certificate"},
		{"cluster.tls.key", &c.Cluster.TLS.Key, "PEM file of the certificate's key"},
		{"cluster.gossip_key", &c.Cluster.GossipKey, "file of keys that encrypt the gossip, one a line in base64, the first is used for sending"},
		{"cluster.rebuild_after", &c.Cluster.RebuildAfter, "replicas of a node that is dead for longer are rebuilt on others"},
		{"cluster.max_moving", &c.Cluster.MaxMoving, "shards that change their replicas at once"},
		{"cluster.replica_after", &c.Cluster.ReplicaAfter, "a replica may answer with a fresh token when the shard's owner has not after this"},

		{"seal.kek", &c.Seal.KEK, "key-encryption key: file://PATH (created on first start), aws-kms://, gcp-kms:// or hcvault:// (empty: kek.json in data_dir)"},
		{"catalog.dir", &c.Catalog.Dir, "folder of files *.yaml that replace, extend or add providers (empty: none); the same on every node"},
		{"auth.admin_key_file", &c.Auth.AdminKeyFile, "file of the API key that may do everything (empty: admin.key in data_dir)"},

		{"log.level", &c.Log.Level, "debug, info, warn or error"},
		{"log.format", &c.Log.Format, "text or json, to standard error"},

		{"refresh.margin_min", &c.Refresh.MarginMin, "an access token is refreshed no later than this before it expires"},
		{"refresh.margin_max", &c.Refresh.MarginMax, "and no earlier than this; the moment is drawn in between"},
		{"refresh.short_lifetime", &c.Refresh.ShortLifetime, "for tokens that live less, both margins shrink in proportion"},
		{"refresh.assumed_lifetime", &c.Refresh.AssumedLifetime, "of access tokens whose lifetime nobody tells"},
		{"refresh.call_timeout", &c.Refresh.CallTimeout, "a provider must have answered by then"},
		{"refresh.commit_timeout", &c.Refresh.CommitTimeout, "a write must be replicated by then"},
		{"refresh.backoff_min", &c.Refresh.BackoffMin, "wait after the first failure; doubles with each further one"},
		{"refresh.backoff_max", &c.Refresh.BackoffMax, "longest wait after a failure"},
		{"refresh.max_retry_after", &c.Refresh.MaxRetryAfter, "longest wait that a provider may ask for by Retry-After"},
		{"refresh.refusals", &c.Refresh.Refusals, "unrecognised refusals in a row that end in needs_reauth"},
		{"refresh.uncertain_hold", &c.Refresh.UncertainHold, "longest wait for the lost answer of a rotating token while the old access token serves"},
		{"refresh.concurrency", &c.Refresh.Concurrency, "token requests in flight to one integration"},
		{"refresh.shard_concurrency", &c.Refresh.ShardConcurrency, "scheduled refreshes of one shard under way at once"},
		{"refresh.max_waiting", &c.Refresh.MaxWaiting, "callers waiting for a refresh at once, on this node"},
		{"refresh.passivate_after", &c.Refresh.PassivateAfter, "an account without work leaves memory after this"},
		{"refresh.refresh_token_warning", &c.Refresh.RefreshTokenWarning, "the end of a refresh token is told this long before"},

		{"outgoing.allow", &c.Outgoing.Allow, "private addresses that providers and webhooks may live at: CIDR, IP, host, IP:port or host:port"},

		{"events.refreshed", &c.Events.Refreshed, "true: every refresh is an event of the stream; false: those that a webhook asks for are"},
	}
}

// set reads text into the key's value, in the form that the YAML file and the
// environment share. Lists are not read here.
func (k key) set(text string) error {
	switch v := k.value.(type) {
	case *string:
		*v = text
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*v = n
	case *bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*v = text == "true"
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration; write it like 500ms, 30s, 5m or 1h30m", text)
		}
		*v = d
	case *[]string:
		return errors.New("is a list; write it as [a, b]")
	}
	return nil
}

// String formats the value as it is written in YAML.
func (k key) String() string {
	switch v := k.value.(type) {
	case *string:
		if *v == "" {
			return `""`
		}
		return *v
	case *int:
		return strconv.Itoa(*v)
	case *bool:
		return strconv.FormatBool(*v)
	case *time.Duration:
		return trimZeroUnits(v.String())
	case *[]string:
		return "[" + strings.Join(*v, ", ") + "]"
	}
	return ""
}

// trimZeroUnits turns "2m0s" into "2m" and "1h0m0s" into "1h".
func trimZeroUnits(s string) string {
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Reference describes every key: its default, its environment variable and
// what it is for. It is the text of the documentation.
func Reference() string {
	var b strings.Builder
	c := Default()
	section := ""
	for _, k := range c.keys() {
		if s, _, _ := strings.Cut(k.path, "."); s != section {
			if section != "" {
				b.WriteByte('\n')
			}
			section = s
		}
		fmt.Fprintf(&b, "%s: %s\n    %s\n    %s\n", k.path, k, k.doc, k.env())
	}
	return b.String()
}
