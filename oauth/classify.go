package oauth

import (
	"cmp"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// maxRetryAfter bounds what a server can ask for.
const maxRetryAfter = time.Hour

// classify decides what an answer of a token end point means for the grant:
// nil for a success, which may still hold no usable token. It is a pure
// function; now is for a Retry-After that is a date.
//
// What is said in the catalogue comes first, then the status where the server
// is busy or broken, then the standard's codes. An error that comes with HTTP
// 200 is an error, unless a token stands beside it: a token that may be the
// only one is never thrown away.
//
// A status to which the catalogue gives a meaning of its own has that one,
// unless the code beside it is one of the standard's.
func classify(a answer, m message, p *catalog.Provider, now time.Time) *credential.Failure {
	if a.ok() && (a.cut != "" || holdsToken(m, p)) {
		return nil
	}
	w := wordsOf(m, p)
	f := &credential.Failure{Status: a.status, Sent: true, RetryAfter: retryAfter(a.header, p, now), Detail: a.describe(m)}
	if class, word, known := w.catalogueClass(p); known {
		f.Class, f.Code = class, word
		return f
	}
	if a.ok() && w.code == "" && !saysNo(m, p) {
		return nil
	}
	f.Class, f.Code = classOf(a.status, w.code, p), w.shown()
	if f.Code == "" {
		f.Code = shapeCode(a, m)
	}
	return f
}

// saysNo reports whether an answer denies its own success.
func saysNo(m message, p *catalog.Provider) bool {
	if p.OKField == "" {
		return false
	}
	said, ok := m.fields.word(p.OKField)
	return ok && said != cmp.Or(p.OKValue, "true")
}

// classOf is what an answer without a word of the catalogue means.
func classOf(status int, code string, p *catalog.Provider) credential.Class {
	if len(p.ErrorStatuses) > 0 {
		if own, ok := classNamed(p.ErrorStatuses[strconv.Itoa(status)]); ok {
			if class, _ := standardClass(code); class != credential.Unrecognised {
				return class
			}
			return own
		}
	}
	return classByStatus(status, code)
}

// classNamed is a class as the catalogue writes it.
func classNamed(name string) (credential.Class, bool) {
	switch name {
	case "terminal":
		return credential.Terminal, true
	case "transient":
		return credential.Transient, true
	case "misconfigured":
		return credential.Misconfigured, true
	case "unrecognised":
		return credential.Unrecognised, true
	}
	return credential.Unrecognised, false
}

// classByStatus goes by the status, and for refusals by the standard's code.
//
// A redirect tells nothing about a grant, but that the end point is somewhere
// else, or that a proxy stands before it: an operator has to look. All accounts
// wait, one of them probes, and none is given up.
func classByStatus(status int, code string) credential.Class {
	switch {
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return credential.Transient
	case status >= 300 && status <= 399:
		return credential.Misconfigured
	}
	class, _ := standardClass(code)
	return class
}

// shapeCode is the code of an answer without words.
func shapeCode(a answer, m message) string {
	switch {
	case a.status >= 300 && a.status <= 399:
		return "redirect"
	case a.cut != "":
		return a.cut
	case a.status == http.StatusTooManyRequests || a.status >= 500:
		return "http_" + strconv.Itoa(a.status)
	}
	return m.shape + "_answer"
}

// describe says where, what and how long, and nothing of the content.
func (a answer) describe(m message) string {
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || len(media) > maxCode || strings.ContainsFunc(media, notMedia) {
		media = "unknown content type"
	}
	if a.status >= 300 && a.status <= 399 {
		return fmt.Sprintf("%s answered HTTP %d, a redirect to %s; it is not followed, correct the address if the end point has moved", a.host, a.status, a.redirectHost())
	}
	if a.cut != "" {
		return fmt.Sprintf("%s answered HTTP %d, %s, and its body could not be read: %s", a.host, a.status, media, a.cut)
	}
	return fmt.Sprintf("%s answered HTTP %d, %s, %s, %d bytes", a.host, a.status, media, m.shape, len(a.body))
}

// redirectHost is the host that a redirect leads to, and nothing else of its
// address, in which a server may have put anything.
func (a answer) redirectHost() string {
	u, err := url.Parse(a.header.Get("Location"))
	switch {
	case err != nil || len(u.Host) > 255 || strings.ContainsFunc(u.Host, notHost):
		return "an address that cannot be read"
	case u.Host == "":
		return "an address of its own"
	}
	return u.Host
}

// notHost finds what does not belong into a host with its port.
func notHost(r rune) bool {
	return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune(".-:[]", r))
}

// notMedia finds what does not belong into a media type (RFC 6838 section 4.2).
func notMedia(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("/.+-_", r))
}
