package connect

import (
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/grantd/grantd/credential"
)

// maxReturnURL bounds a return URL, in bytes.
const maxReturnURL = 2048

// returnURL checks where a person wants to be sent afterwards: an absolute URL of
// one of the origins, compared to the letter, without anything that browsers and
// this program could read in two ways.
func returnURL(s string, origins []string) (string, error) {
	if s == "" {
		return "", nil
	}
	odd := strings.ContainsFunc(s, func(r rune) bool { return r == '\\' || r <= ' ' || r > unicode.MaxASCII || r == 0x7f })
	u, err := url.Parse(s)
	switch {
	case len(s) > maxReturnURL || odd || err != nil || u.Opaque != "" || u.User != nil || u.Host == "":
		return "", invalid("return_url must be an absolute URL of at most 2048 ASCII characters, without a user name, blanks and backslashes")
	case u.Fragment != "" || strings.Contains(s, "#"):
		return "", invalid("return_url must not have a fragment (#): what is told afterwards is added to its query")
	case !slices.Contains(origins, originOf(u)):
		return "", invalid("return_url is of an origin that the integration does not allow; add " + quoted(originOf(u)) + " to its return_origins")
	}
	return u.String(), nil
}

// originOf writes an origin as RFC 6454 section 6.2 does.
func originOf(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	for usual, port := range map[string]string{"https": ":443", "http": ":80"} {
		if scheme == usual {
			host = strings.TrimSuffix(host, port)
		}
	}
	return scheme + "://" + host
}

// back is the return URL with what became of the flow; empty: there is none.
func back(to string, ref credential.Ref, status, reason string) string {
	if to == "" {
		return ""
	}
	u, err := url.Parse(to) // was checked when the link was made
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("status", status)
	q.Set("account", ref.String())
	q.Del("reason")
	if reason != "" {
		q.Set("reason", reason)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func quoted(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return "\"" + s + "\""
}
