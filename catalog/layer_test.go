package catalog

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/grantd/grantd/credential"
)

// below is a catalogue of one entry with every field.
func below(t *testing.T) *Catalog {
	t.Helper()
	c, err := readOne(goodFile)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func folder(files ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i+1 < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fsys
}

func TestAFolderReplacesExtendsAndAdds(t *testing.T) {
	c := below(t)
	over, err := c.Over(folder(
		"p.yaml", "id: p\nextends: p\nterminal_errors: [gone]\nurl_variables: {host: eu.p.example}\n",
		"q.yaml", "id: q\nextends: p\nname: Q\n",
		"r.yaml", "id: r\nname: R\ntoken_url: https://r.example/token\n", // no sources: it is the operator's word
		"README.md", "not a provider",
	), ".")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := over.Get("p")
	want, _ := c.Get("p")
	want = want.Clone()
	want.TerminalErrors, want.Extends, want.Origin = []string{"gone"}, "p", Folder
	want.URLVariables["host"] = "eu.p.example"
	if !equal(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	if q, _ := over.Get("q"); q.Name != "Q" || q.TokenURL != want.TokenURL || q.Origin != Folder {
		t.Errorf("q is %+v", q)
	}
	var ids []string
	for _, p := range over.List() {
		ids = append(ids, p.ID)
	}
	if !slices.Equal(ids, []string{"p", "q", "r"}) {
		t.Errorf("the list has %v", ids)
	}
	if before, _ := c.Get("p"); !slices.Equal(before.TerminalErrors, []string{"dead", "Dead_2"}) || before.URLVariables["host"] != "auth.p.example" {
		t.Error("the catalogue below was changed")
	}
}

func TestAFolderIsCheckedLikeTheRest(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"nobody to extend":  {"id: x\nextends: pp\n", "x.yaml:2: extends: the catalogue has no \"pp\""},
		"a field":           {"id: x\nextends: p\npkce: S256\n", "x.yaml:3: pkce: must be one of"},
		"an unknown field":  {"id: x\nextends: p\ntokn_url: y\n", "x.yaml:3: tokn_url: unknown field; did you mean token_url?"},
		"what it does with": {"id: x\nextends: p\nurl_variables: {host: evil.example}\n", "x.yaml:3: url_variables: "},
		"its name":          {"id: p\nextends: p\n", "x.yaml:1: id: must be the name of the file, x"},
		"no id":             {"extends: p\n", "x.yaml:1: id: must be the name of the file, x"},
	} {
		_, err := below(t).Over(folder("x.yaml", tc.text), ".")
		if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %v\nshould hold %q", name, err, tc.want)
		}
	}
	if _, err := Read(folder("providers/x.yaml", "id: x\nextends: p\n"), "providers"); err == nil || !strings.Contains(err.Error(), "operator's own") {
		t.Errorf("a built-in file extends: %v", err)
	}
}

func TestAnEntryIsDefinedByTheAPI(t *testing.T) {
	c := below(t)
	p, err := c.Define("p", settings("extends", `"p"`, "terminal_errors", `["gone"]`, "rate_limit", `null`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Origin != API || p.Name != "P" || !slices.Equal(p.TerminalErrors, []string{"gone"}) || p.RateLimit != (RateLimit{}) || p.Extends != "p" {
		t.Errorf("%+v", p)
	}
	if p, err = c.Define("p", settings("extends", `"p"`, "terminal_errors", `["gone"]`)); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var again map[string]json.RawMessage
	if err := json.Unmarshal(raw, &again); err != nil {
		t.Fatal(err)
	}
	if q, err := c.Define("p", again); err != nil || !equal(p, q) {
		t.Errorf("what is shown cannot be sent back: %v\n%+v\n%+v", err, p, q)
	}
	for name, tc := range map[string]struct {
		id     string
		fields map[string]json.RawMessage
		want   string
	}{
		"no token end point": {"x", settings("name", `"X"`), "token_url: is missing"},
		"another id":         {"x", settings("id", `"y"`, "extends", `"p"`), "id: must be the one of the address"},
		"the empty provider": {"custom", settings("extends", `"p"`), "choose another"},
		"nobody to extend":   {"x", settings("extends", `"nobody"`), "has no \"nobody\""},
		"extends nothing":    {"x", settings("extends", `7`), "extends: must be text"},
		"plain http":         {"x", settings("name", `"X"`, "token_url", `"http://hunter2.example/"`), "https://"},
		"unknown":            {"x", settings("extends", `"p"`, "colour", `"red"`), "colour: unknown field"},
		"odd id":             {"X Y", settings("extends", `"p"`), "id: must be lower-case"},
	} {
		_, err := c.Define(tc.id, tc.fields)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, credential.ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v\nshould hold %q", name, err, tc.want)
		}
	}
}
