package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/grantd/grantd/internal/nearest"
)

// reader puts the values of a YAML document into a Config and remembers where
// each came from.
type reader struct {
	file     string
	keys     map[string]key      // by path
	children map[string][]string // names below each section; "" is the top
	origins  map[string]string   // path -> "file:line" or the variable
	problems Problems
}

func newReader(file string, c *Config) *reader {
	r := &reader{file: file, keys: map[string]key{}, children: map[string][]string{}, origins: map[string]string{}}
	seen := map[string]bool{}
	for _, k := range c.keys() {
		r.keys[k.path] = k
		parent := ""
		for name := range strings.SplitSeq(k.path, ".") {
			path := join(parent, name)
			if !seen[path] {
				seen[path] = true
				r.children[parent] = append(r.children[parent], name)
			}
			parent = path
		}
	}
	return r
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

// problem records what is wrong at a node of the document.
func (r *reader) problem(n *yaml.Node, path, format string, args ...any) {
	r.problems = append(r.problems, Problem{Where: r.at(n), Key: path, Text: fmt.Sprintf(format, args...)})
}

// origin says where the value of a key came from, or that of the first given
// key of a section; empty for a default.
func (r *reader) origin(path string) string {
	if where, ok := r.origins[path]; ok {
		return where
	}
	for _, name := range r.children[path] {
		if where := r.origin(join(path, name)); where != "" {
			return where
		}
	}
	return ""
}

func (r *reader) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", r.file, n.Line) }

// document reads one YAML document. An empty one changes nothing.
func (r *reader) document(data []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return
	case err != nil:
		r.problems = append(r.problems, Problem{Where: r.file, Text: "is not YAML: " + oneLine(strings.TrimPrefix(err.Error(), "yaml: "))})
		return
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		r.problems = append(r.problems, Problem{Where: r.file, Text: "holds more than one YAML document; keep one and take out the lines ---"})
		return
	}
	if len(doc.Content) == 1 {
		r.section("", doc.Content[0])
	}
}

// section reads a mapping: path is its name, "" for the top of the document.
// The nesting is that of the table, so aliases cannot make it endless.
func (r *reader) section(path string, n *yaml.Node) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.problem(n, path, "must hold keys and values: %s", strings.Join(r.children[path], ", "))
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := resolve(n.Content[i]), n.Content[i+1]
		if first, twice := lines[name.Value]; twice {
			r.problem(n.Content[i], join(path, name.Value), "stands twice, first in line %d; take one out", first)
			continue
		}
		lines[name.Value] = n.Content[i].Line
		r.entry(path, name, value)
	}
}

// entry reads one key of a section.
func (r *reader) entry(section string, name, value *yaml.Node) {
	known := r.children[section]
	if name.Kind == yaml.ScalarNode && slices.Contains(known, name.Value) {
		path := join(section, name.Value)
		if k, ok := r.keys[path]; ok {
			r.value(k, name, value)
		} else {
			r.section(path, value)
		}
		return
	}
	if near := nearest.Name(name.Value, known); near != "" {
		r.problem(name, section, "unknown key %q; did you mean %q?", shorten(name.Value), near)
		return
	}
	r.problem(name, section, "unknown key %q; known here: %s", shorten(name.Value), strings.Join(known, ", "))
}

// value reads a scalar or a list. Null leaves the default.
func (r *reader) value(k key, name, n *yaml.Node) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	r.origins[k.path] = r.at(name)
	if list, ok := k.value.(*[]string); ok {
		r.list(list, k, n)
		return
	}
	if n.Kind != yaml.ScalarNode {
		r.problem(n, k.path, "must be one value, such as %s", k)
		return
	}
	if err := k.set(n.Value); err != nil {
		r.problem(n, k.path, "%v", err)
	}
}

func (r *reader) list(into *[]string, k key, n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		r.problem(n, k.path, "is a list; write it as [a, b]")
		return
	}
	items := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		item = resolve(item)
		if item.Kind != yaml.ScalarNode || isNull(item) || item.Value == "" {
			r.problem(item, k.path, "every item of the list must be one value that is not empty")
			return
		}
		items = append(items, item.Value)
	}
	*into = items
}

// resolve follows aliases, a bounded number of times: an alias can point to
// one that points back.
func resolve(n *yaml.Node) *yaml.Node {
	for range 8 {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// shorten keeps what a person typed from filling the terminal.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
