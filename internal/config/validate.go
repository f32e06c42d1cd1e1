package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

// Validate says what is wrong with the values, all of it at once, as
// [Problems]. It looks at nothing outside the Config; [Config.CheckFiles] does.
func (c Config) Validate() error { return c.check().orNil() }

// checker collects problems.
type checker struct{ problems Problems }

func (k *checker) bad(key, format string, args ...any) {
	k.problems = append(k.problems, Problem{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (c Config) check() Problems {
	var k checker
	if err := credential.CheckName("the node's name", c.Node.Name); err != nil {
		k.bad("node.name", "%v", err)
	}
	if c.Node.DataDir == "" {
		k.bad("node.data_dir", "is empty; name the folder of the store, such as ./data")
	}
	k.http(c.HTTP)
	k.cluster(c.Cluster)
	k.kek(c.Seal.KEK)
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "text", "json")
	k.refresh(c.Refresh)
	for _, entry := range c.Outgoing.Allow {
		if _, err := ParseAllow(entry); err != nil {
			k.bad("outgoing.allow", "%v", err)
		}
	}
	return k.problems
}

func (k *checker) http(h HTTP) {
	k.address("http.listen", h.Listen, true)
	k.publicURL(h.PublicURL)
	if (h.TLS.Cert == "") != (h.TLS.Key == "") {
		k.bad("http.tls", "has only one of cert and key; give both, or none for plain HTTP")
	}
	k.duration("http.read_header_timeout", h.ReadHeaderTimeout, time.Second, time.Hour)
	k.duration("http.idle_timeout", h.IdleTimeout, time.Second, 24*time.Hour)
	k.duration("http.shutdown_timeout", h.ShutdownTimeout, 0, time.Hour)
}

// publicURL accepts an absolute http(s) URL with nothing after its path.
func (k *checker) publicURL(s string) {
	if s == "" {
		return
	}
	const key, want = "http.public_url", "write it like https://grants.example.com"
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		k.bad(key, "%q is not an http or https URL; %s", shorten(s), want)
	case u.User != nil:
		k.bad(key, "must not hold a user or password; %s", want)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		k.bad(key, "must end before ? and #; %s", want)
	case strings.HasSuffix(u.Path, "/"):
		k.bad(key, "must not end in a slash; %s", want)
	}
}

func (k *checker) cluster(c Cluster) {
	k.reachable("cluster.gossip", c.Gossip, c.Enabled())
	k.reachable("cluster.rpc", c.RPC, c.Enabled())
	for _, a := range c.Join {
		k.address("cluster.join", a, true)
	}
	k.within("cluster.shards", c.Shards, 1, 1024)
	k.within("cluster.replicas", c.Replicas, 1, 5)
	if set := count(c.TLS.CA, c.TLS.Cert, c.TLS.Key); set != 0 && set != 3 {
		k.bad("cluster.tls", "has only some of ca, cert and key; nodes prove themselves to each other with all three")
	}
	k.within("cluster.bootstrap_expect", c.BootstrapExpect, 1, 9)
	if !c.Enabled() && (c.BootstrapExpect > 1 || len(c.Join) > 0) {
		k.bad("cluster.tls", "is not set, and nodes prove themselves to each other by certificates; set ca, cert and key (scripts/certs makes them), or leave out cluster.join and cluster.bootstrap_expect for a node alone")
	}
	k.duration("cluster.rebuild_after", c.RebuildAfter, time.Second, 30*24*time.Hour)
	k.within("cluster.max_moving", c.MaxMoving, 1, 1024)
	k.duration("cluster.replica_after", c.ReplicaAfter, 10*time.Millisecond, time.Minute)
}

// reachable checks an address that other nodes are told.
func (k *checker) reachable(key, s string, required bool) {
	if s == "" && required {
		k.bad(key, "is not set; write the address at which other nodes reach this one, such as 10.0.0.1:7946")
		return
	}
	k.address(key, s, false)
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		k.bad(key, "%q says nothing to other nodes; name the address of this machine at which they reach it", shorten(s))
	} else if port == "0" {
		k.bad(key, "%q has no fixed port; other nodes must find it", shorten(s))
	}
}

// kek checks the form of the URI; whether the service behind it is built in
// and answers is found out when the node starts.
func (k *checker) kek(uri string) {
	const key = "seal.kek"
	scheme, rest, ok := strings.Cut(uri, "://")
	known := []string{"file", "aws-kms", "gcp-kms", "hcvault"}
	switch {
	case uri == "":
		// Complete puts the key file into the data folder.
	case !ok:
		k.bad(key, "%q is not a URI; a key file is written file://PATH", shorten(uri))
	case !slices.Contains(known, scheme):
		k.bad(key, "scheme %q is not known; use one of %s", shorten(scheme), strings.Join(known, ", "))
	case rest == "":
		k.bad(key, "names nothing after %s://", scheme)
	}
}

