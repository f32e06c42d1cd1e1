package oauth

import (
	"net/url"
	"slices"
	"strings"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// maxCode is the longest code, in bytes.
const maxCode = 64

// sanitise writes every run of characters that are not letters, digits and
// . _ - as one underscore, and keeps at most limit bytes. It is how codes are
// shown, and how the catalogue writes them.
func sanitise(s string, limit int) string {
	var b strings.Builder
	gap := false
	for i := 0; i < len(s) && b.Len() < limit; i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
			b.WriteByte(c)
			gap = false
		case !gap:
			b.WriteByte('_')
			gap = true
		}
	}
	return b.String()
}

// words are what an answer says about its failure: the OAuth error code as it
// stands, and everything that may be a provider's own word, sanitised.
//
// texts are words for the catalogue only: they are compared with its lists and
// never shown otherwise.
type words struct {
	code  string
	all   []string
	texts []string
}

// wordMembers are where providers put their words besides "error".
var wordMembers = []string{
	"error_code", "errorCode", "errcode", "code", "type", "status", "reason",
	"suberror", "sub_error", "error_subtype", "error_reason",
}

// wordsOf collects the words of an answer and of the object that holds its
// tokens, outermost first.
func wordsOf(m message, p *catalog.Provider) words {
	var w words
	if p.ErrorField != "" {
		w.named(m.fields.find(p.ErrorField))
	}
	w.collect(m.fields)
	if p.TokenPath != "" && w.code == "" {
		w.collect(m.fields.at(p.TokenPath))
	}
	if p.ErrorDescriptionField != "" {
		if s, ok := m.fields.word(p.ErrorDescriptionField); ok && s != "" {
			w.texts = append(w.texts, sanitise(s, maxCode))
		}
	}
	return w
}

// named takes the word from where the catalogue says that it is, unless it says
// that all is well.
func (w *words) named(holder object, name string) {
	if s, ok := holder.text(name); ok && s != "" && s != "0" {
		w.code = s
		w.add(s)
	}
}

func (w *words) collect(o object) {
	if s, ok := o.text("error"); ok && s != "" && s != "0" {
		w.setCode(s)
		w.add(s)
	}
	if inner := o.object("error"); inner != nil {
		for _, name := range []string{"error", "code", "type", "status", "reason"} {
			s, ok := inner.text(name)
			if ok && s != "" {
				w.add(s)
				w.setCode(s)
			}
		}
		if w.code == "" {
			w.code = "error"
		}
	}
	for _, name := range wordMembers {
		if s, ok := o.text(name); ok && s != "" {
			w.add(s)
		}
	}
}

// setCode keeps the first code, but for one of the standard's that comes later.
func (w *words) setCode(s string) {
	if _, known := standardClass(s); known || w.code == "" {
		w.code = s
	}
}

func (w *words) add(s string) { w.all = append(w.all, sanitise(s, maxCode)) }

// shown is the code for people: the OAuth error, else the first other word
// that is not a mere number.
func (w *words) shown() string {
	if w.code != "" {
		return sanitise(w.code, maxCode)
	}
	for _, s := range w.all {
		if strings.ContainsFunc(s, func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' }) {
			return s
		}
	}
	return ""
}

// catalogueClass is what the provider's own words mean. Where they contradict
// each other the mildest meaning wins: a grant must not be given up because of
// a general word beside a particular one.
func (w *words) catalogueClass(p *catalog.Provider) (class credential.Class, word string, known bool) {
	for _, list := range []struct {
		class credential.Class
		words []string
	}{
		{credential.Transient, p.TransientErrors},
		{credential.Misconfigured, p.MisconfiguredErrors},
		{credential.Terminal, p.TerminalErrors},
	} {
		for _, said := range slices.Concat(w.all, w.texts) {
			if said != "" && slices.ContainsFunc(list.words, func(k string) bool { return strings.EqualFold(k, said) }) {
				return list.class, said, true
			}
		}
	}
	return 0, "", false
}

// standardClass is what a code of RFC 6749 section 5.2 means, and the two of
// section 4.1.2.1, the one of RFC 8628 that token end points use as well, and
// those of RFC 9449 section 5, which are about the client's key and not the grant.
//
// invalid_request and invalid_scope are known words that prove nothing: the
// grant may be alive, and as they can concern one account only, the
// integration is not to blame either.
func standardClass(code string) (credential.Class, bool) {
	switch code {
	case "invalid_grant":
		return credential.Terminal, true
	case "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_dpop_proof":
		return credential.Misconfigured, true
	case "server_error", "temporarily_unavailable", "slow_down", "use_dpop_nonce":
		return credential.Transient, true
	case "invalid_request", "invalid_scope":
		return credential.Unrecognised, true
	}
	return credential.Unrecognised, false
}

// hideSecrets takes the code away where a server echoed a secret, or a part of
// one, as its error: in plain, or form-encoded as it stood in the request.
func hideSecrets(f *credential.Failure, secrets ...credential.Secret) {
	if _, known := standardClass(f.Code); known {
		return
	}
	for _, s := range secrets {
		plain := s.Reveal()
		if echoes(f.Code, sanitise(plain, len(plain))) || echoes(f.Code, sanitise(url.QueryEscape(plain), 3*len(plain))) {
			f.Code = "unprintable"
			return
		}
	}
}

// echoes reports whether a code is the secret or shares a part with it that is
// long enough to be no accident.
func echoes(code, secret string) bool {
	const telling = 12 // bytes
	if len(secret) <= telling {
		return secret != "" && (code == secret || len(secret) >= telling/2 && strings.Contains(code, secret))
	}
	for i := 0; i+telling <= len(code); i++ {
		if strings.Contains(secret, code[i:i+telling]) {
			return true
		}
	}
	return false
}
