package oauth

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object is a JSON object, or a form, by names.
type object map[string]json.RawMessage

// message is an answer's body as far as it can be understood.
type message struct {
	fields object // nil: neither a JSON object nor a form
	shape  string // "json", "form", "html", "empty" or "unreadable"
}

// parse understands a body by what it looks like; the content type, which many
// servers get wrong, decides only what looks like nothing in particular.
func parse(header http.Header, body []byte) message {
	text := bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	switch {
	case len(text) == 0:
		return message{shape: "empty"}
	case text[0] == '{':
		var o object
		if json.Unmarshal(text, &o) != nil || o == nil {
			return message{shape: "unreadable"}
		}
		return message{fields: o, shape: "json"}
	}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case text[0] == '<' || strings.Contains(media, "html"):
		return message{shape: "html"}
	case media == "application/x-www-form-urlencoded" || media == "text/plain":
		return parseForm(string(text))
	}
	return message{shape: "unreadable"}
}

// parseForm reads answers of servers older than the standard.
func parseForm(text string) message {
	form, err := url.ParseQuery(text)
	if err != nil || !form.Has("access_token") && !form.Has("error") {
		return message{shape: "unreadable"}
	}
	o := make(object, len(form))
	for name, values := range form {
		if raw, err := json.Marshal(values[0]); err == nil {
			o[name] = raw
		}
	}
	return message{fields: o, shape: "form"}
}

// text returns a member that is a string, or a number as it is written.
func (o object) text(name string) (string, bool) {
	raw := bytes.TrimSpace(o[name])
	if len(raw) == 0 {
		return "", false
	}
	switch c := raw[0]; {
	case c == '"':
		if plain := raw[1 : len(raw)-1]; bytes.IndexByte(plain, '\\') < 0 && utf8.Valid(plain) {
			return string(plain), true // as nearly all are; it was found to be JSON already
		}
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err == nil
	case c == '-' || c >= '0' && c <= '9':
		return string(raw), true
	}
	return "", false
}

// object returns a member that is an object, else nil.
func (o object) object(name string) object {
	var inner object
	if json.Unmarshal(o[name], &inner) != nil {
		return nil
	}
	return inner
}

// at follows a path of names joined by dots to an object; nil: there is none.
func (o object) at(path string) object {
	holder, name := o.find(path)
	return holder.object(name)
}

// find follows a path to the object that holds what it ends at, and the name
// there. A number picks an element of a list. The object is nil where the path
// leads nowhere.
func (o object) find(path string) (object, string) {
	for {
		name, rest, more := strings.Cut(path, ".")
		if !more {
			return o, name
		}
		inner := o.object(name)
		if inner == nil {
			inner = o.elements(name)
		}
		if inner == nil {
			return nil, ""
		}
		o, path = inner, rest
	}
}

// elements returns a member that is a list, by the elements' numbers, else nil.
func (o object) elements(name string) object {
	if raw := bytes.TrimSpace(o[name]); len(raw) == 0 || raw[0] != '[' {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(o[name], &list) != nil {
		return nil
	}
	numbered := make(object, len(list))
	for i, e := range list {
		numbered[strconv.Itoa(i)] = e
	}
	return numbered
}

// word returns what is at a path, if it is a text or a number, or true or false
// as they are written.
func (o object) word(path string) (string, bool) {
	holder, name := o.find(path)
	if s, ok := holder.text(name); ok {
		return s, true
	}
	switch raw := string(bytes.TrimSpace(holder[name])); raw {
	case "true", "false":
		return raw, true
	}
	return "", false
}

// list returns a member that is a list of strings, else nil.
func (o object) list(name string) []string {
	var list []string
	if json.Unmarshal(o[name], &list) != nil {
		return nil
	}
	return list
}
