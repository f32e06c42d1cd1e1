package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/grantd/grantd/internal/nearest"
)

// Over returns the catalogue with the files *.yaml of an operator's own folder
// laid over it: each takes the place of the entry of its id, or is a new one.
// With extends it has from the named entry of the catalogue below what it does
// not say itself. Errors name file, line and field, all of them.
func (c *Catalog) Over(fsys fs.FS, dir string) (*Catalog, error) {
	own, err := read(fsys, dir, c)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(c.byID)
	for id, p := range own.byID {
		p.Origin = Folder
		all[id] = p
	}
	return &Catalog{byID: all, ids: slices.Sorted(maps.Keys(all))}, nil
}

// Define makes an entry of the fields that an operator gives by the API, by the
// names and in the form of the catalogue's files, over the catalogue as a file
// of a folder lies over it. The catalogue itself stays as it is. Errors are
// *[FieldError], joined where there are several, and never show a value.
func (c *Catalog) Define(id string, fields map[string]json.RawMessage) (Provider, error) {
	var p Provider
	var wrong problems
	if raw, ok := fields["extends"]; ok {
		var name string
		err := decode(raw, &name)
		if err == nil {
			p, err = c.extended(name)
		}
		if err != nil {
			wrong.add("extends", "%s", err)
		}
	}
	p.ID = id
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f, known := fieldNamed(name)
		if !known {
			wrong.add(shorten(name), "unknown field; %s", suggest(name, fieldNames()))
		} else if err := put(&p, f, fields[name]); err != nil {
			wrong.add(name, "%s", err)
		}
	}
	if wrong == nil {
		wrong = append(check(p), checkEntry(p, false)...)
		if p.ID != id {
			wrong.add("id", "must be the one of the address, or be left out")
		}
	}
	if err := wrong.err(); err != nil {
		return Provider{}, err
	}
	p.Origin = API
	return p, nil
}

// extended is the beginning of an entry that extends another.
func (c *Catalog) extended(name string) (Provider, error) {
	if c == nil {
		return Provider{}, errors.New("is for an operator's own files; the built-in ones stand for themselves")
	}
	p, ok := c.byID[name]
	if !ok {
		if best := nearest.Name(name, c.ids); best != "" {
			return Provider{}, fmt.Errorf("the catalogue has no %q; did you mean %s?", shorten(name), best)
		}
		return Provider{}, fmt.Errorf("the catalogue has no %q", shorten(name))
	}
	p = p.Clone()
	p.Extends = name
	return p, nil
}
