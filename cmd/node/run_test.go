package main

import (
	"context"
	"flag"
	"net"
	"os"
	"strings"
	"testing"
)

func TestUsageErrorsExitWithTwoAndSayWhat(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"nonsense", `unknown command "nonsense"`},
		{"link", "--tenant is missing"},
		{"link --tenant acme", "--integration is missing"},
		{"link --tenant acme --integration demo --variable subdomain", "--variable: write name=value"},
		{"link --tenant acme --integration demo --ttl -1m", "--ttl -1m0s is negative"},
		{"webhooks nonsense", `unknown command "webhooks nonsense"`},
		{"webhooks put app", "--url is missing"},
		{"webhooks put app --url https://x --secret-stdin", "standard input holds no secret in its first line"},
		{"webhooks replay app --key k --from yesterday", "--from must be a time such as 2006-01-02T15:04:05Z"},
		{"webhooks deliveries", "ID is missing"},
		{"backup", `unknown command "backup"`},
		{"accounts nonsense", `unknown command "accounts nonsense"`},
		{"--json accounts list", "--json comes before the command; flags go behind it"},
		{"token", "TENANT/ID is missing"},
		{"token acme", `"acme" does not name an account; write tenant/id`},
		{"token a/b/c", `"a/b/c" does not name an account`},
		{"token a/b more", `"more" is too much`},
		{"token a/b --nope", "flag provided but not defined: -nope"},
		{"token a/b --min-ttl soon", `invalid value "soon" for flag -min-ttl`},
		{"token a/b --min-ttl -1s", "--min-ttl -1s is negative"},
		{"refresh a/b --stale-generation -1", `invalid value "-1" for flag -stale-generation`},
		{"accounts list --limit -1", "--limit -1 is negative"},
		{"accounts list extra", `"extra" is too much`},
		{"import acme", "--integration is missing"},
		{"import acme/", `"acme/" names neither a tenant nor an account`},
		{"import acme --integration demo --type magic", `--type "magic" is not one of oauth2, client_credentials, api_key, basic`},
		{"import acme --integration demo", "no token; set $GRANTD_REFRESH_TOKEN, $GRANTD_ACCESS_TOKEN or both"},
		{"import acme --integration demo --type api_key", "no API key of the provider; set $GRANTD_API_KEY"},
		{"import acme --integration demo --type basic --username u", "type basic needs --username and a password in $GRANTD_PASSWORD"},
		{"integrations put demo", "--provider is missing, or --mcp-url in its place"},
		{"integrations put demo --mcp-url https://mcp.example.com/mcp --provider custom", "--mcp-url and --provider exclude each other"},
		{"integrations put demo --provider custom", "--client-id is missing"},
		{"integrations put demo --provider custom --client-id c --set pkce", "--set: write field=value"},
		{"integrations put demo --provider custom --client-id c --set scopes=x", "--set: scopes is not a field of the catalogue; use --scopes"},
		{"integrations put demo --provider custom --client-id c --set client_secret=hunter2", "--set: a client secret is never taken from the command line; put it into $GRANTD_CLIENT_SECRET"},
		{"integrations put demo --provider custom --client-id c --secret-stdin", "standard input holds no secret in its first line"},
		{"keys create --permissions admin", `--tenant is missing; write "*" for all`},
		{"keys create --tenant acme", "--permissions is missing; choose from tokens:read"},
		{"keys create --tenant acme --permissions rule", `permission "rule" is unknown; choose from tokens:read`},
		{"cluster nonsense", `"nonsense" is too much`},
		{"cluster remove", "NODE is missing"},
		{"cluster remove n3 n4", `"n4" is too much`},
		{"cluster remove n3 --timeout -1s", "--timeout -1s must be more than 0"},
		{"cluster --addr nowhere --key k", `address "nowhere" has no port; write host:port or http(s)://host:port`},
		{"cluster --addr ftp://a:1 --key k", `address "ftp://a:1" cannot be`},
		{"cluster --addr grants.example.com:443", "no API key; set $GRANTD_KEY"},
	} {
		got := runWith([]string{envAddr + "=127.0.0.1:1", envKey + "="}, "", append(strings.Fields(tc.args), keyFor(tc.args)...)...)
		if strings.Contains(got.stderr, "hunter2") {
			t.Errorf("%s: %q shows a secret", tc.args, got.stderr)
		}
		if got.code != exitUsage || !strings.HasPrefix(got.stderr, "grantd: "+tc.want) || got.stdout != "" {
			t.Errorf("%s: exit %d, stdout %q, stderr %q; want 2 and %q", tc.args, got.code, got.stdout, got.stderr, tc.want)
		}
		if first, rest, _ := strings.Cut(got.stderr, "\n"); rest != "" && !strings.Contains(first, "command") {
			t.Errorf("%s: more than one line: %q", tc.args, got.stderr)
		}
	}
}

// keyFor gives a key to commands that check other things after the connection.
func keyFor(args string) []string {
	if strings.HasPrefix(args, "accounts list --limit") {
		return []string{"--key", "k"}
	}
	return nil
}

