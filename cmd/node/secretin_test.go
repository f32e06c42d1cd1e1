package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/grantd/grantd/wire"
)

func TestSecretsOfAnImportComeFromTheEnvironment(t *testing.T) {
	f := newFakeServer(t)
	base := []string{envAddr + "=" + f.URL, envKey + "=" + testKey}
	for name, tc := range map[string]struct {
		environ []string
		args    string
		want    string
	}{
		"oauth2": {
			[]string{"GRANTD_ACCESS_TOKEN=at", "GRANTD_REFRESH_TOKEN=rt"}, "acme/1 --integration demo --scopes read,write --expires-in 60",
			`{"tenant":"acme","id":"1","integration":"demo","credentials":{"type":"oauth2","access_token":"at","refresh_token":"rt","expires_in":60,"scopes":["read","write"]}}`,
		},
		"api key":            {[]string{"GRANTD_API_KEY=ak"}, "acme --integration demo --type api_key", `{"tenant":"acme","integration":"demo","credentials":{"type":"api_key","api_key":"ak"}}`},
		"basic":              {[]string{"GRANTD_PASSWORD=pw"}, "acme --integration demo --type basic --username ada", `{"tenant":"acme","integration":"demo","credentials":{"type":"basic","username":"ada","password":"pw"}}`},
		"client credentials": {nil, "acme --integration demo --type client_credentials", `{"tenant":"acme","integration":"demo","credentials":{"type":"client_credentials"}}`},
	} {
		got := runWith(append(base, tc.environ...), "", append([]string{"import"}, strings.Fields(tc.args)...)...)
		if got.code != exitDone {
			t.Errorf("%s: exit %d, stderr %q", name, got.code, got.stderr)
			continue
		}
		if body := f.last(t).body; !sameJSON(t, body, tc.want) {
			t.Errorf("%s: sent %s, want %s", name, body, tc.want)
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var compact [2]bytes.Buffer
	for i, s := range []string{a, b} {
		var v any
		if err := json.Unmarshal([]byte(s), &v); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if err := json.NewEncoder(&compact[i]).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	return compact[0].String() == compact[1].String()
}

func TestAnImportFromStandardInputIsStrict(t *testing.T) {
	f := newFakeServer(t)
	const account = `{"tenant":"a","id":"x","integration":"i","credentials":{"type":"api_key","api_key":"ak"}}`
	if got := f.against(account, "import", "--integration", "demo", "--scopes", "read"); got.code != exitDone {
		t.Fatalf("exit %d, stderr %q", got.code, got.stderr)
	}
	want := `{"tenant":"a","id":"x","integration":"demo","credentials":{"type":"api_key","api_key":"ak","scopes":["read"]}}`
	if body := f.last(t).body; !sameJSON(t, body, want) {
		t.Errorf("sent %s, want %s", body, want)
	}
	asked := len(f.seen())
	for input, want := range map[string]string{
		"":                                "it is empty",
		`{"tenant":"a"`:                   "it ends too early",
		`{"tenant":1}`:                    "field tenant must be of type string",
		`{"tennant":"s3cret"}`:            "it has a field that is unknown",
		account + account:                 "more than one account",
		`{"credentials":{"type":"magic"}`: "it ends too early",
	} {
		got := f.against(input, "import")
		if got.code != exitFailed || !strings.Contains(got.stderr, want) || strings.Contains(got.stderr, "s3cret") {
			t.Errorf("%q: exit %d, stderr %q; want %q", input, got.code, got.stderr, want)
		}
	}
	incomplete := map[string]string{
		`{}`:             "tenant is missing",
		`{"tenant":"a"}`: "--integration is missing",
		`{"tenant":"a","integration":"i","credentials":{"type":"oauth2"}}`: "no token",
	}
	for input, want := range incomplete {
		if got := f.against(input, "import"); got.code != exitUsage || !strings.Contains(got.stderr, want) {
			t.Errorf("%q: exit %d, stderr %q; want %q", input, got.code, got.stderr, want)
		}
	}
	if len(f.seen()) != asked {
		t.Error("a broken account was sent")
	}
	in := &input{Env: Env{StdinTerminal: true}}
	if _, err := new(importFlags).account(in); err == nil || !strings.Contains(err.Error(), "nothing is piped in") {
		t.Errorf("on a terminal: %v", err)
	}
}

func TestAClientSecretComesFromEnvironmentInputOrPrompt(t *testing.T) {
	f := newFakeServer(t)
	args := []string{"integrations", "put", "demo", "--provider", "custom", "--client-id", "c", "--set", "token_url=https://a/t", "--set", `token_params={"a":"b"}`}
	sent := func() wire.NewIntegration {
		var n wire.NewIntegration
		if err := json.Unmarshal([]byte(f.last(t).body), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if got := f.against("", args...); got.code != exitDone || sent().ClientSecret != "" {
		t.Errorf("none: exit %d, stderr %q, sent %q", got.code, got.stderr, sent().ClientSecret.Reveal())
	}
	if n := sent(); string(n.Settings["token_url"]) != `"https://a/t"` || string(n.Settings["token_params"]) != `{"a":"b"}` {
		t.Errorf("settings %s", n.Settings)
	}
	if got := f.against("from-stdin\nmore\n", append(args, "--secret-stdin")...); got.code != exitDone || sent().ClientSecret != "from-stdin" {
		t.Errorf("stdin: exit %d, stderr %q, sent %q", got.code, got.stderr, sent().ClientSecret.Reveal())
	}
	environ := []string{envAddr + "=" + f.URL, envKey + "=" + testKey, envClientSecret + "=from-env"}
	if got := runWith(environ, "", args...); got.code != exitDone || sent().ClientSecret != "from-env" {
		t.Errorf("environment: exit %d, stderr %q, sent %q", got.code, got.stderr, sent().ClientSecret.Reveal())
	}
	var out, stderr bytes.Buffer
	code := run(context.Background(), args, Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &stderr, Environ: environ[:2], StdinTerminal: true,
		ReadPassword: func() (string, error) { return "typed", nil },
	})
	if code != exitDone || sent().ClientSecret != "typed" || strings.Contains(out.String()+stderr.String(), "typed") {
		t.Errorf("prompt: exit %d, stderr %q, sent %q", code, stderr.String(), sent().ClientSecret.Reveal())
	}
	code = run(context.Background(), args, Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &stderr, Environ: environ[:2], StdinTerminal: true,
		ReadPassword: func() (string, error) { return "", errors.New("hung up") },
	})
	if code != exitFailed {
		t.Errorf("a terminal that hung up: exit %d", code)
	}
}

func TestDestructionAsksOnATerminal(t *testing.T) {
	f := newFakeServer(t)
	ask := func(answer string, args ...string) (int, int) {
		before := len(f.seen())
		code := run(context.Background(), args, Env{
			Stdin: strings.NewReader(answer), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, StdinTerminal: true,
			Environ: []string{envAddr + "=" + f.URL, envKey + "=" + testKey},
		})
		return code, len(f.seen()) - before
	}
	for _, args := range [][]string{{"disconnect", "acme/1"}, {"integrations", "delete", "demo"}} {
		for answer, want := range map[string][2]int{"y\n": {0, 1}, "YES\n": {0, 1}, "n\n": {1, 0}, "\n": {1, 0}, "": {1, 0}} {
			if code, asked := ask(answer, args...); code != want[0] || asked != want[1] {
				t.Errorf("%v %q: exit %d after %d requests, want %v", args, answer, code, asked, want)
			}
		}
		if code, asked := ask("", append(args, "--yes")...); code != exitDone || asked != 1 {
			t.Errorf("%v --yes: exit %d after %d requests", args, code, asked)
		}
	}
}
