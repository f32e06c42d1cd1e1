package catalog

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed providers/*.yaml
var embedded embed.FS

// Catalog is the set of known providers. It is immutable and may be shared
// between goroutines.
type Catalog struct {
	byID map[string]Provider
	ids  []string
}

// Load reads the catalogue that is built into the program. An error means that
// a file in it is wrong; it names file, line and field.
func Load() (*Catalog, error) {
	c, err := Read(embedded, "providers")
	if err != nil {
		return nil, err
	}
	for id, p := range c.byID {
		p.Origin = Builtin
		c.byID[id] = p
	}
	return c, nil
}

// Read reads a catalogue from the files *.yaml of a directory. All problems of
// all files are in the error, each a *[FieldError].
func Read(fsys fs.FS, dir string) (*Catalog, error) { return read(fsys, dir, nil) }

// read reads files that lie over the catalogue below; nil: there is none.
func read(fsys fs.FS, dir string, below *Catalog) (*Catalog, error) {
	files, err := fs.Glob(fsys, path.Join(dir, "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	c := &Catalog{byID: make(map[string]Provider, len(files))}
	var wrong problems
	for _, name := range files {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("catalogue: %w", err)
		}
		p, bad := parse(name, data, below)
		wrong = append(wrong, bad...)
		c.byID[p.ID] = p
	}
	if err := wrong.err(); err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	c.ids = slices.Sorted(maps.Keys(c.byID))
	return c, nil
}

// Get finds a provider. [Custom] is always there, and empty but for its name;
// it is not in the list.
func (c *Catalog) Get(id string) (Provider, bool) {
	if id == Custom {
		return Provider{ID: Custom, Name: "Custom"}, true
	}
	p, ok := c.byID[id]
	return p, ok
}

// List returns all providers in order of id.
func (c *Catalog) List() []Provider {
	list := make([]Provider, len(c.ids))
	for i, id := range c.ids {
		list[i] = c.byID[id]
	}
	return list
}

// parse reads one file. The name of the file, less ".yaml", has to be the id,
// so that no id can stand twice.
func parse(file string, data []byte, below *Catalog) (Provider, problems) {
	r := reader{file: file, below: below, lines: map[string]int{}}
	r.document(data)
	if len(r.wrong) == 0 {
		bad := append(check(r.p), checkEntry(r.p, below == nil)...)
		if want := strings.TrimSuffix(path.Base(file), ".yaml"); r.p.ID != want {
			bad.add("id", "must be the name of the file, %s", want)
		}
		for _, e := range bad {
			e.Where = r.at(max(r.lines[e.Field], 1))
		}
		r.wrong = bad
	}
	return r.p, r.wrong
}

// reader puts a YAML document into a Provider and remembers the line of each field.
type reader struct {
	file  string
	below *Catalog // what the document can extend; nil: nothing
	p     Provider
	lines map[string]int
	wrong problems
}

func (r *reader) at(line int) string { return fmt.Sprintf("%s:%d", r.file, line) }

func (r *reader) problem(line int, field, format string, args ...any) {
	r.wrong.add(field, format, args...)
	r.wrong[len(r.wrong)-1].Where = r.at(line)
}

func (r *reader) document(data []byte) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		r.problem(1, "", "is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		r.problem(1, "", "must hold the fields of one provider; see provider.schema.json")
		return
	}
	pairs := doc.Content[0].Content
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i].Value != "extends" {
			continue
		}
		var err error
		if r.p, err = r.below.extended(pairs[i+1].Value); err != nil {
			r.problem(pairs[i].Line, "extends", "%s", err)
			return
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.field(pairs[i], pairs[i+1])
	}
}

func (r *reader) field(key, value *yaml.Node) {
	f, known := fieldNamed(key.Value)
	if !known {
		r.problem(key.Line, shorten(key.Value), "unknown field; %s", suggest(key.Value, fieldNames()))
		return
	}
	if first, twice := r.lines[f.name]; twice {
		r.problem(key.Line, f.name, "stands twice, first in line %d; take one out", first)
		return
	}
	r.lines[f.name] = key.Line
	raw, err := toJSON(value)
	if err == nil && string(raw) == "null" {
		err = errors.New("has no value; take the line out")
	}
	if err == nil {
		err = put(&r.p, f, raw)
	}
	if err != nil {
		r.problem(key.Line, f.name, "%s", err)
	}
}

// toJSON turns a YAML value into JSON, so that files and overrides are read by
// the same rules.
func toJSON(n *yaml.Node) (json.RawMessage, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, errors.New("must hold only texts, numbers, lists and names with values; put a name that is a number in quotes")
	}
	return raw, nil
}

func fieldNames() []string {
	var names []string
	for _, f := range fields() {
		names = append(names, f.name)
	}
	return names
}