func TestNoCommandAndUnknownCommandsPrintTheUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"accounts"}, {"nonsense"}, {"accounts", "nonsense"}} {
		got := runWith(nil, "", args...)
		if got.code != exitUsage || !strings.Contains(got.stderr, "usage: grantd") || got.stdout != "" {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", args, got.code, got.stdout, got.stderr)
		}
	}
}

// TestHelpKnowsEveryFlag walks the table that parsing uses.
func TestHelpKnowsEveryFlag(t *testing.T) {
	var walk func(path []string, list []command)
	walk = func(path []string, list []command) {
		for _, c := range list {
			here := append(append([]string(nil), path...), c.name)
			for _, args := range [][]string{append(here, "--help"), append(here, "-h"), append([]string{"help"}, here...)} {
				got := runWith(nil, "", args...)
				if got.code != exitDone || got.stderr != "" || !strings.Contains(got.stdout, "usage: grantd "+strings.Join(here, " ")) {
					t.Errorf("%v: exit %d, stdout %q, stderr %q", args, got.code, got.stdout, got.stderr)
				}
				c.flagSet("").VisitAll(func(f *flag.Flag) {
					if !strings.Contains(got.stdout, "\n  --"+f.Name) {
						t.Errorf("%v: help does not know --%s", args, f.Name)
					}
				})
			}
			if c.short == "" || strings.HasSuffix(c.short, ".") || c.run == nil && c.sub == nil {
				t.Errorf("%v: short %q, run %v, sub %d", here, c.short, c.run != nil, len(c.sub))
			}
			walk(here, c.sub)
		}
	}
	walk(nil, commands())
	golden(t, "help", runWith(nil, "", "help").stdout)
	golden(t, "help-token", runWith(nil, "", "help", "token").stdout)
}

func TestFlagsMayStandBehindArguments(t *testing.T) {
	f := newFakeServer(t)
	for _, args := range [][]string{{"token", "acme/1", "--json"}, {"token", "--json", "acme/1"}, {"token", "--json", "--", "acme/1"}} {
		if got := f.against("", args...); got.code != exitDone || !strings.Contains(got.stdout, `"access_token": "at-1"`) {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", args, got.code, got.stdout, got.stderr)
		}
	}
	if got := f.against("", "token", "--", "--json"); got.code != exitUsage || !strings.Contains(got.stderr, `"--json" does not name an account`) {
		t.Errorf("exit %d, stderr %q", got.code, got.stderr)
	}
}

func TestFailuresExitWithOneAndOneLine(t *testing.T) {
	f := newFakeServer(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"try later":         {[]string{"token", "acme/later"}, []string{"provider_unavailable", "; try again in 5s"}},
		"internal":          {[]string{"token", "acme/broken"}, []string{"internal", "request id r-1"}},
		"problem":           {[]string{"token", "acme/dead"}, []string{"needs_reauth", "The grant is dead. Ask  [31mAda."}},
		"not found":         {[]string{"accounts", "show", "acme/no"}, []string{"not_found", "There is no such thing."}},
		"wrong key":         {[]string{"cluster", "--key", "wrong"}, []string{"unauthorized", "The API key is not valid."}},
		"last node":         {[]string{"cluster", "remove", "n1"}, []string{"last_node", "Add a node first."}},
		"nobody listens":    {[]string{"cluster", "--addr", nobody}, []string{nobody, "is the node running, and is --addr right?"}},
		"no such file":      {[]string{"serve", "--config", "no/such.yaml"}, []string{"configuration file no/such.yaml does not exist"}},
		"broken input":      {[]string{"import"}, []string{"standard input is not an account in JSON: it breaks off at byte 1"}},
		"password to stdin": {[]string{"import", "--integration", "demo"}, []string{"standard input is not an account in JSON"}},
	} {
		got := f.against("hunter2", tc.args...)
		if got.code != exitFailed || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 || strings.Contains(got.stderr, "\x1b") {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", name, got.code, got.stdout, got.stderr)
		}
		for _, want := range tc.want {
			if !strings.Contains(got.stderr, want) {
				t.Errorf("%s: no %q in %q", name, want, got.stderr)
			}
		}
		for _, secret := range []string{testKey, "wrong key", "hunter2"} {
			if strings.Contains(got.stderr, secret) {
				t.Errorf("%s: %q shows a secret", name, got.stderr)
			}
		}
	}
}

func TestAnInterruptIsAFailureOfOneLine(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr strings.Builder
	code := run(ctx, []string{"cluster", "--addr", "127.0.0.1:1", "--key", "k"}, Env{Stdin: strings.NewReader(""), Stdout: &strings.Builder{}, Stderr: &stderr})
	if code != exitFailed || stderr.String() != "grantd: interrupted\n" {
		t.Errorf("exit %d, stderr %q", code, stderr.String())
	}
}

