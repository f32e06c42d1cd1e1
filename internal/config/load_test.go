package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// contract is the configuration that the documentation shows, for one node.
const contract = `
node: {name: n1, data_dir: ./data}
http: {listen: 127.0.0.1:8420, public_url: https://grants.example.com, tls: {cert: "", key: ""}}
cluster: {gossip: 127.0.0.1:7946, rpc: 127.0.0.1:7947, join: [], bootstrap_expect: 1, shards: 32, replicas: 3, tls: {ca: "", cert: "", key: ""}}
seal: {kek: "file://./kek.json"}
auth: {admin_key_file: ./admin.key}
log: {level: debug, format: json}
refresh: {margin_min: 30s, margin_max: 2m}
outgoing: {allow: [10.0.0.0/8, idp.internal:8443]}
`

func TestAllValuesOfTheDocumentedFileArrive(t *testing.T) {
	got, warnings, err := Parse("grantd.yaml", []byte(contract), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "this node is alone") {
		t.Errorf("warnings: %q", warnings)
	}
	want := Default()
	want.HTTP.PublicURL = "https://grants.example.com"
	want.Cluster.Gossip, want.Cluster.RPC, want.Cluster.Join = "127.0.0.1:7946", "127.0.0.1:7947", []string{}
	want.Seal.KEK = "file://./kek.json"
	want.Auth.AdminKeyFile = "./admin.key"
	want.Log = Log{Level: "debug", Format: "json"}
	want.Refresh.MarginMin, want.Refresh.MarginMax = 30*time.Second, 2*time.Minute
	want.Outgoing.Allow = []string{"10.0.0.0/8", "idp.internal:8443"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestNothingGivenIsTheDefault(t *testing.T) {
	for _, doc := range []string{"", "\n# nothing\n", "---\n", "http:\nnode: ~\ncluster: {join: ~}"} {
		got, _, err := Parse("f", []byte(doc), nil, nil)
		if err != nil {
			t.Errorf("%q: %v", doc, err)
		}
		if want := Default().Complete(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, want %+v", doc, got, want)
		}
	}
}

func TestWrongFilesAreRefusedWithFileAndLine(t *testing.T) {
	for name, tc := range map[string]struct{ doc, want string }{
		"unknown key":      {"http:\n  listen: :1\n  listn: :2", `grantd.yaml:3: http: unknown key "listn"; did you mean "listen"?`},
		"unknown section":  {"\nfoo: 1", `grantd.yaml:2: unknown key "foo"; known here: node, http, cluster, seal, catalog, auth, log, refresh, outgoing, events`},
		"empty key":        {`"": 1`, `grantd.yaml:1: unknown key ""; known here: node, http, cluster, seal, catalog, auth, log, refresh, outgoing, events`},
		"path as a key":    {"http.listen: :1", `grantd.yaml:1: unknown key "http.listen"; known here: node, http, cluster, seal, catalog, auth, log, refresh, outgoing, events`},
		"unknown below":    {"http: {tls: {ca: x}}", `grantd.yaml:1: http.tls: unknown key "ca"; known here: cert, key`},
		"twice":            {"node: {name: a}\nnode: {name: b}", `grantd.yaml:2: node: stands twice, first in line 1; take one out`},
		"value as section": {"http: 1", `grantd.yaml:1: http: must hold keys and values: listen, public_url, tls, read_header_timeout, idle_timeout, shutdown_timeout`},
		"section as value": {"node: {name: {a: b}}", `grantd.yaml:1: node.name: must be one value, such as n1`},
		"not a number":     {"cluster:\n  shards: many", `grantd.yaml:2: cluster.shards: "many" is not a whole number`},
		"not a duration":   {"refresh: {margin_min: 60}", `grantd.yaml:1: refresh.margin_min: "60" is not a duration; write it like 500ms, 30s, 5m or 1h30m`},
		"not a list":       {"outgoing: {allow: 10.0.0.0/8}", `grantd.yaml:1: outgoing.allow: is a list; write it as [a, b]`},
		"list of lists":    {"outgoing:\n  allow:\n    - [a]", `grantd.yaml:3: outgoing.allow: every item of the list must be one value that is not empty`},
		"list at the top":  {"- a", `grantd.yaml:1: must hold keys and values: node, http, cluster, seal, catalog, auth, log, refresh, outgoing, events`},
		"two documents":    {"node: {}\n---\nnode: {}", `grantd.yaml: holds more than one YAML document; keep one and take out the lines ---`},
		"merge":            {"<<: {node: {}}", `grantd.yaml:1: unknown key "<<"; known here: node, http, cluster, seal, catalog, auth, log, refresh, outgoing, events`},
		"bad value":        {"node: {}\nhttp:\n  listen: nowhere", `grantd.yaml:3: http.listen: "nowhere" is not an address; write host:port, such as 127.0.0.1:8420`},
		"half of TLS":      {"http:\n  tls:\n    cert: a.pem", `grantd.yaml:3: http.tls: has only one of cert and key; give both, or none for plain HTTP`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse("grantd.yaml", []byte(tc.doc), nil, nil)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %v", err, tc.want)
			}
		})
	}
}

