package oauth

import (
	"cmp"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// facts are what an answer tells besides tokens, by the names that the
// catalogue gives them; nil: nothing. What is absent or empty is left out.
func (m message) facts(p *catalog.Provider) map[string]string {
	if len(p.Facts) == 0 {
		return nil
	}
	told := make(map[string]string, len(p.Facts))
	for name, path := range p.Facts {
		if s, ok := m.fields.word(path); ok && s != "" && len(s) <= credential.MaxFactValue {
			told[name] = s
		}
	}
	if len(told) == 0 {
		return nil
	}
	return told
}

// subject is whom an answer names as the user.
func (m message) subject(p *catalog.Provider) credential.Subject {
	if p.SubjectField == "" {
		return credential.Subject{}
	}
	holder, name := m.fields.find(p.SubjectField)
	user := holder.line(name)
	if user == "" {
		return credential.Subject{}
	}
	return credential.Subject{Issuer: cmp.Or(p.ID, catalog.Custom), User: user}
}
