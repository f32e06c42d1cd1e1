package catalog

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/providers.md anew")

const listFile = "../docs/providers.md"

func TestListOfProvidersInTheDocumentsIsTheCatalogues(t *testing.T) {
	want := providersDocument(builtIn(t))
	if *update {
		if err := os.WriteFile(listFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(listFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/providers.md is not what the catalogue says; run: go test ./catalog -run %s -update", t.Name())
	}
}

func providersDocument(list []Provider) []byte {
	var b bytes.Buffer
	unverified := 0
	for _, p := range list {
		if p.Unverified {
			unverified++
		}
	}
	fmt.Fprintf(&b, `# Providers

What grantd knows of %d providers, a file each in [catalog/providers](../catalog/providers), checked against [provider.schema.json](../catalog/provider.schema.json). A fact that nobody verified is absent: unknown rotation is treated as rotating, unknown client authentication as HTTP Basic. %d entries rest on one source and are marked so. None of these end points was called to learn this; each file names its sources and their dates.

An integration may override every field, and `+"`custom`"+` is the provider of which nothing is known. What is wrong here is best corrected by a source: change the file, add the page and its date.

This list is made by `+"`go test ./catalog -run ListOfProviders -update`"+`, and the tests compare it with the files.

| id | name | for | refresh token | variables | |
|---|---|---|---|---|---|
`, len(list), unverified)
	for _, p := range list {
		note := ""
		if p.Unverified {
			note = "unverified"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", p.ID, p.Name, strings.Join(p.Categories, ", "),
			cmp.Or(string(p.RefreshRotation), "unknown"), strings.Join(variableList(p), ", "), note)
	}
	return b.Bytes()
}

// variableList names the variables that somebody has to give.
func variableList(p Provider) []string {
	var names []string
	for _, name := range p.MissingVariables() {
		names = append(names, "`"+name+"`")
	}
	return names
}
