package oauth

import (
	"net/http"
	"strings"
)

// Bounds of what is read of the challenges in one answer.
const (
	maxChallenges      = 16
	maxChallengeParams = 32
)

// demand is one way to authenticate that a server asks for (RFC 9110 section
// 11.6.1). Names of parameters are in lower case.
type demand struct {
	scheme string
	params map[string]string
}

// challenges reads the WWW-Authenticate fields of an answer. What does not
// follow the grammar is passed over: it is a hint, and everything that it leads
// to is checked.
func challenges(header http.Header) []demand {
	var all []demand
	for _, field := range header.Values("WWW-Authenticate") {
		s := scanner{rest: field}
		for len(all) < maxChallenges {
			c, ok := s.challenge()
			if !ok {
				break
			}
			all = append(all, c)
		}
	}
	return all
}

// scanner reads a field from its beginning.
type scanner struct {
	rest string
	// scheme is the next challenge's, where its name was read already.
	scheme string
}

// challenge reads the next one; false: there is none.
func (s *scanner) challenge() (demand, bool) {
	c := demand{scheme: s.scheme, params: map[string]string{}}
	s.scheme = ""
	if c.scheme == "" {
		s.skip(" \t,")
		if c.scheme = s.token(); c.scheme == "" {
			return demand{}, false
		}
	}
	for len(c.params) < maxChallengeParams {
		s.skip(" \t,")
		name := s.token()
		if name == "" {
			break
		}
		s.skip(" \t")
		if !strings.HasPrefix(s.rest, "=") {
			s.scheme = name // the parameters are over
			break
		}
		s.rest = s.rest[1:]
		s.skip(" \t")
		value := s.value()
		if name = strings.ToLower(name); c.params[name] == "" {
			c.params[name] = value
		}
	}
	return c, true
}

func (s *scanner) skip(characters string) { s.rest = strings.TrimLeft(s.rest, characters) }

// token reads a token (RFC 9110 section 5.6.2), which may be empty.
func (s *scanner) token() string {
	end := strings.IndexFunc(s.rest, notTokenRune)
	if end < 0 {
		end = len(s.rest)
	}
	t := s.rest[:end]
	s.rest = s.rest[end:]
	return t
}

// value reads a token or a quoted string; of one that does not end, nothing.
// Behind it all up to the next comma or space is passed over.
func (s *scanner) value() string {
	if !strings.HasPrefix(s.rest, `"`) {
		t := s.token()
		if end := strings.IndexAny(s.rest, ", \t"); end >= 0 {
			s.rest = s.rest[end:]
		} else {
			s.rest = ""
		}
		return t
	}
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch ch := s.rest[i]; {
		case ch == '"':
			s.rest = s.rest[i+1:]
			return b.String()
		case ch == '\\' && i+1 < len(s.rest):
			i++
			b.WriteByte(s.rest[i])
		default:
			b.WriteByte(ch)
		}
	}
	s.rest = ""
	return ""
}

func notTokenRune(r rune) bool {
	return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~/:", r))
}