func TestBrokenYAMLIsOneProblemWithItsLine(t *testing.T) {
	_, _, err := Parse("grantd.yaml", []byte("node:\n  name: [a\n"), nil, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "grantd.yaml: is not YAML: line ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	doc := "node: {name: '-'}\nhttp: {listen: x, foo: 1}\nlog: {level: loud}\n"
	_, _, err := Parse("f", []byte(doc), []string{"GRANTD_CLUSTER_SHARDS=0", "GRANTD_REFRESH_REFUSALS=x"}, nil)
	problems, ok := err.(Problems)
	if !ok {
		t.Fatalf("got %T: %v", err, err)
	}
	got := map[string]string{}
	for _, p := range problems {
		got[p.Where+" "+p.Key] = p.Text
	}
	for _, want := range []string{"f:1 node.name", "f:2 http.listen", "f:2 http", "f:3 log.level", "GRANTD_CLUSTER_SHARDS cluster.shards", "GRANTD_REFRESH_REFUSALS refresh.refusals"} {
		if got[want] == "" {
			t.Errorf("no problem %q in:\n%v", want, err)
		}
	}
	if len(problems) != 6 {
		t.Errorf("%d problems, want 6:\n%v", len(problems), err)
	}
}

func TestAliasesAreFollowedAndCyclesEnd(t *testing.T) {
	c, _, err := Parse("f", []byte("node: {name: &n other}\ncluster: {gossip: a:1, rpc: a:2, tls: {ca: *n, cert: *n, key: *n}}"), nil, nil)
	if err != nil || c.Cluster.TLS.CA != "other" {
		t.Errorf("ca %q, err %v", c.Cluster.TLS.CA, err)
	}
	if _, _, err = Parse("f", []byte("node: &a\n  name: *a\n"), nil, nil); err == nil {
		t.Error("a cycle was accepted")
	}
}

func TestEnvironmentOverridesEveryKey(t *testing.T) {
	c := Default()
	names := map[string]bool{}
	for _, k := range c.keys() {
		if names[k.env()] {
			t.Errorf("two keys share %s", k.env())
		}
		names[k.env()] = true
	}
	got, _, err := Parse("f", []byte("http: {listen: ':1'}\ncluster: {shards: 8}"), []string{
		"GRANTD_HTTP_LISTEN=:9", "GRANTD_HTTP_TLS_CERT=c", "GRANTD_HTTP_TLS_KEY=k", "GRANTD_REFRESH_CALL_TIMEOUT=3s",
		"GRANTD_OUTGOING_ALLOW=10.0.0.1, idp.internal,", "GRANTD_NODE_DATA_DIR=/d", "GRANTD_LOG_LEVEL=", "PATH=/bin",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.HTTP.Listen != ":9" || got.HTTP.TLS != (ServerTLS{"c", "k"}) || got.Refresh.CallTimeout != 3*time.Second || got.Cluster.Shards != 8 {
		t.Errorf("got %+v", got)
	}
	if !reflect.DeepEqual(got.Outgoing.Allow, []string{"10.0.0.1", "idp.internal"}) {
		t.Errorf("allow %q", got.Outgoing.Allow)
	}
	if got.Seal.KEK != "file:///d/kek.json" || got.Auth.AdminKeyFile != "/d/admin.key" {
		t.Errorf("files %q %q", got.Seal.KEK, got.Auth.AdminKeyFile)
	}
	if got.Log.Level != "info" {
		t.Errorf("an empty variable set the level to %q", got.Log.Level)
	}
}

func TestWithEnvironKeepsWhatNoVariableSets(t *testing.T) {
	base := Default()
	base.Log.Level = "warn"
	got, _, err := base.WithEnviron([]string{"GRANTD_HTTP_LISTEN=:9"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := base
	want.HTTP.Listen = ":9"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if base.HTTP.Listen != Default().HTTP.Listen {
		t.Error("the base was changed")
	}
	if _, _, err := base.WithEnviron([]string{"GRANTD_CLUSTER_SHARDS=x"}, nil); err == nil {
		t.Error("a bad value was accepted")
	}
}

func TestUnknownVariables(t *testing.T) {
	for variable, want := range map[string]struct{ err, warning string }{
		"GRANTD_HTTP_LISTN=x":                 {err: "GRANTD_HTTP_LISTN: names no configuration key; did you mean GRANTD_HTTP_LISTEN?"},
		"GRANTD_HTTP_PORT=80":                 {err: "GRANTD_HTTP_PORT: names no configuration key"},
		"GRANTD_HTPP_LISTEN=x":                {warning: "environment variable GRANTD_HTPP_LISTEN is not used; did you mean GRANTD_HTTP_LISTEN?"},
		"GRANTD_ADDR=x":                       {},
		"GRANTD_HTTP_PORT=tcp://10.0.0.1:80":  {},
		"GRANTD_HTTP_PORT_80_TCP_ADDR=10.0.1": {},
		"GRANTD_SERVICE_HOST=10.0.0.1":        {},
		"OTHER_HTTP_LISTN=x":                  {},
	} {
		_, warnings, err := Parse("f", nil, []string{variable}, []string{"GRANTD_ADDR"})
		got := ""
		if err != nil {
			got, _, _ = strings.Cut(err.Error(), "; known")
		}
		if !strings.HasPrefix(got, want.err) || (want.err == "") != (err == nil) {
			t.Errorf("%s: error %q, want %q", variable, got, want.err)
		}
		if w := strings.Join(warnings, "|"); w != want.warning {
			t.Errorf("%s: warning %q, want %q", variable, w, want.warning)
		}
	}
}

func TestLoadSaysWhyAFileCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "no.yaml")
	if _, _, err := Load(missing, nil, nil); err == nil || err.Error() != "configuration file "+missing+" does not exist" {
		t.Errorf("got %v", err)
	}
	if _, _, err := Load(dir, nil, nil); err == nil {
		t.Error("a folder was read")
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(big, nil, nil); err == nil || !strings.Contains(err.Error(), "is it the right one?") {
		t.Errorf("got %v", err)
	}
	good := filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(good, []byte(contract), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, _, err := Load(good, nil, nil); err != nil || c.Log.Level != "debug" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestReferenceNamesEveryKeyWithItsDefault(t *testing.T) {
	ref := Reference()
	for _, want := range []string{"http.listen: 127.0.0.1:8420\n", "GRANTD_HTTP_LISTEN", "refresh.margin_max: 3m\n", "refresh.assumed_lifetime: 1h\n", "cluster.join: []\n"} {
		if !strings.Contains(ref, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

// FuzzParse looks for panics, and for documents that are accepted although the
// configuration that comes out is not valid.
func FuzzParse(f *testing.F) {
	f.Add([]byte(contract), "GRANTD_HTTP_LISTEN=:1")
	f.Add([]byte("a: &a [*a]"), "GRANTD_CLUSTER_JOIN=,a,")
	f.Add([]byte("node: &a\n  name: *a\n"), "GRANTD_X=1")
	f.Add([]byte("? [a]\n: b"), "GRANTD_=")
	f.Add([]byte("outgoing: {allow: [\"[::1]:1\", 1.2.3.4/33]}"), "=")
	f.Fuzz(func(t *testing.T, doc []byte, variable string) {
		c, _, err := Parse("fuzz.yaml", doc, []string{variable}, nil)
		if err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("accepted, but not valid: %v", err)
			}
			return
		}
		problems, ok := err.(Problems)
		if !ok || len(problems) == 0 {
			t.Errorf("error without problems: %T %v", err, err)
		}
		for _, p := range problems {
			if p.Text == "" {
				t.Errorf("problem without text: %+v", p)
			}
		}
	})
}

func TestASwitchIsTrueOrFalse(t *testing.T) {
	for text, ok := range map[string]bool{"true": true, "false": true, "yes": false, "1": false, "": false} {
		c := Default()
		for _, k := range c.keys() {
			if k.path != "events.refreshed" {
				continue
			}
			if err := k.set(text); (err == nil) != ok || c.Events.Refreshed != (text == "true") {
				t.Errorf("%q: %v, %v", text, c.Events.Refreshed, err)
			}
			if ok && k.String() != text {
				t.Errorf("%q prints as %q", text, k)
			}
		}
	}
}