func TestOutputs(t *testing.T) {
	f := newFakeServer(t)
	for name, args := range map[string]string{
		"accounts-list":       "accounts list",
		"accounts-list-json":  "accounts list --json",
		"accounts-limit-json": "accounts list --json --limit 3",
		"accounts-show":       "accounts show acme/1",
		"accounts-show-json":  "accounts show acme/1 --json",
		"accounts-history":    "accounts history acme/1",
		"link":                "link --tenant acme --integration demo",
		"link-json":           "link --tenant acme --integration demo --account 1 --scopes a,b --variable subdomain=acme --ttl 30m --json",
		"token":               "token acme/1",
		"token-json":          "token acme/1 --json",
		"token-key":           "token acme/key",
		"token-basic":         "token acme/basic",
		"refresh":             "refresh acme/1",
		"disconnect":          "disconnect acme/1",
		"integrations-list":   "integrations list",
		"integrations-show":   "integrations show demo",
		"providers-list":      "providers list",
		"providers-show":      "providers show github",
		"providers-put":       "providers put own --set extends=github --set name=Own",
		"providers-delete":    "providers delete own --yes",
		"keys-list":           "keys list",
		"keys-list-json":      "keys list --json",
		"keys-create":         "keys create --tenant acme --permissions tokens:read",
		"keys-delete":         "keys delete k1",
		"webhooks-list":       "webhooks list",
		"webhooks-put":        "webhooks put app --url https://app.example.com/hooks",
		"webhooks-rotate":     "webhooks rotate app --overlap 1h",
		"webhooks-delete":     "webhooks delete app --tenant acme",
		"webhooks-test":       "webhooks test app",
		"webhooks-deliveries": "webhooks deliveries app --state parked",
		"webhooks-replay":     "webhooks replay app --parked --json",
		"cluster":             "cluster",
		"cluster-shards":      "cluster --shards",
		"cluster-json":        "cluster --json",
		"cluster-remove":      "cluster remove n3",
		"cluster-remove-json": "cluster remove n3 --json",
	} {
		got := f.against("", strings.Fields(args)...)
		if got.code != exitDone {
			t.Errorf("%s: exit %d, stderr %q", args, got.code, got.stderr)
		}
		golden(t, name, got.stdout)
	}
}

func TestAListEndsAtItsLimitAndSaysWhereToGoOn(t *testing.T) {
	f := newFakeServer(t)
	if got := f.against("", "accounts", "list", "--limit", "3"); strings.Count(got.stdout, "acme/") != 3 {
		t.Errorf("got %q", got.stdout)
	}
	if got := f.against("", "accounts", "list", "--cursor", "4", "--tenant", "acme"); strings.Count(got.stdout, "acme/") != 1 {
		t.Errorf("got %q", got.stdout)
	}
	if last := f.last(t); !strings.Contains(last.target, "tenant=acme") {
		t.Errorf("asked %s", last.target)
	}
}

func TestStaleGenerationIsSentOnlyIfGiven(t *testing.T) {
	f := newFakeServer(t)
	f.against("", "refresh", "acme/1")
	if body := f.last(t).body; strings.Contains(body, "stale_generation") {
		t.Errorf("sent %q", body)
	}
	f.against("", "refresh", "acme/1", "--stale-generation", "0")
	if body := f.last(t).body; !strings.Contains(body, `"stale_generation":0`) {
		t.Errorf("sent %q", body)
	}
}

func TestTheKeyOfDevIsFoundForThisMachineOnly(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, _, err := ensureAdminKey("grantd-data/admin.key", testKey); err != nil {
		t.Fatal(err)
	}
	f := newFakeServer(t)
	if got := runWith(nil, "", "cluster", "--addr", f.URL); got.code != exitDone {
		t.Errorf("exit %d, stderr %q", got.code, got.stderr)
	}
	if got := runWith(nil, "", "cluster", "--addr", "https://grants.example.com"); got.code != exitUsage {
		t.Errorf("the key of this machine would have gone to another: exit %d, stderr %q", got.code, got.stderr)
	}
	if err := os.Chmod("grantd-data/admin.key", 0o644); err != nil {
		t.Fatal(err)
	}
	if got := runWith(nil, "", "cluster", "--addr", f.URL); got.code != exitFailed || !strings.Contains(got.stderr, "run: chmod 600 ") {
		t.Errorf("exit %d, stderr %q", got.code, got.stderr)
	}
}

func TestBaseURL(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:8420":                 "http://127.0.0.1:8420",
		"localhost:8420":                 "http://localhost:8420",
		"[::1]:8420":                     "http://[::1]:8420",
		"grants.example.com:443":         "https://grants.example.com:443",
		"10.0.0.1:8420":                  "https://10.0.0.1:8420",
		"http://10.0.0.1:8420":           "http://10.0.0.1:8420",
		"https://grants.example.com/g/":  "https://grants.example.com/g",
		"https://user:pw@example.com":    "",
		"https://grants.example.com?x=1": "",
		"grants.example.com":             "",
		"":                               "",
	} {
		u, err := baseURL(addr)
		if (err == nil) != (want != "") || err == nil && u.String() != want {
			t.Errorf("%q: got %v, %v; want %q", addr, u, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "pw@") {
			t.Errorf("%q: the error shows the password: %v", addr, err)
		}
	}
}
