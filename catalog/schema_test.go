package catalog

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const schemaFile = "provider.schema.json"

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaFile, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// yamlValue reads YAML as the schema's checker wants it.
func yamlValue(t *testing.T, data []byte) any {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil {
		t.Fatal(err)
	}
	raw, err := toJSON(&n)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEveryProviderFitsTheSchema(t *testing.T) {
	s := compileSchema(t)
	files, err := fs.Glob(embedded, "providers/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		data, err := fs.ReadFile(embedded, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(yamlValue(t, data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaAndLoaderKnowTheSameFields(t *testing.T) {
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	inSchema := slices.Sorted(maps.Keys(doc.Properties))
	known := slices.Sorted(slices.Values(fieldNames()))
	if !slices.Equal(inSchema, known) {
		t.Errorf("schema: %v\nloader: %v", inSchema, known)
	}
}

// What the schema lets through the loader may still refuse, but what the
// schema refuses the loader must refuse too, or an editor would complain about
// a file that works.
func TestSchemaRefusesOnlyWhatTheLoaderRefuses(t *testing.T) {
	s := compileSchema(t)
	refused := 0
	for _, tc := range badFiles {
		var n yaml.Node
		if yaml.Unmarshal([]byte(tc.yaml), &n) != nil || strings.HasPrefix(tc.name, "yaml: ") {
			continue
		}
		if s.Validate(yamlValue(t, []byte(tc.yaml))) != nil {
			refused++
		}
	}
	if refused < 15 {
		t.Errorf("the schema refuses only %d of the bad files", refused)
	}
	for _, text := range []string{goodFile, minimalFile} {
		if err := s.Validate(yamlValue(t, []byte(text))); err != nil {
			t.Errorf("a file that loads is refused by the schema: %v", err)
		}
	}
}
