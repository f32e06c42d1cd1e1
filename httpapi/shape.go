package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/wire"
)

// maxDepth is how deep a body may be nested.
const maxDepth = 16

// shapeWalker compares a JSON text with the Go type that it is to be decoded
// into. encoding/json alone would take names in any case, doubled names, and
// null for a number, and its errors can repeat values.
type shapeWalker struct {
	dec  *json.Decoder
	data []byte
	open bool
}

// value checks the next value. typ nil stands for any value; path is where it
// is, empty for the whole body.
func (w *shapeWalker) value(typ reflect.Type, path string, depth int) error {
	tok, err := w.dec.Token()
	if err != nil {
		return w.syntax(err)
	}
	if depth > maxDepth {
		return invalid("The body is nested deeper than %d levels, at %s.", maxDepth, place(w.data, w.dec.InputOffset()))
	}
	for typ != nil && typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch t := tok.(type) {
	case json.Delim:
		if t == '{' {
			return w.object(typ, path, depth)
		}
		return w.array(typ, path, depth)
	case nil:
		return w.null(path)
	case string:
		return w.text(typ, path, t)
	case json.Number:
		return w.number(typ, path, t)
	default: // bool
		return expect(typ, path, "a boolean", typ == nil || typ.Kind() == reflect.Bool)
	}
}

func (w *shapeWalker) object(typ reflect.Type, path string, depth int) error {
	if err := expect(typ, path, "an object", typ == nil || isObject(typ)); err != nil {
		return err
	}
	fields := fieldsOf(typ)
	seen := map[string]bool{}
	for w.dec.More() {
		tok, err := w.dec.Token()
		if err != nil {
			return w.syntax(err)
		}
		name, _ := tok.(string) // a member's name is a string, or Token fails
		if seen[name] {
			return invalid("Field %s is there twice. Send it once.", quoted(join(path, name)))
		}
		seen[name] = true
		field, err := w.field(typ, fields, path, name, depth)
		if err != nil {
			return err
		}
		if err := w.value(field, join(path, name), depth+1); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return w.syntax(err)
}

// field finds the type of a member.
func (w *shapeWalker) field(typ reflect.Type, fields map[string]reflect.Type, path, name string, depth int) (reflect.Type, error) {
	if typ == nil {
		return nil, nil
	}
	if typ.Kind() == reflect.Map {
		return typ.Elem(), nil
	}
	if field, ok := fields[name]; ok {
		return field, nil
	}
	for known := range fields {
		if strings.EqualFold(known, name) {
			return nil, invalid("Field %s is written %q.", quoted(join(path, name)), known)
		}
	}
	if w.open && depth == 0 {
		return nil, nil
	}
	return nil, invalid("Unknown field %s. Allowed here: %s.", quoted(join(path, name)), strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
}

func (w *shapeWalker) array(typ reflect.Type, path string, depth int) error {
	if err := expect(typ, path, "an array", typ == nil || typ.Kind() == reflect.Slice); err != nil {
		return err
	}
	var elem reflect.Type
	if typ != nil {
		elem = typ.Elem()
	}
	for i := 0; w.dec.More(); i++ {
		at := path + "[" + strconv.Itoa(i) + "]"
		if err := w.value(elem, at, depth+1); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return w.syntax(err)
}

// null is as good as leaving a field out; anywhere else it is no value.
func (w *shapeWalker) null(path string) error {
	if path == "" || strings.HasSuffix(path, "]") {
		return invalid("%s is null.", subject(path))
	}
	return nil
}

var timeType = reflect.TypeFor[wire.Time]()

func (w *shapeWalker) text(typ reflect.Type, path, value string) error {
	if typ == timeType {
		if _, err := time.Parse(time.RFC3339, value); err != nil {
			return invalid("%s is not an RFC 3339 time. Write it like 2006-01-02T15:04:05Z.", subject(path))
		}
		return nil
	}
	return expect(typ, path, "a string", typ == nil || typ.Kind() == reflect.String)
}

func (w *shapeWalker) number(typ reflect.Type, path string, n json.Number) error {
	if typ == nil {
		return nil
	}
	var err error
	switch typ.Kind() {
	case reflect.Int, reflect.Int64:
		_, err = strconv.ParseInt(n.String(), 10, 64)
	case reflect.Uint64:
		_, err = strconv.ParseUint(n.String(), 10, 64)
	default:
		return expect(typ, path, "a number", false)
	}
	if err != nil {
		return invalid("%s must be a whole number, without fraction or exponent, within 64 bits.", subject(path))
	}
	return nil
}

// syntax turns an error of the decoder into an answer; nil stays nil.
func (w *shapeWalker) syntax(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("The body ends in the middle of its JSON. Send the whole of it.")
	}
	at := w.dec.InputOffset()
	var se *json.SyntaxError
	if errors.As(err, &se) {
		at = max(at, se.Offset-1)
	}
	return invalid("The body is not JSON: it breaks at %s.", place(w.data, at))
}

func expect(typ reflect.Type, path, got string, ok bool) error {
	if ok {
		return nil
	}
	return invalid("%s must be %s, not %s.", subject(path), typeName(typ), got)
}

func typeName(typ reflect.Type) string {
	if typ == timeType {
		return "an RFC 3339 time in a string"
	}
	switch typ.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a whole number"
	}
}

func isObject(typ reflect.Type) bool {
	return typ != timeType && (typ.Kind() == reflect.Struct || typ.Kind() == reflect.Map)
}

// fieldsOf lists the JSON names of a struct; nil for any other type.
func fieldsOf(typ reflect.Type) map[string]reflect.Type {
	if typ == nil || typ.Kind() != reflect.Struct {
		return nil
	}
	fields := make(map[string]reflect.Type, typ.NumField())
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func subject(path string) string {
	if path == "" {
		return "The body"
	}
	return "Field " + quoted(path)
}

// quoted shows a name that the caller chose: on one line and not too long.
func quoted(name string) string {
	const most = 64
	if len(name) > most {
		return strconv.QuoteToASCII(name[:most]) + "..."
	}
	return strconv.QuoteToASCII(name)
}

// place names a byte of data by line and column, both from 1.
func place(data []byte, offset int64) string {
	before := data[:min(max(offset, 0), int64(len(data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d", line, column)
}

// loneSurrogate finds an escape \ud800 to \udfff that is not half of a pair:
// encoding/json would put U+FFFD in its place without a word, and so change a
// password. data is valid JSON. It returns the offset, or -1.
func loneSurrogate(data []byte) int {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		switch first := escapedUnit(data[i:]); {
		case first >= 0xd800 && first < 0xdc00:
			second := escapedUnit(data[i+6:])
			if second < 0xdc00 || second > 0xdfff {
				return i
			}
			i += 11
		case first >= 0xdc00 && first <= 0xdfff:
			return i
		default:
			i++ // the escaped character, which may be a backslash
		}
	}
	return -1
}

// escapedUnit reads \uXXXX at the start of b, or returns -1.
func escapedUnit(b []byte) int64 {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int64(n)
}
