package authserver

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestFormIsReadAsABrowserWould(t *testing.T) {
	for _, c := range []struct {
		name, page string
		action     string
		fields     url.Values
		err        error
	}{
		{"empty", "", "", nil, errNoForm},
		{"no form", "<p>hello<br>you</p>", "", nil, errNoForm},
		{"form", `<!DOCTYPE html><html><head><meta charset="utf-8"><style>a > b { }</style></head><body>
			<input name="outside" value="no">
			<form method="post" action="/go?a=1&amp;b=2"><input type="hidden" name="id" value="&quot;7&quot;"/>
			<input required type=text name=login><button type="submit" name="do" value="yes">Go</button><input type="checkbox">
			</form><form action="/other"><input name="second"></form>`,
			"/go?a=1&b=2", url.Values{"id": {`"7"`}, "login": {""}, "do": {"yes"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := readForm(strings.NewReader(c.page))
			if !errors.Is(err, c.err) || f.action != c.action || f.fields.Encode() != c.fields.Encode() {
				t.Errorf("got %q %v, %v; want %q %v, %v", f.action, f.fields, err, c.action, c.fields, c.err)
			}
		})
	}
}
