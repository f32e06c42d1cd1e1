package oauth

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

// Introspection is what a provider knows of a token (RFC 7662 section 2.2). A
// zero field was not told.
type Introspection struct {
	Active    bool
	Scopes    []string
	ClientID  string
	Username  string
	Subject   string
	TokenType string
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// Introspect asks the provider about a token (RFC 7662). The error is always a
// *[credential.Failure]. Asking changes nothing at the provider: an answer that
// cannot be understood is unrecognised, not ambiguous.
func (c *Client) Introspect(ctx context.Context, reg Registration, token credential.Secret) (Introspection, error) {
	if failure := c.complete(ctx, &reg); failure != nil {
		return Introspection{}, failure
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	p := params{"token": token.Reveal()}
	answer, failure := c.send(ctx, call{endpoint: "introspection_url", url: reg.Provider.IntrospectionURL, reg: reg, params: p})
	if failure != nil {
		return Introspection{}, failure
	}
	m := parse(answer.header, answer.body)
	if failure = classify(answer, m, reg.Provider, time.Now()); failure != nil {
		hideSecrets(failure, token, reg.ClientSecret)
		return Introspection{}, failure
	}
	active := strings.TrimSpace(string(m.fields["active"]))
	if active != "true" && active != "false" {
		return Introspection{}, &credential.Failure{
			Class: credential.Unrecognised, Code: "no_introspection", Status: answer.status, Sent: true, Detail: answer.describe(m),
		}
	}
	in := Introspection{Active: active == "true"}
	if in.Active {
		in.ClientID, in.Username = m.fields.line("client_id"), m.fields.line("username")
		in.Subject, in.TokenType = m.fields.line("sub"), m.fields.line("token_type")
		in.Scopes = m.fields.scopes(reg.Provider)
		in.IssuedAt, in.ExpiresAt = m.fields.instant("iat"), m.fields.instant("exp")
	}
	return in, nil
}

// line returns a member that is a text of moderate length, else nothing.
func (o object) line(name string) string {
	s, _ := o.text(name)
	if len(s) > 1024 {
		return ""
	}
	return s
}

// instant reads seconds since 1970; zero: not told, or nonsense.
func (o object) instant(name string) time.Time {
	s, ok := o.text(name)
	if !ok || len(s) > maxCode {
		return time.Time{}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < 1 || f > 253402300799 { // the end of the year 9999
		return time.Time{}
	}
	return time.Unix(int64(f), 0).UTC()
}
