package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

// table writes aligned columns. It may be flushed now and then: columns stay
// as wide as they have been.
type table struct {
	w      *tabwriter.Writer
	widths []int
}

func newTable(w io.Writer, header ...string) *table {
	t := &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if len(header) > 0 {
		t.row(header...)
	}
	return t
}

// row writes one row. An empty cell becomes a dash, so that columns can be told
// apart by programs, too. Errors come out of flush.
func (t *table) row(cells ...string) {
	for len(t.widths) < len(cells) {
		t.widths = append(t.widths, 0)
	}
	line := make([]string, len(cells))
	for i, cell := range cells {
		if cell = plain(cell); cell == "" {
			cell = "-"
		}
		n := utf8.RuneCountInString(cell)
		if i < len(cells)-1 {
			cell += strings.Repeat(" ", max(0, t.widths[i]-n))
		}
		t.widths[i] = max(t.widths[i], n)
		line[i] = cell
	}
	_, _ = fmt.Fprintln(t.w, strings.Join(line, "\t"))
}

func (t *table) flush() error { return t.w.Flush() }

// writeJSON writes v for scripts, indented.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// show writes v as JSON, or as the rows of a table without a header.
func show(w io.Writer, asJSON bool, v any, rows ...[]string) error {
	if asJSON {
		return writeJSON(w, v)
	}
	t := newTable(w)
	for _, r := range rows {
		t.row(r...)
	}
	return t.flush()
}

// listFlags are the flags of commands that list.
type listFlags struct {
	limit  int
	cursor string
	json   bool
}

func (l *listFlags) register(fs *flag.FlagSet) {
	fs.IntVar(&l.limit, "limit", 0, "end after `n` entries (default: all)")
	fs.StringVar(&l.cursor, "cursor", "", "go on where next_cursor of an earlier --json list says")
	registerJSON(fs, &l.json)
}

func registerJSON(fs *flag.FlagSet, b *bool) {
	fs.BoolVar(b, "json", false, "print JSON, as the HTTP API gives it")
}

// pageSize is how many entries are asked for at once.
const pageSize = 500

// listing prints a paged list without holding more than a page of it.
type listing[T any] struct {
	member string // name of the list in JSON
	header []string
	row    func(T) []string
	page   func(ctx context.Context, cursor string, limit int) (items []T, next string, err error)
}

// listCommand makes c, which has only names and perhaps flags of its own, the
// command that prints what list says.
func listCommand[T any](c command, list func(*client.Client, *input) listing[T]) command {
	var (
		conn  connection
		flags listFlags
	)
	own := c.flags
	c.flags = func(fs *flag.FlagSet) {
		if own != nil {
			own(fs)
		}
		flags.register(fs)
		conn.register(fs)
	}
	c.run = func(ctx context.Context, in *input) error {
		api, err := conn.open(in)
		if err != nil {
			return err
		}
		return list(api, in).print(ctx, in.Stdout, flags)
	}
	return c
}

// sink takes the entries of a list one by one.
type sink[T any] interface {
	put(T) error
	pageEnd() error
	end(next string) error
}

func (l listing[T]) print(ctx context.Context, w io.Writer, f listFlags) error {
	if f.limit < 0 {
		return usagef("--limit %d is negative", f.limit)
	}
	var out sink[T] = &tableSink[T]{l, newTable(w, l.header...)}
	if f.json {
		out = &jsonSink[T]{member: l.member, w: w}
	}
	cursor, printed := f.cursor, 0
	for {
		size := pageSize
		if f.limit > 0 {
			size = min(size, f.limit-printed)
		}
		items, next, err := l.page(ctx, cursor, size)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := out.put(item); err != nil {
				return err
			}
		}
		if err := out.pageEnd(); err != nil {
			return err
		}
		cursor, printed = next, printed+len(items)
		if cursor == "" || f.limit > 0 && printed >= f.limit {
			return out.end(cursor)
		}
	}
}

type tableSink[T any] struct {
	l listing[T]
	t *table
}

func (s *tableSink[T]) put(item T) error { s.t.row(s.l.row(item)...); return nil }
func (s *tableSink[T]) pageEnd() error   { return s.t.flush() }
func (s *tableSink[T]) end(string) error { return nil }

type jsonSink[T any] struct {
	member string
	w      io.Writer
	began  bool
}

func (s *jsonSink[T]) put(item T) error {
	b, err := json.MarshalIndent(item, "    ", "  ")
	if err != nil {
		return err
	}
	lead := ",\n    "
	if !s.began {
		lead = fmt.Sprintf("{\n  %q: [\n    ", s.member)
		s.began = true
	}
	_, err = fmt.Fprintf(s.w, "%s%s", lead, b)
	return err
}

func (s *jsonSink[T]) pageEnd() error { return nil }

func (s *jsonSink[T]) end(next string) error {
	lead := "\n  ]"
	if !s.began {
		lead = fmt.Sprintf("{\n  %q: []", s.member)
	}
	_, err := fmt.Fprintf(s.w, "%s,\n  \"next_cursor\": %s\n}\n", lead, wire.AppendString(nil, next))
	return err
}

// when formats a time for people; "" where it is not known.
func when(t wire.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// words joins a list for a cell.
func words(list []string) string { return strings.Join(list, " ") }

// commaList splits a flag's value at commas; nil where it is empty.
func commaList(s string) []string {
	var list []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
