package oauth

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

func TestTokensAndFactsAreFoundWhereTheCatalogueSays(t *testing.T) {
	p := &catalog.Provider{
		ID: "p", TokenPath: "authed_user",
		RequestQuirks: catalog.RequestQuirks{AnswerScopeSeparator: ","},
		AnswerQuirks: catalog.AnswerQuirks{
			AccessTokenField: "tokens.0.access", RefreshTokenField: "tokens.0.refresh", ScopeField: "rights", TokenTypeField: "kind", SubjectField: "authed_user.id",
		},
		FactRules: catalog.FactRules{Facts: map[string]string{
			"team_id": "team.id", "shard": "shard", "active": "active", "absent": "no.where", "long": "long", "object": "team", "empty": "empty",
		}},
	}
	a := answerOf(200, jsonType, `{"team":{"id":"T1"},"shard":7,"active":true,"empty":"","long":"`+strings.Repeat("x", credential.MaxFactValue+1)+`",
		"authed_user":{"id":"U1","kind":"user","rights":"a,b c","tokens":[{"access":"at","refresh":"rt"}]}}`)
	g, f := readGrant(a, parse(a.header, a.body), p, now)
	if f != nil {
		t.Fatal(f)
	}
	if g.AccessToken.Reveal() != "at" || g.RefreshToken.Reveal() != "rt" || g.TokenType != "user" || !slices.Equal(g.Scopes, []string{"a", "b", "c"}) {
		t.Errorf("%+v, access %q, refresh %q", g, g.AccessToken.Reveal(), g.RefreshToken.Reveal())
	}
	if want := map[string]string{"team_id": "T1", "shard": "7", "active": "true"}; !maps.Equal(g.Facts, want) {
		t.Errorf("facts %v, want %v", g.Facts, want)
	}
	if want := (credential.Subject{Issuer: "p", User: "U1"}); g.Subject != want {
		t.Errorf("subject %v, want %v", g.Subject, want)
	}
	if classify(a, parse(a.header, a.body), p, now) != nil {
		t.Error("taken for an error")
	}
}

func TestAnAccessTokenThatIsTradedItselfIsKeptAsBoth(t *testing.T) {
	p := &catalog.Provider{RequestQuirks: catalog.RequestQuirks{RefreshWithAccessToken: true}}
	a := answerOf(200, jsonType, `{"access_token":"long"}`)
	if g, f := readGrant(a, parse(a.header, a.body), p, now); f != nil || g.RefreshToken.Reveal() != "long" {
		t.Errorf("refresh token %q, %v", g.RefreshToken.Reveal(), f)
	}
}

// FuzzAnswersInAnyShape: whatever the catalogue says and the server answers,
// nothing panics and what comes out is bounded.
func FuzzAnswersInAnyShape(f *testing.F) {
	f.Add(`{"a":{"b":[{"c":"x"}]}}`, "a.b.0.c", 200)
	f.Add(`[]`, "0", 400)
	f.Add(`{"access_token":"x"}`, "access_token", 200)
	f.Fuzz(func(t *testing.T, body, path string, status int) {
		p := &catalog.Provider{
			TokenPath: path, TerminalErrors: []string{"dead"},
			AnswerQuirks: catalog.AnswerQuirks{
				AccessTokenField: path, RefreshTokenField: path, ExpiresInField: path, RefreshExpiresInField: path, ScopeField: path, TokenTypeField: path,
				ExpiresInUnit: catalog.DateTime, SubjectField: path, ErrorField: path, ErrorDescriptionField: path, OKField: path,
			},
			FactRules: catalog.FactRules{Facts: map[string]string{"f": path}},
		}
		a := answerOf(status, jsonType, body)
		m := parse(a.header, a.body)
		if failure := classify(a, m, p, now); failure != nil {
			if len(failure.Code) > maxCode || failure.Class == 0 {
				t.Errorf("%+v", failure)
			}
			return
		}
		g, failure := readGrant(a, m, p, now)
		if failure == nil && (g.AccessToken.IsZero() || g.ExpiresIn < 0 || g.ExpiresIn > maxLifetime || len(g.Facts["f"]) > credential.MaxFactValue || len(g.Subject.User) > 1024) {
			t.Errorf("%+v", g)
		}
	})
}
