package oauth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

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

// Facts asks the provider, with a new access token, for what its token answers
// do not tell, as the catalogue says. A provider of which it says nothing is
// not asked. The error is always a *[credential.Failure]. Asking changes
// nothing at the provider.
func (c *Client) Facts(ctx context.Context, reg Registration, access credential.Secret) (map[string]string, error) {
	request := reg.Provider.FactsRequest
	if request == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, failure := c.sendProven(ctx, call{
		endpoint: "facts_request", url: request.URL, reg: reg, params: params{}, method: http.MethodGet, auth: catalog.RevokeByToken, bearer: access,
	})
	if failure != nil {
		return nil, failure
	}
	m := message{shape: "list"}
	if !answer.ok() || !bytes.HasPrefix(bytes.TrimSpace(answer.body), []byte("[")) {
		m = parse(answer.header, answer.body)
	}
	if failure = classify(answer, m, reg.Provider, time.Now()); failure != nil {
		hideSecrets(failure, access, reg.ClientSecret)
		return nil, failure
	}
	told, ok := factsIn(answer.body, request)
	if !ok {
		return nil, &credential.Failure{Class: credential.Unrecognised, Code: "no_facts", Status: answer.status, Sent: true, Detail: answer.describe(m)}
	}
	return told, nil
}

// factsIn reads the fields of an answer, or of each element of a list in it;
// several values of one field are joined by commas.
func factsIn(body []byte, request *catalog.FactsRequest) (map[string]string, bool) {
	raw := json.RawMessage(bytes.TrimSpace(body))
	if request.ListPath != "" {
		holder, name := objectOf(raw).find(request.ListPath)
		raw = holder[name]
	}
	var list []object
	if json.Unmarshal(raw, &list) != nil {
		one := objectOf(raw)
		if one == nil {
			return nil, false
		}
		list = []object{one}
	}
	told := map[string]string{}
	for name, path := range request.Fields {
		var values []string
		for _, o := range list {
			if s, ok := o.word(path); ok && s != "" && !slices.Contains(values, s) {
				values = append(values, s)
			}
		}
		if s := strings.Join(values, ","); s != "" && len(s) <= credential.MaxFactValue {
			told[name] = s
		}
	}
	return told, true
}

func objectOf(raw json.RawMessage) object {
	var o object
	if json.Unmarshal(raw, &o) != nil {
		return nil
	}
	return o
}