func (k *checker) refresh(r Refresh) {
	const day = 24 * time.Hour
	k.duration("refresh.margin_min", r.MarginMin, 0, day)
	k.duration("refresh.margin_max", r.MarginMax, time.Second, day)
	k.order("refresh.margin_min", r.MarginMin, "refresh.margin_max", r.MarginMax)
	k.duration("refresh.short_lifetime", r.ShortLifetime, time.Second, 30*day)
	if r.ShortLifetime < 2*r.MarginMax {
		k.bad("refresh.short_lifetime", "%v must be at least twice refresh.margin_max (%v), or short-lived tokens would be refreshed all the time", r.ShortLifetime, r.MarginMax)
	}
	k.duration("refresh.assumed_lifetime", r.AssumedLifetime, time.Second, 365*day)
	k.duration("refresh.call_timeout", r.CallTimeout, 100*time.Millisecond, 5*time.Minute)
	k.duration("refresh.commit_timeout", r.CommitTimeout, 100*time.Millisecond, time.Minute)
	k.duration("refresh.backoff_min", r.BackoffMin, time.Millisecond, time.Hour)
	k.duration("refresh.backoff_max", r.BackoffMax, time.Millisecond, day)
	k.order("refresh.backoff_min", r.BackoffMin, "refresh.backoff_max", r.BackoffMax)
	k.duration("refresh.max_retry_after", r.MaxRetryAfter, time.Second, 7*day)
	k.within("refresh.refusals", r.Refusals, 1, 100)
	k.duration("refresh.uncertain_hold", r.UncertainHold, time.Second, day)
	k.within("refresh.concurrency", r.Concurrency, 1, 65536)
	k.within("refresh.shard_concurrency", r.ShardConcurrency, 1, 65536)
	k.within("refresh.max_waiting", r.MaxWaiting, 1, 1<<24)
	k.duration("refresh.passivate_after", r.PassivateAfter, time.Second, day)
	k.duration("refresh.refresh_token_warning", r.RefreshTokenWarning, time.Second, 365*day)
}

// address checks host:port. An empty host means all addresses.
func (k *checker) address(key, s string, required bool) {
	if s == "" && !required {
		return
	}
	const want = "write host:port, such as 127.0.0.1:8420"
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		k.bad(key, "%q is not an address; %s", shorten(s), want)
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		k.bad(key, "%q has no port between 0 and 65535; %s", shorten(s), want)
	}
	if strings.ContainsAny(host, "/@ ") {
		k.bad(key, "%q has no host that could be; %s", shorten(s), want)
	}
}

func (k *checker) oneOf(key, s string, words ...string) {
	if !slices.Contains(words, s) {
		k.bad(key, "%q is not one of %s", shorten(s), strings.Join(words, ", "))
	}
}

func (k *checker) within(key string, n, least, most int) {
	if n < least || n > most {
		k.bad(key, "%d is not between %d and %d", n, least, most)
	}
}

func (k *checker) duration(key string, d, least, most time.Duration) {
	if d < least || d > most {
		k.bad(key, "%v is not between %s and %s", d, trimZeroUnits(least.String()), trimZeroUnits(most.String()))
	}
}

func (k *checker) order(key string, small time.Duration, otherKey string, large time.Duration) {
	if small > large {
		k.bad(key, "%v is more than %s (%v)", small, otherKey, large)
	}
}

func count(ss ...string) (set int) {
	for _, s := range ss {
		if s != "" {
			set++
		}
	}
	return set
}

// Warnings names what works but is hardly meant.
func (c Config) Warnings() []string {
	var w []string
	if host, _, err := net.SplitHostPort(c.HTTP.Listen); err == nil && !c.HTTP.TLS.Enabled() && !loopback(host) {
		w = append(w, "http.listen: tokens and API keys cross the network in plain HTTP; set http.tls, or put a TLS proxy in front that alone can reach "+c.HTTP.Listen)
	}
	switch {
	case c.Cluster.Enabled() && c.Cluster.GossipKey == "":
		w = append(w, "cluster.gossip_key: is not set; whoever reaches "+c.Cluster.Gossip+" can read the gossip and make nodes look dead")
	case !c.Cluster.Enabled() && (c.Cluster.Gossip != "" || c.Cluster.RPC != ""):
		w = append(w, "cluster.gossip, cluster.rpc: not used, for cluster.tls is not set; this node is alone")
	}
	if c.Cluster.Enabled() && c.Cluster.BootstrapExpect == 1 && len(c.Cluster.Join) > 0 {
		w = append(w, "cluster.bootstrap_expect: is 1, so if this node is new and sees none of cluster.join when it starts, it founds a cluster of its own; set the number of nodes that found the cluster, or founded it")
	}
	for _, entry := range c.Outgoing.Allow {
		if a, err := ParseAllow(entry); err == nil && a.Prefix.IsValid() && a.Prefix.Bits() == 0 {
			w = append(w, "outgoing.allow: "+entry+" allows every address, so a provider's URL can reach services inside your network")
		}
	}
	return w
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
