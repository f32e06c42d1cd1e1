package oauth

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
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

// at follows a path of names joined by dots; nil: there is nothing.
func (o object) at(path string) object {
	for name := range strings.SplitSeq(path, ".") {
		if o = o.object(name); o == nil {
			return nil
		}
	}
	return o
}

// list returns a member that is a list of strings, else nil.
func (o object) list(name string) []string {
	var list []string
	if json.Unmarshal(o[name], &list) != nil {
		return nil
	}
	return list
}
